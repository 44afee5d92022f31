"""The paper's agent: the published numbers, one seed one run, and everything that comes back from a file."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import (
    ACTOR_LAYERS,
    PublishedNetworks,
    critic_layers,
    golden,
    in_our_layout,
    published_networks,
)
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from torch import Tensor

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.agents.exposure import agent as agent_module
from exposure_gym.agents.exposure.losses import ActorLosses
from exposure_gym.agents.exposure.storage import AGENT_FORMAT, save_policy
from exposure_gym.critic import save_critic
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.model_file import ModelError, read_model, write_model


def count_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# -- a tiny agent ------------------------------------------------------------------------------------------------------


class NoReward:
    """A reward model that likes every picture alike."""

    name = "nothing"

    def potential(self, image: Tensor) -> Tensor:
        return torch.zeros(len(image))


def tiny_env(image_size: int = 16, **kwargs: Any) -> PhotoRetouchEnv:
    rng = np.random.default_rng(7)
    shape = (6, 3, image_size + 4, image_size + 4)
    inputs = PhotoSet(rng.uniform(0.0, 0.3, shape).astype(np.float32), "linear", [f"in{i}" for i in range(6)])
    targets = PhotoSet(rng.uniform(0.2, 1.0, shape).astype(np.float32), "display", [f"out{i}" for i in range(6)])
    return PhotoRetouchEnv(photos=Photos(inputs, targets), reward=NoReward(), image_size=image_size, **kwargs)


TINY: dict[str, Any] = {
    "policy_kwargs": {"base_channels": 4, "features": 64, "hidden": 8},
    "batch_size": 4,
    "pool_size": 8,
    "critic_updates": 1,
    "critic_burst": 2,
    "burst_iterations": 1,
    "burst_every": 3,
    "warmup_rollouts": 4,
    "policy_learning_rate": 1e-3,
    "seed": 0,
    "device": "cpu",
}


def tiny_agent(image_size: int = 16, env: PhotoRetouchEnv | None = None, **kwargs: Any) -> ExposureAgent:
    return ExposureAgent("ExposurePolicy", tiny_env(image_size) if env is None else env, **(TINY | kwargs))


def same_weights(first: ExposureAgent, second: ExposureAgent) -> bool:
    pairs = zip(first.policy.state_dict().items(), second.policy.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def observations(count: int, seed: int = 0, size: int = 16) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.uniform(0.0, 1.0, (count, size, size, 3)).astype(np.float32),
        "filters_used": rng.integers(0, 2, (count, 8)).astype(np.int8),
        "step": rng.integers(0, 5, count),
    }


# -- the published numbers ---------------------------------------------------------------------------------------------


def test_first_update_leads_to_the_published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent's own update on the stored batch.

    Adam's first step is ``rate * g / (|g| + epsilon)``. TensorFlow's epsilon of 1e-8 stands outside the bias
    correction, so that it acts as ``1e-8 / sqrt(1 - 0.9)``, 2.2e-8 more than torch's: for ``|g| > 1.1e-5`` that is
    less than 2e-3 of the rate. Weights below 1 are rounded to 6e-8, which is below 1e-3 of the rates used. Smaller
    gradients are noise to a step that takes little but their sign; they are left out, but for the exact zeros.
    """
    data = golden("forward_small")
    rates = {"actor": float(data["optim/lr"]), "value": 10.0 * float(data["optim/lr"])}
    agent = tiny_agent(
        image_size=64,
        policy_kwargs={"base_channels": 4, "features": 128, "hidden": 16, "dropout_keep": 1.0},
        policy_learning_rate=rates["actor"],
        value_learning_rate=rates["value"],
        batch_size=8,
    )
    agent.learn(0)
    networks = published_networks()
    agent.policy.actor.load_state_dict(networks.actor.state_dict())
    agent.policy.value.load_state_dict(networks.value.state_dict())
    agent.policy.critic.load_state_dict(networks.critic.state_dict())

    def stored_batch(*_: Any, **__: Any) -> ActorLosses:
        return PublishedNetworks(networks.game, agent.policy.actor, agent.policy.value, agent.policy.critic).losses(
            "train1"
        )

    monkeypatch.setattr(agent_module, "actor_losses", stored_batch)
    agent._actor_step(float(data["in/progress"]))
    layers = {"actor": ACTOR_LAYERS, "value": critic_layers("rl_value/critic")}
    for network, rate in rates.items():
        before, after, gradients = (
            in_our_layout(data, prefix, layers[network]) for prefix in ("weights/", "optim/0/weights/", "train1/grad/")
        )
        compared = 0
        for name, weights in getattr(agent.policy, network).named_parameters():
            still, clear = gradients[name] == 0.0, gradients[name].abs() > 1.1e-5
            assert torch.equal(weights[still], before[name][still]), name
            error = (weights - after[name]).detach().abs()[clear]
            assert not len(error) or error.max() < 3e-3 * rate, name
            compared += len(error)
        assert compared > 0.4 * count_parameters(getattr(agent.policy, network))


