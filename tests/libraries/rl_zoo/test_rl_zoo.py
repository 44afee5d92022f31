"""RL Zoo trains every agent with the hyperparameters that come with the package.

In an environment of its own (.ci/run): moviepy, which RL Zoo needs, wants an older Pillow than this package.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from snippets import snippet

import exposure_gym

pytest.importorskip("rl_zoo3", reason="rl_zoo3 is not installed: its moviepy wants an older Pillow")

import yaml
from rl_zoo3 import ALGOS
from rl_zoo3.train import train

OTHERS = {"maskable_ppo", "hybrid_ppo", "pdqn"}
"""Files for algorithms that RL Zoo does not have."""
NAMES = {"recurrent_ppo": "ppo_lstm"}
"""What RL Zoo calls an algorithm, where that is another name."""
FILES = {
    NAMES.get(path.stem, path.stem): path
    for path in (Path(exposure_gym.__file__).parent / "rl_zoo").glob("*.yml")
    if path.stem not in OTHERS
}
SETTINGS: dict[str, dict[str, Any]] = {algo: yaml.safe_load(path.read_text()) for algo, path in FILES.items()}
SMALLER = {
    "n_envs": 2,
    "n_steps": 8,
    "batch_size": 8,
    "n_epochs": 1,
    "buffer_size": 64,
    "learning_starts": 8,
    "gradient_steps": 1,
    "target_update_interval": 4,
}
OUT = ["--eval-freq", "-1", "--device", "cpu", "--seed", "0", "--log-folder"]


def test_there_is_a_file_for_each_agent() -> None:
    discrete = {"ppo", "dqn"}
    assert FILES.keys() == {"ppo", "a2c", "sac", "td3", "ddpg", "tqc", "dqn", "ppo_lstm"}
    for algo, settings in SETTINGS.items():
        assert ("PhotoRetouchDiscrete-v0" in settings) == (algo in discrete)
        assert ("PhotoRetouchBox-v0" in settings) == (algo != "dqn")


@pytest.mark.parametrize(("algo", "id"), [(algo, id) for algo, settings in SETTINGS.items() for id in settings])
def test_it_trains_and_saves(algo: str, id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smaller = [f"{key}:{value}" for key, value in SMALLER.items() if key in SETTINGS[algo][id]]
    options = ["--conf-file", str(FILES[algo]), "-n", "24", *OUT, str(tmp_path)]
    overrides = ["--hyperparams", *smaller, "--env-kwargs", "image_size:36", "reward:'reference'"]
    monkeypatch.setattr(sys, "argv", ["train", "--algo", algo, "--env", id, *options, *overrides])
    train()
    (saved,) = tmp_path.rglob(f"{id}.zip")
    agent = ALGOS[algo].load(saved, device="cpu")
    assert agent.num_timesteps >= 24
    assert agent.gamma == 1.0
    assert agent.observation_space["image"].shape == (3, 36, 36)  # pictures: the convolutional encoder reads them
    assert agent.action_space == gym.make(id).action_space


def test_the_documented_command(tmp_path: Path) -> None:
    command = snippet("RL Zoo").rstrip() + f" -n 16 --hyperparams n_envs:2 n_steps:8 batch_size:8 {' '.join(OUT)} logs"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-c", command], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "logs/ppo/PhotoRetouchBox-v0_1/PhotoRetouchBox-v0.zip").exists()
