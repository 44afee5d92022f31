"""PDQN and its multi-pass form: what flows where, learning where the optimum is known, and in the photo game."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hybrid_toy import BLOCKS, TurnAndMove, WalkerVecEnv, mean_return, optimum
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from exposure_gym.agents import PDQN, HybridPPO, PhotoExtractor
from exposure_gym.agents.pdqn.policies import inverting
from exposure_gym.envs import SB3VecEnv

SHORT: dict[str, Any] = {"learning_starts": 16, "batch_size": 8, "buffer_size": 512, "seed": 0, "device": "cpu"}
PHOTO: dict[str, Any] = {
    "features_extractor_class": PhotoExtractor,
    "features_extractor_kwargs": {"base_channels": 4, "features": 64},
}
SHARED = [[0], [1, 0], []]
"""Both choices use place 0, each with a head of its own."""


def toy(multi_pass: bool = False, **options: Any) -> PDQN:
    return PDQN("MlpPolicy", WalkerVecEnv(2), multi_pass=multi_pass, **SHORT | {"parameter_blocks": SHARED} | options)


def greedy(model: PDQN) -> Any:
    return lambda seen: model.predict(seen, deterministic=True)[0]


def assert_same_actions(one: Any, other: Any) -> None:
    for mine, its in zip(one, other, strict=True):
        assert mine.keys() == its.keys()
        for key in mine:
            np.testing.assert_array_equal(mine[key], its[key])


# -- the networks ------------------------------------------------------------------------------------------------------


def test_in_many_passes_a_value_depends_on_the_parameters_of_its_choice_alone() -> None:
    seen, parameters = torch.randn(6, 3), torch.randn(6, 3)
    for multi_pass, expected in ((True, [[1, 0, 0], [0, 1, 1], [0, 0, 0]]), (False, [[1] * 3] * 3)):
        network = toy(multi_pass).policy.value_net
        for choice, depends in enumerate(expected):
            given = parameters.clone().requires_grad_()
            (slopes,) = torch.autograd.grad(network(seen, given)[:, choice].sum(), given)
            assert (slopes != 0).any(dim=0).int().tolist() == depends


def test_many_passes_are_the_single_pass_with_the_others_at_zero() -> None:
    network = toy(True).policy.value_net
    seen, parameters = torch.randn(6, 3), torch.randn(6, 3)
    values = network(seen, parameters)
    network.multi_pass = False
    for choice, own in enumerate([[0], [1, 2], []]):
        alone = torch.zeros_like(parameters)
        alone[:, own] = parameters[:, own]
        torch.testing.assert_close(values[:, choice], network(seen, alone)[:, choice])


def test_gradients_shrink_towards_a_bound_and_turn_round_beyond() -> None:
    for slope in (1.0, -1.0):
        parameters = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
        (slope * inverting(parameters)).sum().backward()  # type: ignore[no-untyped-call]
        assert parameters.grad is not None
        room = (parameters + 1.0) / 2.0 if slope > 0 else (1.0 - parameters) / 2.0
        torch.testing.assert_close(parameters.grad, slope * room.detach())


def test_the_loss_is_that_of_the_temporal_difference() -> None:
    model = toy().learn(32)
    assert model.replay_buffer is not None
    data = model.replay_buffer.sample(8)
    policy = model.policy
    best = policy.value_target(data.next_observations, policy.parameter_target(data.next_observations).clamp(-1, 1))
    wanted = data.rewards[:, 0] + 0.99 * (1.0 - data.dones[:, 0]) * best.max(dim=1).values
    values = policy.value_net(data.observations, data.actions[:, 1:])
    made = torch.stack([values[row, int(choice)] for row, choice in enumerate(data.actions[:, 0])])
    expected = torch.nn.functional.smooth_l1_loss(made, wanted)
    torch.testing.assert_close(model._value_loss(data), expected)


def test_the_values_do_not_move_when_the_parameters_climb_them() -> None:
    still = toy(learning_rate=0.0).learn(64)
    start = toy(learning_rate=0.0)
    assert all(map(torch.equal, still.policy.value_net.parameters(), start.policy.value_net.parameters()))
    moved = zip(still.policy.parameter_net.parameters(), start.policy.parameter_net.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in moved if one.ndim == 2)


def test_actions_are_in_the_units_of_the_box() -> None:
    class Scaled(TurnAndMove):
        def __init__(self) -> None:
            super().__init__()
            low, high = np.array([0.0, 10.0], np.float32), np.array([1.0, 30.0], np.float32)
            self.action_space = spaces.Dict(move=spaces.Discrete(3, start=4), amount=spaces.Box(low, high))

    policy = PDQN("MlpPolicy", Scaled(), parameter_blocks=SHARED, **SHORT).policy
    numbers = policy.in_box(torch.tensor([0, 1, 2]), torch.tensor([[1.0, -0.5, 0.0]]).expand(3, 3))
    assert numbers.tolist() == [[1.0, 20.0], [0.5, 15.0], [0.5, 20.0]]
    action, _ = policy.predict(np.zeros(3, np.float32))
    assert policy.action_space.contains(action)


# -- learning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("multi_pass", [False, True])
def test_learns_the_toy(multi_pass: bool) -> None:
    faster: dict[str, Any] = {"learning_rate": 2e-3, "parameter_learning_rate": 3e-4, "batch_size": 64}
    env = WalkerVecEnv(8)
    model = PDQN("MlpPolicy", env, parameter_blocks=BLOCKS, multi_pass=multi_pass, seed=0, device="cpu", **faster)
    assert mean_return(greedy(model)) < 0.5 * optimum()
    assert mean_return(greedy(model.learn(12_000))) > 0.85 * optimum()


def test_one_seed_one_result_and_no_global_state() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    models = [toy().learn(64) for _ in range(2)]
    seen = np.array([[0.5, 0.0, 1.0]] * 9, np.float32)
    drawn = [model.predict(seen)[0] for model in models]
    assert torch.get_rng_state().equal(before)
    for name, value in models[0].policy.state_dict().items():
        assert value.equal(models[1].policy.state_dict()[name]), name
    assert_same_actions(*drawn)
    other = toy(seed=1).learn(64)
    assert not all(map(torch.equal, other.policy.parameters(), models[0].policy.parameters()))


def test_explores_at_the_rate_of_the_schedule() -> None:
    model = toy(exploration_fraction=0.5, exploration_final_eps=0.25)
    rates: list[float] = []

    def watch(values: dict[str, Any], _: dict[str, Any]) -> bool:
        rates.append(values["self"].exploration_rate)
        return True

    model.learn(64, watch)
    assert rates[0] == 1.0
    assert rates[-1] == model.exploration_rate == 0.25
    seen = np.tile(np.array([0.5, 0.0, 1.0], np.float32), (4000, 1))
    best = greedy(model)(seen[:1])[0]["move"]
    others = np.mean([action["move"] != best for action in model.predict(seen)[0]])
    assert others == pytest.approx(0.25 * 2 / 3, abs=0.02)
    still = toy(parameter_noise=0.0, exploration_initial_eps=0.0, exploration_final_eps=0.0)
    assert_same_actions(still.predict(seen[:3])[0], greedy(still)(seen[:3]))


def test_the_buffer_keeps_all_parameters() -> None:
    model = toy().learn(128)
    assert model.replay_buffer is not None
    kept = model.replay_buffer.actions[:64].reshape(128, 4)
    assert set(kept[:, 0]) == {0.0, 1.0, 2.0}
    assert kept[:, 1:].all()
    assert np.abs(kept[:, 1:]).max() <= 1.0


@pytest.mark.parametrize(
    "wrong", [spaces.Discrete(3), spaces.Dict(a=spaces.Discrete(3)), spaces.Box(-1.0, 1.0, (3,))], ids=str
)
def test_other_spaces_get_one_clear_error(wrong: spaces.Space[Any]) -> None:
    env: Any = TurnAndMove()
    env.action_space = wrong
    with pytest.raises(ValueError, match=r"^hybrid actions need a space Dict\(Discrete, Box\)") as error:
        PDQN("MlpPolicy", env)
    assert "\n" not in str(error.value)


def test_callbacks_and_progress_bar(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    env, judge = (DummyVecEnv([lambda: Monitor(TurnAndMove())]) for _ in range(2))
    callback = EvalCallback(judge, n_eval_episodes=2, eval_freq=16, best_model_save_path=str(tmp_path), verbose=0)
    model = PDQN("MlpPolicy", env, train_freq=(1, "episode"), gradient_steps=-1, **SHORT)
    model.learn(64, callback, progress_bar=True)
    assert "learning" in capsys.readouterr().out
    assert PDQN.load(tmp_path / "best_model", device="cpu").policy.hybrid.num_choices == 3


# -- the photo game ----------------------------------------------------------------------------------------------------


def photo_env(kind: str) -> Any:
    if kind == "batched":
        return SB3VecEnv(4, "hybrid", reward="critic")
    return gym.make("PhotoRetouch-v0", reward="reference", image_size=16)


@pytest.mark.parametrize(("kind", "multi_pass"), [("batched", True), ("single", False)])
def test_learns_the_photo_game_saves_loads_and_acts_the_same(kind: str, multi_pass: bool, tmp_path: Path) -> None:
    model = PDQN("MultiInputPolicy", photo_env(kind), multi_pass=multi_pass, policy_kwargs=PHOTO, **SHORT)
    assert [len(block) for block in model.policy.hybrid.blocks] == [1, 1, 2, 1, 8, 1, 1, 24]
    model.learn(200)
    model.save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]
    loaded = PDQN.load(tmp_path / "model", device="cpu")
    assert loaded.policy.multi_pass == multi_pass
    env = model.get_env()
    assert env is not None
    observations: Any = env.reset()
    assert_same_actions(greedy(model)(observations), greedy(loaded)(observations))
    one = {key: value[0] for key, value in observations.items()}
    assert model.action_space.contains(loaded.predict(one)[0])
    again = PDQN.load(tmp_path / "model.zip", env=photo_env(kind), device="cpu")
    assert again.learn(40, reset_num_timesteps=False).num_timesteps >= 240
    other = PDQN("MultiInputPolicy", photo_env(kind), multi_pass=multi_pass, policy_kwargs=PHOTO, **SHORT)
    other.set_parameters(model.get_parameters())  # type: ignore[arg-type]
    assert_same_actions(greedy(model)(observations), greedy(other)(observations))


def test_files_of_other_algorithms_are_told_of_in_one_line(tmp_path: Path) -> None:
    HybridPPO("MlpPolicy", WalkerVecEnv(2), n_steps=8, batch_size=16, device="cpu").save(tmp_path / "ppo.zip")
    (tmp_path / "text.zip").write_text("not a zip")
    for name in ("ppo", "text"):
        with pytest.raises(ValueError, match=f"{name}.zip: cannot be loaded as PDQN here") as error:
            PDQN.load(tmp_path / f"{name}.zip", device="cpu")
        assert "\n" not in str(error.value)
    toy().save(tmp_path / "pdqn.zip")
    with pytest.raises(ValueError, match=r"pdqn.zip: cannot be loaded as HybridPPO here"):
        HybridPPO.load(tmp_path / "pdqn.zip", device="cpu")
    with pytest.raises(ValueError, match="no environment to learn from"):
        PDQN.load(tmp_path / "pdqn.zip", device="cpu").learn(8)