def test_learning_rates_fall_as_published() -> None:
    data, agent = golden("misc"), tiny_agent(policy_learning_rate=1.5e-5)
    agent.set_logger(Logger(None, []))
    for i, iteration in enumerate(data["lr/iters"]):
        agent._set_learning_rates(iteration / 20_000)
        for key, optimizer in (
            ("g", agent.policy_optimizer),
            ("v", agent.value_optimizer),
            ("c", agent.critic_optimizer),
        ):
            assert optimizer.param_groups[0]["lr"] == pytest.approx(data[f"lr/{key}"][i], rel=1e-6)


# -- learning ----------------------------------------------------------------------------------------------------------


def test_default_hyperparameters_are_the_published_ones() -> None:
    agent = ExposureAgent(env=tiny_env(64), seed=0, device="cpu", _init_setup_model=False)
    assert (agent.policy_learning_rate, agent.value_learning_rate) == (1.5e-5, 1.5e-4)
    assert (agent.critic_learning_rate, agent.learning_rate_decay) == (5e-5, 1e-3)
    assert (agent.adam_betas, agent.batch_size, agent.pool_size) == ((0.5, 0.9), 64, 128)
    assert (agent.critic_updates, agent.critic_burst) == (5, 100)
    assert (agent.burst_iterations, agent.burst_every) == (10, 500)
    assert (agent.max_trajectory_length, agent.over_length_keep, agent.discount) == (7, 0.5, 1.0)
    assert (agent.score_weight, agent.entropy_weight, agent.gradient_penalty) == (0.05, 0.05, 10.0)


def test_impossible_hyperparameters_are_refused() -> None:
    with pytest.raises(ValueError, match="precision 'float8' must be one of float32, bfloat16"):
        tiny_agent(precision="float8")
    with pytest.raises(ValueError, match="batch_size 16 must not exceed pool_size 8"):
        tiny_agent(batch_size=16)
    with pytest.raises(ValueError, match=r"averaging 1.0 must be at least 0 and below 1"):
        tiny_agent(averaging=1.0)
    with pytest.raises(ValueError, match="critic_tiles 3 must divide the pictures' 16 pixels"):
        tiny_agent(critic_tiles=3)


def test_an_average_of_the_actors_acts(tmp_path: Path) -> None:
    """``average_t = d_t average_(t-1) + (1 - d_t) actor_t``, with ``d_t = min(averaging, (1 + t) / (10 + t))``."""
    actors: list[dict[str, Tensor]] = []

    class Watch(BaseCallback):
        model: ExposureAgent

        def _on_step(self) -> bool:
            actors.append({name: value.clone() for name, value in self.model.policy.actor.state_dict().items()})
            return True

    def edit(agent: ExposureAgent) -> np.ndarray[Any, Any]:
        return as_array(agent.predict(observations(3), deterministic=True)[0])

    agent = tiny_agent(averaging=0.25)
    expected = {name: value.double() for name, value in agent.policy.actor.state_dict().items()}
    agent.learn(24, callback=Watch())
    for t, actor in enumerate(actors):
        decay = min(0.25, (1 + t) / (10 + t))
        expected = {name: decay * value + (1 - decay) * actor[name].double() for name, value in expected.items()}
    assert len(actors) == 6
    assert agent.policy.average is not None
    for name, value in agent.policy.average.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)

    plain = tiny_agent().learn(24)
    for name, value in plain.policy.actor.state_dict().items():  # learning does not know of it
        assert torch.equal(value, agent.policy.actor.state_dict()[name])
    assert not np.array_equal(edit(agent), edit(plain))
    save_policy(agent, tmp_path / "policy.safetensors", torch.float32)
    np.testing.assert_array_equal(edit(ExposureAgent.load(tmp_path, device="cpu")), edit(agent))


@pytest.mark.parametrize("masks", [False, True])
def test_one_seed_gives_one_run(masks: bool) -> None:
    first, second, other = (tiny_agent(env=tiny_env(masks=masks), seed=seed).learn(16) for seed in (0, 0, 1))
    assert same_weights(first, second)
    assert not same_weights(first, other)
    before = tiny_agent(env=tiny_env(masks=masks))
    assert not torch.equal(before.policy.actor.selector_output.weight, first.policy.actor.selector_output.weight)
    assert not torch.equal(before.policy.critic.score.weight, first.policy.critic.score.weight)
    assert not torch.equal(before.policy.value.score.weight, first.policy.value.score.weight)


