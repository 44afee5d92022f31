"""Baselines in one call: every algorithm on its own form of the environment, through one encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.utils import LinearSchedule

pytest.importorskip("yaml", reason="PyYAML is not installed")

from exposure_gym.agents import baselines
from exposure_gym.agents.baselines import BASELINES, make_baseline, tuned_hyperparameters
from exposure_gym.agents.extractor import PhotoExtractor
from exposure_gym.envs import make_sb3_env

ENCODER = {"base_channels": 2, "features": 32}
SMALL: dict[str, dict[str, Any]] = {
    "on": {"n_steps": 8, "batch_size": 16, "n_epochs": 1},
    "off": {"buffer_size": 100, "learning_starts": 8, "batch_size": 8, "gradient_steps": 1},
}
KINDS: dict[str, tuple[str, type[spaces.Space[Any]]]] = {
    "ppo": ("on", spaces.Box),
    "a2c": ("", spaces.Box),
    "sac": ("off", spaces.Box),
    "td3": ("off", spaces.Box),
    "ddpg": ("off", spaces.Box),
    "dqn": ("off", spaces.Discrete),
    "tqc": ("off", spaces.Box),
    "recurrent_ppo": ("on", spaces.Box),
    "maskable_ppo": ("on", spaces.Discrete),
    "hybrid_ppo": ("on", spaces.Dict),
    "pdqn": ("off", spaces.Dict),
}
FORMS = {spaces.Box: "PhotoRetouchBox-v0", spaces.Discrete: "PhotoRetouchDiscrete-v0", spaces.Dict: "PhotoRetouch-v0"}


def small_env(name: str, seed: int | None = None) -> Any:
    id = FORMS[KINDS[name][1]]
    return make_sb3_env(id, 2, "reference", seed=seed, image_size=16, preview=True)


def small(name: str, **more: Any) -> Any:
    options = SMALL.get(KINDS[name][0], {}) | more
    return make_baseline(name, small_env(name), encoder=ENCODER, seed=0, device="cpu", **options)


def test_there_is_a_test_for_each() -> None:
    assert KINDS.keys() == BASELINES.keys()


@pytest.mark.parametrize("name", BASELINES)
def test_it_learns_saves_loads_and_acts_the_same(name: str, tmp_path: Path) -> None:
    agent = small(name)
    assert isinstance(agent.action_space, KINDS[name][1])
    encoders = [module for module in agent.policy.modules() if isinstance(module, PhotoExtractor)]
    assert encoders
    assert all(each.features_dim == 32 for each in encoders)
    assert agent.gamma == 1.0
    before = {key: value.clone() for key, value in agent.policy.state_dict().items()}
    agent.learn(32)
    after = agent.policy.state_dict()
    assert any(not torch.equal(value, before[key]) for key, value in after.items())
    assert all(bool(value.isfinite().all()) for value in after.values())
    agent.save(tmp_path / "agent")
    env = small_env(name, seed=7)
    again = type(agent).load(tmp_path / "agent", env=env, device="cpu")
    seen = env.reset()
    seen = seen | {"image": seen["image"].transpose(0, 3, 1, 2)}  # as Stable-Baselines3 shows it to an agent
    one, other = (each.predict(seen, deterministic=True)[0] for each in (agent, again))
    if isinstance(one, list):
        assert [int(action["filter"]) for action in one] == [int(action["filter"]) for action in other]
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["ppo", "dqn", "hybrid_ppo"])
def test_one_seed_gives_one_agent(name: str) -> None:
    first, second = (small(name) for _ in range(2))
    for agent in (first, second):
        agent.set_random_seed(3)
        agent.learn(32)
    for one, other in zip(first.policy.parameters(), second.policy.parameters(), strict=True):
        assert torch.equal(one, other)


def test_hyperparameters_are_those_of_the_files_unless_told_otherwise() -> None:
    agent: Any = make_baseline("ppo", small_env("ppo"), encoder=ENCODER, device="cpu", n_steps=16, batch_size=32)
    assert agent.n_steps == 16
    assert agent.n_epochs == 6
    assert isinstance(agent.learning_rate, LinearSchedule)
    assert agent.learning_rate(0.5) == pytest.approx(2.5e-4)
    assert agent.policy.log_std.mean().item() == pytest.approx(-0.5)
    td3: Any = small("td3")
    assert float(td3.action_noise._sigma[0]) == 0.3
    menu: Any = make_baseline("ppo", small_env("dqn"), encoder=ENCODER, n_steps=8, batch_size=16, device="cpu")
    assert menu.ent_coef == 0.01  # the other environment's section
    with_policy: Any = small("ppo", policy_kwargs={"net_arch": [8]})
    assert with_policy.policy.log_std.mean().item() == pytest.approx(-0.5)  # added to, not replaced
    assert with_policy.policy.mlp_extractor.latent_dim_pi == 8


def test_without_an_environment_it_makes_one() -> None:
    agent = make_baseline("a2c", encoder=ENCODER, device="cpu")
    assert agent.n_envs == tuned_hyperparameters("a2c")["n_envs"] == 32
    assert isinstance(agent.action_space, spaces.Box)
    assert agent.get_env().get_attr("reward_model")[0].name == "critic"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "message"), [("q_learning", "unknown baseline 'q_learning': choose from ppo"), ("sac", "sac plays Photo")]
)
def test_errors_name_the_remedy(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_baseline(name, small_env("dqn"), device="cpu")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = BASELINES | {"tqc": BASELINES["tqc"]._replace(module="no_such_library")}
    monkeypatch.setattr(baselines, "BASELINES", gone)
    with pytest.raises(ImportError, match=r"tqc needs no_such_library: pip install .*\[rl\]"):
        make_baseline("tqc")


def test_nothing_in_a_file_is_evaluated() -> None:
    assert baselines._dict_call("dict(a=1, b=[2.0])") == {"a": 1, "b": [2.0]}
    for text in ("__import__('os').getcwd()", "dict(a=print(1))", "dict([1])"):
        with pytest.raises(ValueError, match=r"policy_kwargs|malformed"):
            baselines._dict_call(text)
