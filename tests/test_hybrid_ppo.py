"""HybridPPO: its distribution against closed forms, learning where the optimum is known, and in the photo game."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hybrid_toy import ACTIONS, BLOCKS, TurnAndMove, WalkerVecEnv, best_actions, mean_return, optimum
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch.distributions import Categorical, Normal

from exposure_gym.agents import PDQN, HybridPPO, PhotoExtractor
from exposure_gym.agents.hybrid_ppo import HybridDistribution, HybridSpace
from exposure_gym.agents.hybrid_ppo.distributions import Heads
from exposure_gym.agents.hybrid_ppo.spaces import game_blocks
from exposure_gym.envs import SB3VecEnv

OVERLAPPING = [[0, 2], [], [2, 1, 3]]
"""Three choices on four numbers: one place shared, one choice without any, one block out of order."""

SHORT: dict[str, Any] = {"n_steps": 8, "batch_size": 16, "n_epochs": 2, "seed": 0, "device": "cpu"}
PHOTO: dict[str, Any] = {
    "features_extractor_class": PhotoExtractor,
    "features_extractor_kwargs": {"base_channels": 4, "features": 64},
}


def space(choices: int = 3, numbers: int = 4) -> spaces.Dict:
    return spaces.Dict(what=spaces.Discrete(choices), how=spaces.Box(-1.0, 1.0, (numbers,), np.float32))


def distribution(batch: int = 5, weight: float = 1.0) -> tuple[HybridDistribution, Any, Any, Any]:
    torch.manual_seed(0)
    logits, means = torch.randn(batch, 3, requires_grad=True), torch.randn(batch, 5, requires_grad=True)
    log_std = (0.5 * torch.randn(5)).requires_grad_()
    made = HybridDistribution(Heads(HybridSpace(space(), OVERLAPPING)), weight)
    return made.proba_distribution(logits, means, log_std), logits, means, log_std


COLUMNS = [[0, 1], [], [2, 3, 4]]
"""Of the five means that belong to each choice of OVERLAPPING, as they must lie side by side."""


def rows(choice: list[int]) -> torch.Tensor:
    numbers = torch.linspace(-2.0, 2.0, 4 * len(choice)).reshape(-1, 4)
    return torch.cat([torch.tensor(choice)[:, None].float(), numbers, torch.ones(len(choice), 3)], dim=1)


# -- the distribution --------------------------------------------------------------------------------------------------


def test_log_probability_is_that_of_the_choice_and_of_its_parameters() -> None:
    made, logits, means, log_std = distribution()
    actions = rows([0, 1, 2, 2, 0])
    for row, action in enumerate(actions):
        choice = int(action[0])
        expected = Categorical(logits=logits[row]).log_prob(torch.tensor(choice))  # type: ignore[no-untyped-call]
        for column, place in zip(COLUMNS[choice], OVERLAPPING[choice], strict=True):
            normal = Normal(means[row, column], log_std[column].exp())
            expected = expected + normal.log_prob(action[1 + place])  # type: ignore[no-untyped-call]
        torch.testing.assert_close(made.log_prob(actions)[row], expected)


@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
def test_entropy_is_that_of_the_choice_and_the_expected_one_of_its_parameters(weight: float) -> None:
    made, logits, _, log_std = distribution(weight=weight)
    probabilities = logits.softmax(dim=1)
    ones = Normal(torch.zeros(5), log_std.exp()).entropy()  # type: ignore[no-untyped-call]
    of_parameters = torch.stack([ones[columns].sum() for columns in COLUMNS])
    expected = -(probabilities * probabilities.log()).sum(dim=1) + weight * probabilities @ of_parameters
    torch.testing.assert_close(made.entropy(), expected)


def test_entropy_is_minus_the_mean_log_probability_of_samples() -> None:
    made, *_ = distribution(batch=1)
    made.proba_distribution(made.choice.logits.expand(200_000, 3), made.means.expand(200_000, 5), made.log_std)
    samples = made.sample()
    torch.testing.assert_close(-made.log_prob(samples).mean(), made.entropy()[0], rtol=0.02, atol=0.0)


def test_choices_that_were_not_taken_get_no_gradient() -> None:
    made, logits, means, log_std = distribution()
    made.log_prob(rows([0, 1, 2, 2, 0])).sum().backward()  # type: ignore[no-untyped-call]
    taken = torch.zeros(5, 5, dtype=torch.bool)
    for row, choice in enumerate([0, 1, 2, 2, 0]):
        taken[row, COLUMNS[choice]] = True
    assert (means.grad != 0).equal(taken)
    assert bool((logits.grad != 0).all())
    made, _, _, log_std = distribution()
    made.log_prob(rows([2, 2, 1, 1, 2])).sum().backward()  # type: ignore[no-untyped-call]
    assert (log_std.grad != 0).tolist() == [False, False, True, True, True]


def test_actions_hold_the_parameters_of_their_choice_and_the_middle_elsewhere() -> None:
    made, _, means, _ = distribution(batch=400)
    for actions in (made.sample(), made.mode()):
        for action in actions.detach().numpy():
            others = set(range(4)) - set(OVERLAPPING[int(action[0])])
            assert all(action[1 + place] == 0.0 for place in others)
            assert all(action[1 + place] != 0.0 for place in OVERLAPPING[int(action[0])])
    assert np.abs(made.sample().detach().numpy()[:, 1:5]).max() > 1.0  # not clipped: the Gaussian is not either
    best = made.mode()
    row = int(torch.nonzero(best[:, 0] == 2)[0])
    torch.testing.assert_close(best[row, [3, 2, 4]], means[row, 2:])


def test_masked_choices_have_no_probability_and_leave_the_others_theirs() -> None:
    made, logits, means, log_std = distribution(batch=300)
    allowed = torch.tensor([True, False, True]).expand(300, 3)
    made.proba_distribution(logits, means, log_std, allowed)
    actions = made.sample()
    assert set(actions[:, 0].tolist()) == {0.0, 2.0}
    assert actions[:, 5:].bool().equal(allowed)
    torch.testing.assert_close(made.choice.probs[:, [0, 2]], logits[:, [0, 2]].softmax(dim=1))
    made.entropy().sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    with pytest.raises(ValueError, match="allows no choice"):
        made.proba_distribution(logits, means, log_std, torch.zeros(300, 3))


# -- spaces ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        spaces.Discrete(3),
        spaces.Box(-1.0, 1.0, (3,)),
        spaces.Tuple([spaces.Discrete(3), spaces.Box(-1.0, 1.0, (3,))]),
        spaces.Dict(a=spaces.Discrete(3)),
        spaces.Dict(a=spaces.Discrete(3), b=spaces.Discrete(3)),
        spaces.Dict(a=spaces.Discrete(3), b=spaces.Box(-1.0, 1.0, (3,)), c=spaces.Box(-1.0, 1.0, (3,))),
        spaces.Dict(a=spaces.Discrete(3), b=spaces.MultiBinary(3)),
    ],
    ids=str,
)
def test_other_spaces_get_one_clear_error(wrong: spaces.Space[Any]) -> None:
    class Wrong(TurnAndMove):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = wrong

    with pytest.raises(ValueError, match=r"^hybrid actions need a space Dict\(Discrete, Box\)") as error:
        HybridPPO("MlpPolicy", Wrong())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([[0], [1]], "has 2 blocks, and there are 3 choices"),
        ([[0], [1], [2]], r"parameter_blocks\[2\] is \[2\], and the Box has 2 numbers"),
        ([[0], [1, 1], []], r"parameter_blocks\[1\] names a place twice"),
        ([[], [], []], "leave no choice any parameter"),
    ],
)
def test_blocks_that_do_not_fit(blocks: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HybridPPO("MlpPolicy", TurnAndMove(), parameter_blocks=blocks)


def test_unbounded_parameters_are_refused() -> None:
    unbounded = spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(-np.inf, np.inf, (2,)))
    with pytest.raises(ValueError, match="need finite bounds"):
        HybridSpace(unbounded)


def test_any_names_shapes_bounds_and_first_choice() -> None:
    hybrid = HybridSpace(
        spaces.Dict(
            z=spaces.Box(np.array([[0.0], [2.0]], np.float32), np.array([[1.0], [4.0]], np.float32)),
            a=spaces.Discrete(2, start=5),
        )
    )
    (action,) = hybrid.actions(np.array([1.0]), np.array([[-3.0, 3.0]]))
    assert hybrid.space.contains(action)
    assert action["a"] == 6
    np.testing.assert_array_equal(action["z"], [[0.0], [3.0]])
    assert hybrid.blocks == [[0, 1], [0, 1]]
    assert Heads(hybrid).middle.tolist() == [0.5, 3.0, 0.0]


def test_blocks_of_the_photo_game() -> None:
    env = gym.make("PhotoRetouch-v0", reward="reference", image_size=8, masks=True, stop_action=True)
    blocks = game_blocks(DummyVecEnv([lambda: env]))
    assert blocks is not None
    assert [len(block) for block in blocks] == [7, 7, 8, 7, 14, 7, 7, 30, 0]
    assert sorted(place for block in blocks for place in block) == list(range(87))
    assert game_blocks(WalkerVecEnv(1)) is None
    plain = HybridPPO("MultiInputPolicy", gym.make("PhotoRetouch-v0", reward="reference", image_size=8), **SHORT)
    assert plain.policy.hybrid.blocks[7] == list(range(15, 39))
    assert plain.policy.parameters_net.out_features == 39


def greedy(model: Any) -> Any:
    return lambda seen: model.predict(seen, deterministic=True)[0]


# -- learning ----------------------------------------------------------------------------------------------------------


def test_the_best_play_of_the_toy_is_the_optimum() -> None:
    assert mean_return(best_actions, games=4096) == pytest.approx(optimum(), abs=0.01)
    assert mean_return(lambda seen: [ACTIONS.sample() for _ in seen]) < 0.1


def test_learns_the_toy_and_beats_ppo_on_the_flat_box_at_equal_steps() -> None:
    options: dict[str, Any] = {"n_steps": 32, "batch_size": 256, "learning_rate": 3e-3, "device": "cpu"}
    ours, flat = [], []
    for seed in range(3):
        model = HybridPPO("MlpPolicy", WalkerVecEnv(32), parameter_blocks=BLOCKS, seed=seed, **options)
        model.learn(40_000)
        ours.append(mean_return(greedy(model)))
        ppo = PPO("MlpPolicy", WalkerVecEnv(32, flat=True), seed=seed, **options).learn(40_000)
        flat.append(mean_return(greedy(ppo), flat=True))
    assert min(ours) > 0.85 * optimum()
    assert all(mine > its for mine, its in zip(ours, flat, strict=True))


@pytest.mark.parametrize("make", [lambda: WalkerVecEnv(4), lambda: DummyVecEnv([TurnAndMove] * 2)])
def test_one_seed_one_result_and_no_global_state(make: Any) -> None:
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    models = [HybridPPO("MlpPolicy", make(), parameter_blocks=BLOCKS, **SHORT).learn(64) for _ in range(2)]
    seen = np.array([[0.5, 0.0, 1.0]] * 3, np.float32)
    drawn = [model.predict(seen)[0] for model in models]
    assert np.random.get_state()[1].tolist() == before[0]  # type: ignore[index]  # noqa: NPY002
    assert torch.get_rng_state().equal(before[1])
    for name, value in models[0].policy.state_dict().items():
        assert value.equal(models[1].policy.state_dict()[name]), name
    assert_same_actions(*drawn)
    other = HybridPPO("MlpPolicy", make(), parameter_blocks=BLOCKS, **SHORT | {"seed": 1}).learn(64)
    assert not other.policy.log_std.equal(models[0].policy.log_std)


def test_the_buffer_carries_choices_and_unclipped_parameters() -> None:
    model = HybridPPO("MlpPolicy", TurnAndMove(), parameter_blocks=BLOCKS, **SHORT | {"n_steps": 256}).learn(256)
    kept = model.rollout_buffer.actions.reshape(256, -1)
    assert kept.shape == (256, 1 + 2 + 3)
    assert set(kept[:, 0]) == {0.0, 1.0, 2.0}
    assert np.abs(kept[:, 1:3]).max() > 1.0  # the environment itself refuses what is outside
    for choice, other in ((0, 2), (1, 1)):
        assert not kept[kept[:, 0] == choice, other].any()


def test_masks_are_asked_for() -> None:
    class Watched(TurnAndMove):
        moves: list[int] = []  # noqa: RUF012

        def step(self, action: dict[str, Any]) -> Any:
            self.moves.append(int(action["move"]))
            return super().step(action)

    model = HybridPPO("MlpPolicy", Watched(mask_waiting=True), use_masking=True, **SHORT).learn(64)
    assert set(Watched.moves) == {0, 1}
    seen = np.zeros((50, 3), np.float32)
    actions, _ = model.predict(seen, action_masks=np.tile([False, False, True], (50, 1)))
    assert isinstance(actions, list)
    assert {int(action["move"]) for action in actions} == {2}
    with pytest.raises(ValueError, match="use_masking needs an environment with a method action_masks"):
        HybridPPO("MlpPolicy", WalkerVecEnv(2), use_masking=True)


def test_callbacks_evaluation_normalisation_and_progress_bar(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    env = VecNormalize(DummyVecEnv([lambda: Monitor(TurnAndMove())]))
    judge = VecNormalize(DummyVecEnv([lambda: Monitor(TurnAndMove())]), training=False, norm_reward=False)
    callback = EvalCallback(judge, n_eval_episodes=2, eval_freq=16, best_model_save_path=str(tmp_path), verbose=0)
    model = HybridPPO("MlpPolicy", env, **SHORT).learn(64, callback, progress_bar=True)
    assert "learning" in capsys.readouterr().out
    assert np.isfinite(callback.best_mean_reward)
    assert HybridPPO.load(tmp_path / "best_model", device="cpu").num_timesteps % 16 == 0
    mean, _ = evaluate_policy(model, judge, n_eval_episodes=3)
    assert np.isfinite(mean)


# -- the photo game ----------------------------------------------------------------------------------------------------


def assert_same_actions(one: Any, other: Any) -> None:
    for mine, its in zip(one, other, strict=True):
        assert mine.keys() == its.keys()
        for key in mine:
            np.testing.assert_array_equal(mine[key], its[key])


def photo_env(kind: str) -> Any:
    if kind == "batched":
        return SB3VecEnv(4, "hybrid", reward="critic")
    if kind == "preview":
        return SB3VecEnv(4, "hybrid", preview=True, reward="reference", image_size=16)
    return gym.make("PhotoRetouch-v0", reward="reference", image_size=16)


@pytest.mark.parametrize("kind", ["batched", "preview", "single"])
def test_learns_the_photo_game_saves_loads_and_acts_the_same(kind: str, tmp_path: Path) -> None:
    model = HybridPPO("MultiInputPolicy", photo_env(kind), policy_kwargs=PHOTO, **SHORT)
    before = model.policy.parameters_net.weight.clone()
    model.learn(256)
    assert not model.policy.parameters_net.weight.equal(before)
    model.save(tmp_path / "deep" / "model")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model.zip"]
    loaded = HybridPPO.load(tmp_path / "deep" / "model", device="cpu")
    assert loaded.policy.hybrid.blocks == model.policy.hybrid.blocks
    env = model.get_env()
    assert env is not None
    observations: Any = env.reset()
    assert_same_actions(
        model.predict(observations, deterministic=True)[0], loaded.predict(observations, deterministic=True)[0]
    )
    one = {key: value[0] for key, value in observations.items()}
    action, _ = loaded.predict(one, deterministic=True)
    assert model.action_space.contains(action)
    again = HybridPPO.load(tmp_path / "deep" / "model.zip", env=photo_env(kind), device="cpu")
    again.learn(64, reset_num_timesteps=False)
    assert again.num_timesteps >= 320


def test_parameters_can_be_carried_over() -> None:
    env = WalkerVecEnv(2)
    one = HybridPPO("MlpPolicy", env, parameter_blocks=BLOCKS, **SHORT).learn(32)
    other = HybridPPO("MlpPolicy", WalkerVecEnv(2), parameter_blocks=BLOCKS, **SHORT | {"seed": 9})
    other.set_parameters(one.get_parameters())  # type: ignore[arg-type]
    seen = np.array([[0.5, 0.6, 0.8]], np.float32)
    assert_same_actions(one.predict(seen, deterministic=True)[0], other.predict(seen, deterministic=True)[0])


def test_policies_can_be_kept_alone(tmp_path: Path) -> None:
    seen = np.array([[0.5, 0.6, 0.8]], np.float32)
    for agent in (HybridPPO, PDQN):
        policy = agent("MlpPolicy", WalkerVecEnv(2), parameter_blocks=BLOCKS, seed=0, device="cpu").policy
        policy.save(str(tmp_path / "policy.pth"))
        alone = type(policy).load(str(tmp_path / "policy.pth"), device="cpu")
        assert_same_actions(policy.predict(seen, deterministic=True)[0], alone.predict(seen, deterministic=True)[0])


# -- files -------------------------------------------------------------------------------------------------------------


def test_bad_files_are_told_of_in_one_line(tmp_path: Path) -> None:
    model = HybridPPO("MlpPolicy", WalkerVecEnv(2), **SHORT)
    model.save(tmp_path / "good.zip")
    good = (tmp_path / "good.zip").read_bytes()
    (tmp_path / "text.zip").write_text("not a zip")
    (tmp_path / "half.zip").write_bytes(good[: len(good) // 2])
    (tmp_path / "bent.zip").write_bytes(good[:300] + b"????" + good[304:])
    PPO("MlpPolicy", WalkerVecEnv(2, flat=True), n_steps=8, batch_size=16, device="cpu").save(tmp_path / "other.zip")
    for name in ("text", "half", "bent", "other", "missing"):
        with pytest.raises(ValueError, match=f"{name}.zip: ") as error:
            HybridPPO.load(tmp_path / f"{name}.zip", device="cpu")
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"good.zip: cannot be loaded as HybridPPO here \(Observation spaces do not"):
        HybridPPO.load(tmp_path / "good.zip", env=photo_env("preview"), device="cpu")


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    model = HybridPPO("MlpPolicy", WalkerVecEnv(2), **SHORT)
    model.save(tmp_path / "model.zip")
    before = (tmp_path / "model.zip").read_bytes()

    class Unpicklable:
        def __reduce__(self) -> Any:
            raise RuntimeError("no")

    model.unpicklable = Unpicklable()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="no"):
        model.save(tmp_path / "model.zip")
    assert (tmp_path / "model.zip").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    model.save(file := io.BytesIO(), exclude=["unpicklable"])
    file.seek(0)
    assert isinstance(HybridPPO.load(file, device="cpu"), HybridPPO)


def test_learning_needs_an_environment(tmp_path: Path) -> None:
    HybridPPO("MlpPolicy", WalkerVecEnv(2), **SHORT).save(tmp_path / "model")
    with pytest.raises(ValueError, match="no environment to learn from"):
        HybridPPO.load(tmp_path / "model", device="cpu").learn(8)
    with pytest.raises(ValueError, match="must be at least 2"):
        HybridPPO("MlpPolicy", TurnAndMove(), n_steps=1)