def test_learning_again_starts_anew_or_goes_on() -> None:
    agent = tiny_agent().learn(10)
    assert agent.num_timesteps == 12  # whole iterations of 4
    agent.learn(8, reset_num_timesteps=False)
    assert agent.num_timesteps == 20
    agent.learn(4)
    assert agent.num_timesteps == 4


def test_no_global_random_state_is_touched(tmp_path: Path) -> None:
    def states() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002

    before = states()
    agent = tiny_agent().learn(8)
    agent.predict(observations(2))
    agent.save(tmp_path / "agent")
    ExposureAgent.load(tmp_path / "agent", device="cpu").predict(observations(2), deterministic=True)
    tiny_agent(seed=None)
    assert states() == before


class StopAfter(BaseCallback):
    """Counts iterations, notes the time steps, and stops after some."""

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.seen: list[int] = []

    def _on_step(self) -> bool:
        self.seen.append(self.num_timesteps)
        return len(self.seen) < self.iterations


def test_callback_is_called_each_iteration_and_can_stop() -> None:
    callback = StopAfter(100)
    tiny_agent().learn(16, callback=callback)
    assert callback.seen == [4, 8, 12, 16]
    stopper = StopAfter(2)
    agent = tiny_agent().learn(400, callback=stopper)
    assert stopper.seen == [4, 8]
    assert agent.num_timesteps == 8


@pytest.mark.parametrize("callback", [None, lambda *_: True, StopAfter(9), [StopAfter(9)]])
def test_progress_bar_counts_edits(callback: Any, capsys: pytest.CaptureFixture[str]) -> None:
    agent = tiny_agent()
    agent.learn(3 * agent.batch_size, callback=callback, progress_bar=True)
    assert f"{3 * agent.batch_size}/{3 * agent.batch_size} edits" in capsys.readouterr().out


@pytest.mark.parametrize(("stop", "options"), [(1, {}), (3, {}), (3, {"averaging": 0.9, "critic_tiles": 4})])
def test_an_interrupted_run_goes_on_to_the_same_bits(stop: int, options: dict[str, Any], tmp_path: Path) -> None:
    whole = tiny_agent(**options).learn(20)
    tiny_agent(**options).learn(20, callback=StopAfter(stop)).save(tmp_path / "half")
    resumed = ExposureAgent.load(tmp_path / "half", env=tiny_env(), device="cpu")
    assert resumed.num_timesteps == 4 * stop
    assert not same_weights(whole, resumed)
    resumed.learn(20 - 4 * stop, reset_num_timesteps=False)
    assert same_weights(whole, resumed)
    for name in ("policy_optimizer", "value_optimizer", "critic_optimizer"):
        first, second = (getattr(agent, name).state_dict()["state"] for agent in (whole, resumed))
        assert all(torch.equal(first[i][moment], second[i][moment]) for i in first for moment in first[i])
    assert whole.pool is not None
    assert resumed.pool is not None
    assert all(torch.equal(a, b) for a, b in zip(whole.pool.state, resumed.pool.state, strict=True))
    assert whole.rng.bit_generator.state == resumed.rng.bit_generator.state
    assert torch.equal(whole.noise.get_state(), resumed.noise.get_state())


def test_critic_updates_come_in_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = tiny_agent(critic_updates=2, critic_burst=5, burst_iterations=2, burst_every=4)
    agent.learn(0)
    calls: list[str] = []
    monkeypatch.setattr(agent, "_actor_step", lambda progress: calls.append("actor"))
    monkeypatch.setattr(agent, "_critic_step", lambda: calls.append("critic"))
    for iteration in range(6):
        agent.train(iteration)
    counts = [len(part) for part in "".join("|" if call == "actor" else "." for call in calls).split("|")[1:]]
    assert counts == [5, 5, 2, 2, 5, 2]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradients_and_moments_lie_in_memory_as_their_weights(precision: str, tmp_path: Path) -> None:
    """Fused Adam walks memory: another order of axes would give a weight its neighbour's moments, without a word."""
    agent = tiny_agent(precision=precision).learn(8)
    agent.save(tmp_path / "agent")
    for current in (agent, ExposureAgent.load(tmp_path / "agent", env=tiny_env(), device="cpu")):
        for name in ("policy_optimizer", "value_optimizer", "critic_optimizer"):
            optimizer = getattr(current, name)
            strided = 0
            for parameter in optimizer.param_groups[0]["params"]:
                moments = [optimizer.state[parameter][moment] for moment in ("exp_avg", "exp_avg_sq")]
                gradients = [] if parameter.grad is None else [parameter.grad]
                assert all(tensor.stride() == parameter.stride() for tensor in moments + gradients)
                strided += not parameter.is_contiguous()
            assert strided  # channels last


