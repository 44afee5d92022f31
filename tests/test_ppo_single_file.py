"""The single-file PPO: densities and advantages are right, equal seeds learn the same, and the command runs."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from ppo_single_file import Agent, Observation, Settings, estimate_advantages, main, signature, train

from exposure_gym.game import RetouchGame
from exposure_gym.model_file import read_model

TWO_UPDATES = Settings(total_steps=2 * 4 * 10, num_envs=4, num_steps=10, epochs=2, minibatches=2)


def fresh_agent(seed: int = 0) -> Agent:
    return Agent(RetouchGame(), 64, 0.5, torch.Generator().manual_seed(seed))


def learn(settings: Settings) -> tuple[dict[str, Tensor], list[tuple[int, dict[str, float]]]]:
    logged: list[tuple[int, dict[str, float]]] = []
    agent = train(settings, lambda edits, measured: logged.append((edits, measured)))
    return agent.state_dict(), logged


def test_two_updates_learn_something_and_equal_seeds_learn_the_same() -> None:
    state = torch.random.get_rng_state()
    weights, logged = learn(TWO_UPDATES)
    assert torch.equal(torch.random.get_rng_state(), state)

    assert [edits for edits, _ in logged] == [0, 40, 80]
    assert all(math.isfinite(value) for _, measured in logged for value in measured.values())
    losses = {"loss/policy", "loss/value", "loss/entropy", "loss/kl", "loss/clipped", "episode/reward"}
    assert all(losses <= set(measured) for _, measured in logged[1:])
    assert 0 < logged[1][1]["loss/entropy"] <= math.log(8) + 1e-6
    for _, measured in (logged[0], logged[-1]):
        terms = [measured[f"held_out/{name}"] for name in ("critic", "overexposure", "reuse")]
        assert measured["held_out/reward"] == pytest.approx(sum(terms), abs=1e-5)
        assert 0 <= measured["held_out/intersection"] <= 100

    before = fresh_agent(TWO_UPDATES.seed).state_dict()
    assert [name for name in weights if torch.equal(weights[name], before[name])] == []
    assert all(bool(value.isfinite().all()) for value in weights.values())

    again, logged_again = learn(TWO_UPDATES)
    assert logged_again == logged
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    other, _ = learn(replace(TWO_UPDATES, seed=1))
    assert not any(torch.equal(other[name], weights[name]) for name in weights)


def test_log_probability_is_of_the_choice_and_its_own_block() -> None:
    agent, noise = fresh_agent(), torch.Generator().manual_seed(1)
    game = RetouchGame()
    with torch.no_grad():
        agent.log_spread.add_(torch.randn(39, generator=noise))
    choices = torch.randn(8, 8, generator=noise).log_softmax(dim=1)
    mean, parameters = torch.randn(2, 8, 39, generator=noise)
    index = torch.arange(8)
    spread = agent.log_spread.exp().expand(8, 39)
    expected = Categorical(logits=choices).log_prob(index)  # type: ignore[no-untyped-call]
    density = Normal(mean, spread).log_prob(parameters)  # type: ignore[no-untyped-call]
    for row, block in enumerate(game.blocks):
        expected[row] += density[row, block].sum()
    torch.testing.assert_close(agent.log_probability(choices, mean, index, parameters), expected)


def test_policy_begins_with_any_filter_and_nothing_changed() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = Observation(torch.rand(5, 64, 64, 3, generator=generator), torch.zeros(5, 8), torch.arange(5))
    choices, mean, value = fresh_agent()(seen)
    torch.testing.assert_close(choices, torch.full((5, 8), -math.log(8)), rtol=0, atol=0.05)
    torch.testing.assert_close(mean, torch.zeros(5, 39), rtol=0, atol=0.05)
    assert value.shape == (5,)


def test_whole_episodes_have_their_returns() -> None:
    """With weight 1 an advantage is what was still earned, less what was expected; no other episode has part in it."""
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    last_value = torch.randn(3, generator=generator, dtype=torch.float64)
    over = torch.zeros(7, 3, dtype=torch.float64)
    over[4] = 1.0
    advantages = estimate_advantages(rewards, values, over, last_value, 1.0)
    torch.testing.assert_close(advantages[0], rewards[:5].sum(dim=0) - values[0])
    torch.testing.assert_close(advantages[5], rewards[5:].sum(dim=0) + last_value - values[5])
    one_step = estimate_advantages(rewards, values, over, last_value, 0.0)
    torch.testing.assert_close(one_step[3], rewards[3] + values[4] - values[3])
    torch.testing.assert_close(one_step[4], rewards[4] - values[4])


def test_command_saves_what_it_learned(tmp_path: Path) -> None:
    output = tmp_path / "new" / "ppo.safetensors"
    script = Path(__file__).parents[1] / "benchmarks" / "ppo_single_file.py"
    sizes = ["--total-steps", "20", "--num-envs", "2", "--num-steps", "5", "--epochs", "1", "--minibatches", "1"]
    command = [sys.executable, "-W", "error", str(script), *sizes, "--seed", "3", "--output", str(output)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    first, last, saved = process.stdout.splitlines()
    assert first.strip().startswith("0 edits")
    assert last.strip().startswith("20 edits")
    assert saved == f"weights: {output}"
    tensors, config = read_model(output, "exposure-gym single-file PPO 1")
    assert config["seed"] == 3
    fresh_agent().load_state_dict(tensors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-envs", "0"], "num_envs 0 must be at least 1"),
        (["--minibatches", "7"], "a rollout of 1280 edits cannot be split into 7 minibatches"),
        (["--total-steps", "10"], "total_steps 10 must be at least one rollout of 1280 edits"),
        (["--learning-rate", "nan"], "learning_rate nan must be above 0"),
        (["--seed", "-1"], "seed -1 must be from 0 to 4294967295"),
    ],
)
def test_settings_that_do_not_fit(arguments: list[str], message: str) -> None:
    name, value = arguments
    number = float(value) if "rate" in name else int(value)
    with pytest.raises(ValueError, match=message):
        Settings(**{name[2:].replace("-", "_"): number})  # type: ignore[arg-type]


def test_command_refuses_in_one_line(tmp_path: Path) -> None:
    for values in ({"device": "nowhere"}, {"output": tmp_path}, {"output": Path(__file__) / "new"}, {"clip": 0.0}):
        with pytest.raises(SystemExit, match=r"^ppo_single_file\.py: [^\n]+$"):
            main(**values)


def test_help_is_the_line_under_each_field() -> None:
    options = signature(Settings).parameters
    assert list(options) == list(asdict(Settings()))
    kind, option = get_args(options["num_envs"].annotation)
    assert (kind, option.help, options["num_envs"].default) == (int, "Games side by side.", 64)
