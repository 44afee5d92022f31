"""What docs/libraries.md tells to do with each library works. Those that need environments of their own: libraries/."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from snippets import PAGE, run, snippet
from stable_baselines3 import PPO

from exposure_gym.envs import PhotoRetouchVectorEnv


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_gymnasium() -> None:
    names = run(snippet("Gymnasium", num_envs="3"))
    assert isinstance(names["envs"], PhotoRetouchVectorEnv)
    assert names["rewards"].shape == (3,)
    assert names["observations"]["step"].tolist() == [2, 2, 2]  # 20 steps: thrice five edits and a reset, and two


def test_stable_baselines3() -> None:
    block = snippet("Stable-Baselines3", n_envs="2", n_steps="8", batch_size="8")
    agent = run(block.replace("200_000", "16"))["agent"]
    assert agent.num_timesteps == 16
    again = PPO.load("agent", env=agent.get_env())
    assert again.observation_space["image"].shape == (3, 64, 64)  # type: ignore[index]  # SB3 saw pictures


def test_sb3_contrib() -> None:
    pytest.importorskip("sb3_contrib", reason="sb3_contrib is not installed")
    block = snippet("sb3-contrib", n_envs="2", n_steps="10", batch_size="10")
    agent = run(block.replace("200_000", "20"))["agent"]
    masks = agent.rollout_buffer.action_masks.reshape(2, 10, -1)  # SB3 puts one game's steps after another's
    assert masks.all(axis=2).tolist() == [([True] + [False] * 4) * 2] * 2  # only the first edit is free


def test_single_file() -> None:
    command = snippet("A single file").split()
    assert command[0] == "python"
    help_ = subprocess.run([sys.executable, *command[1:]], cwd=PAGE.parents[1], capture_output=True, text=True)
    assert help_.returncode == 0, help_.stderr
    assert "--total-steps" in help_.stdout


def test_torchrl() -> None:
    start_method = multiprocessing.get_start_method(allow_none=True)
    pytest.importorskip("torchrl", reason="torchrl is not installed")
    try:
        names = run(snippet("TorchRL", num_envs="3"))
    finally:
        multiprocessing.set_start_method(start_method, force=True)  # torchrl makes it "spawn" for everyone
    assert set(names["env"].action_spec.keys()) == {"filter", "parameters"}
    assert names["batch"].batch_size == (3,)
    rollout = names["batch"].rollout(7, break_when_any_done=False)
    assert rollout["next", "done"][:, :, 0].tolist() == [[False] * 4 + [True] + [False] * 2] * 3


def test_by_hand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    pygame = pytest.importorskip("pygame", reason="pygame is not installed")
    import matplotlib

    def player() -> Iterator[None]:
        """Press a key, look, let it go, look; then leave."""
        for key in "5t?3":
            for kind in (pygame.KEYDOWN, pygame.KEYUP):
                pygame.event.post(pygame.event.Event(kind, key=ord(key)))
                yield
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE))

    acts = player()
    monkeypatch.setattr(pygame.display, "flip", lambda: next(acts, None))
    backend = matplotlib.get_backend()
    try:
        names = run(snippet("By hand", fps="1000"))
    finally:
        matplotlib.use(backend)  # gymnasium.utils.play asks for a window's
    env = names["env"].unwrapped
    *menu, first, second, third = capsys.readouterr().out.splitlines()
    assert menu == [f"{key} {label}" for key, label in zip(env.get_keys_to_action(), env.form.labels, strict=True)]
    for line, key in ((first, "5"), (second, "t"), (third, "3")):
        label = env.form.labels[names["keys"][key]]
        assert line.startswith(env.edit_from_action(names["keys"][key]).describe()), label
    assert len(env.recipe) == 3


def test_a_snippet_that_lost_its_option_is_noticed() -> None:
    with pytest.raises(ValueError, match="no num_games"):
        snippet("Gymnasium", num_games="3")