def test_bfloat16_learns_near_float32() -> None:
    full, half = (tiny_agent(precision=precision).learn(8) for precision in ("float32", "bfloat16"))
    assert not same_weights(full, half)
    for (name, a), b in zip(full.policy.named_parameters(), half.policy.parameters(), strict=True):
        assert b.dtype == torch.float32
        assert torch.isfinite(b).all()
        # Two steps of Adam, whose sizes are the rates: at most 1e-3 for the actor, opposite ways at worst.
        assert (a - b).abs().max() < 5e-3, name


# -- acting ------------------------------------------------------------------------------------------------------------


def test_predictions_are_actions() -> None:
    agent, env = tiny_agent(), tiny_env()
    observation, _ = env.reset(seed=0)
    for deterministic in (True, False):
        action, state = agent.predict(observation, deterministic=deterministic)
        assert state is None
        assert isinstance(action, dict)
        assert env.action_space.contains(action | {"filter": np.int64(action["filter"])})
        env.reset(seed=0)
        env.step(action)
        many, _ = agent.predict(observations(5), deterministic=deterministic)
        assert isinstance(many, list)
        assert len(many) == 5


def as_array(actions: Any) -> np.ndarray[Any, Any]:
    return np.array([[action["filter"], *action["parameters"]] for action in actions])


def test_deterministic_prediction_repeats_and_the_other_draws_from_its_own_generator() -> None:
    agent, twin = tiny_agent(), tiny_agent()
    batch = observations(6)
    sure = as_array(agent.predict(batch, deterministic=True)[0])
    np.testing.assert_array_equal(as_array(agent.predict(batch, deterministic=True)[0]), sure)
    alone = [agent.predict({k: v[i] for k, v in batch.items()}, deterministic=True)[0] for i in range(6)]
    np.testing.assert_allclose(as_array(alone), sure, atol=1e-5)

    first, second = (as_array(agent.predict(batch)[0]) for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(as_array(twin.predict(batch)[0]), first)
    np.testing.assert_array_equal(as_array(twin.predict(batch)[0]), second)
    agent.set_random_seed(0)
    np.testing.assert_array_equal(as_array(agent.predict(batch)[0]), first)


def test_retouching_gives_a_recipe_of_all_steps() -> None:
    agent = tiny_agent(env=tiny_env(max_steps=3))
    photo = np.random.default_rng(0).uniform(0.0, 0.3, (40, 30, 3)).astype(np.float32)
    recipe = agent.retouch(photo, deterministic=True)
    assert len(recipe.edits) == 3
    assert agent.retouch(photo, deterministic=True) == recipe
    assert recipe.apply_photo(photo).shape == photo.shape
    seeded = [agent.retouch(photo, deterministic=False, seed=seed) for seed in (1, 1, 2)]
    assert seeded[0] == seeded[1] != seeded[2]


def test_a_decision_tells_how_sure_the_policy_was() -> None:
    agent = tiny_agent(env=tiny_env(max_steps=3))
    photo = np.random.default_rng(0).uniform(0.0, 0.3, (40, 30, 3)).astype(np.float32)
    (decision,) = agent.retouch_many([photo])
    assert decision.recipe == agent.retouch(photo)
    for edit, chances in zip(decision.recipe, decision.probabilities, strict=True):
        assert list(chances) == [filter_.name for filter_ in agent.game.filters]
        assert sum(chances.values()) == pytest.approx(1.0, abs=1e-5)
        assert max(chances, key=lambda name: chances[name]) == edit.filter


# -- keeping -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_env", [False, True])
@pytest.mark.parametrize("rules", [{}, {"masks": True, "max_steps": 3, "filters": ["gamma", "tone", "exposure"]}])
def test_a_loaded_agent_acts_the_same(with_env: bool, rules: dict[str, Any], tmp_path: Path) -> None:
    agent = tiny_agent(env=tiny_env(**rules), discount=0.9).learn(8)
    agent.save(tmp_path / "agent")
    assert [file.name for file in tmp_path.iterdir()] == ["agent.safetensors"]
    again = ExposureAgent.load(tmp_path / "agent", env=tiny_env(**rules) if with_env else None, device="cpu")
    assert same_weights(agent, again)
    assert again.discount == 0.9
    assert again.game.config() == agent.game.config()
    assert again.action_space == agent.action_space
    assert again.observation_space == agent.observation_space
    batch = observations(4)
    batch["filters_used"] = batch["filters_used"][:, : len(agent.game.filters)]
    for deterministic in (True, False):
        first, second = (as_array(a.predict(batch, deterministic=deterministic)[0]) for a in (agent, again))
        np.testing.assert_array_equal(first, second)
    if not with_env:
        with pytest.raises(ValueError, match="no environment to learn from"):
            again.learn(4)


def test_hyperparameters_can_be_changed_when_loading(tmp_path: Path) -> None:
    tiny_agent().save(tmp_path / "agent")
    again = ExposureAgent.load(tmp_path / "agent.safetensors", env=tiny_env(), device="cpu", critic_updates=3)
    assert again.critic_updates == 3
    again.learn(4)


def test_shipped_weights_act_almost_the_same(tmp_path: Path) -> None:
    agent = tiny_agent()
    save_policy(agent, tmp_path / "policy.safetensors")
    save_critic(agent.policy.critic, tmp_path / "critic.safetensors")
    again = ExposureAgent.load(tmp_path, device="cpu")
    batch = observations(4)
    first, second = (as_array(a.predict(batch, deterministic=True)[0]) for a in (agent, again))
    np.testing.assert_allclose(first, second, atol=1e-2)
    assert torch.equal(again.policy.critic.score.weight, agent.policy.critic.score.weight.half().float())


def test_unusable_files_are_refused_in_one_line(tmp_path: Path) -> None:
    agent = tiny_agent().learn(4)
    path = tmp_path / "agent.safetensors"
    agent.save(path)
    whole = path.read_bytes()
    tensors, config = read_model(path, AGENT_FORMAT)
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    (tmp_path / "cut-header.safetensors").write_bytes(whole[:50])
    (tmp_path / "text.safetensors").write_text("not a model")
    (tmp_path / "empty folder").mkdir()
    save_critic(agent.policy.critic, tmp_path / "critic.safetensors")

    def without(prefix: str) -> dict[str, Tensor]:
        return {name: value for name, value in tensors.items() if not name.startswith(prefix)}

    hyperparameters = config["hyperparameters"]
    wide = hyperparameters["policy_kwargs"] | {"hidden": 9}
    for name, changed_tensors, changes in (
        ("no-actor", without("policy.actor.selector"), {}),
        ("no-noise", without("noise"), {}),
        ("no-pool-step", without("pool.step"), {}),
        ("odd-optimizer", tensors | {"policy_optimizer.999.exp_avg": torch.zeros(1)}, {}),
        ("extra-weight", tensors | {"policy.extra": torch.zeros(1)}, {}),
        ("other-game", tensors, {"game": config["game"] | {"filters": ["sepia"]}}),
        ("other-rules", tensors, {"game": config["game"] | {"lives": 3}}),
        ("other-space", tensors, {"working_space": "acescg"}),
        ("other-size", tensors, {"image_size": 32}),
        ("odd-size", tensors, {"image_size": 17}),
        ("unknown-key", tensors, {"hyperparameters": hyperparameters | {"charm": 1}}),
        ("bad-value", tensors, {"hyperparameters": hyperparameters | {"precision": "float8"}}),
        ("wide", tensors, {"hyperparameters": hyperparameters | {"policy_kwargs": wide}}),
        ("no-random-state", tensors, {"progress": {"num_timesteps": 3}}),
    ):
        write_model(tmp_path / f"{name}.safetensors", changed_tensors, AGENT_FORMAT, config | changes)
    del config["game"]
    write_model(tmp_path / "no-game.safetensors", tensors, AGENT_FORMAT, config)
    with_env = {"no-pool-step"}
    for file in sorted(tmp_path.iterdir()):
        if file == path:
            continue
        with pytest.raises(ModelError) as caught:
            ExposureAgent.load(file, env=tiny_env() if file.stem in with_env else None, device="cpu")
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="no such model file"):
        ExposureAgent.load(tmp_path / "missing", device="cpu")


def test_an_environment_with_other_filters_is_refused(tmp_path: Path) -> None:
    tiny_agent(env=tiny_env(filters=["gamma", "tone"])).save(tmp_path / "agent")
    with pytest.raises(ModelError, match="other filters"):
        ExposureAgent.load(tmp_path / "agent", env=tiny_env(filters=["tone", "gamma"]))
