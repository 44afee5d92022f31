"""The agent at work on many photographs, and within what a person asked for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from cli_tools import TINY

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.agents.exposure.retouching import BATCH, Brief, decide
from exposure_gym.cli.runs import ZeroReward
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.photo import to_square
from exposure_gym.recipe import Edit, Recipe


@pytest.fixture(scope="module")
def agent() -> ExposureAgent:
    crops = np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32)
    env = PhotoRetouchEnv(Photos(PhotoSet(crops, "linear", "ab"), PhotoSet(crops, "display", "ab")), ZeroReward())
    return ExposureAgent(env=env, seed=4, device="cpu", **TINY)


@pytest.fixture(scope="module")
def photos() -> list[Any]:
    rng = np.random.default_rng(1)
    return [rng.random((70 + 5 * i, 90, 3), dtype=np.float32) ** (1 + i / 4) for i in range(BATCH + 3)]


def same(one: Recipe, other: Recipe) -> None:
    assert [edit.filter for edit in one] == [edit.filter for edit in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.parameters, b.parameters, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chance", [False, True])
def test_many_are_decided_as_one_by_one(agent: ExposureAgent, photos: list[Any], chance: bool) -> None:
    seeds = list(range(50, 50 + len(photos))) if chance else None
    decisions = agent.retouch_many(photos, seeds=seeds)
    assert len(decisions) == len(photos)
    for i, (photo, decision) in enumerate(zip(photos, decisions, strict=True)):
        same(decision.recipe, agent.retouch(photo, deterministic=not chance, seed=50 + i))
        assert len(decision.probabilities) == len(decision.recipe) == 5
        for edit, chances in zip(decision.recipe, decision.probabilities, strict=True):
            assert sum(chances.values()) == pytest.approx(1.0, abs=1e-5)
            assert chances[edit.filter] == max(chances.values())
    if chance:
        assert len({decision.recipe for decision in agent.retouch_many([photos[0]] * 6, seeds=range(6))}) > 1


def test_a_photograph_alone_draws_what_it_always_drew(agent: ExposureAgent, photos: list[Any]) -> None:
    """One generator for a batch of one, as published weights and earlier versions were used."""
    view = torch.from_numpy(to_square(photos[3], agent.image_size).transpose(2, 0, 1).copy())[None]
    same(agent.decide(view, torch.Generator().manual_seed(9))[0], agent.retouch(photos[3], deterministic=False, seed=9))
    same(agent.decide(view, None)[0], agent.retouch(photos[3]))


def test_seeds_are_counted(agent: ExposureAgent, photos: list[Any]) -> None:
    with pytest.raises(ValueError, match="11 photographs need as many seeds, not 2"):
        agent.retouch_many(photos, seeds=[1, 2])
    assert agent.retouch_many([]) == []


def test_only_some_filters_each_once(agent: ExposureAgent, photos: list[Any]) -> None:
    only = ("contrast", "tone", "gamma")
    for decision in agent.retouch_many(photos, brief=Brief(only=only)):
        assert sorted(edit.filter for edit in decision.recipe) == sorted(only)  # and then it stops
        left = set(only)
        for edit, chances in zip(decision.recipe, decision.probabilities, strict=True):
            assert sum(chances.values()) == pytest.approx(1.0, abs=1e-5)
            assert {name for name, chance in chances.items() if chance > 0} == left
            assert edit.filter == max(chances, key=lambda name: chances[name])
            left.remove(edit.filter)


def test_more_filters_than_edits(agent: ExposureAgent, photos: list[Any]) -> None:
    names = tuple(filter_.name for filter_ in agent.game.filters)
    for decision in agent.retouch_many(photos, brief=Brief(only=names)):
        assert len({edit.filter for edit in decision.recipe}) == len(decision.recipe) == 5
    few = agent.retouch(photos[0], brief=Brief(only=names, max_edits=2))
    assert few.edits == agent.retouch(photos[0], brief=Brief(only=names)).edits[:2]


def test_what_was_used_before_is_not_used_again(agent: ExposureAgent, photos: list[Any]) -> None:
    start = Recipe((Edit("tone", (1.0,) * 8), Edit("level", (0.0, 1.0))))
    ended = agent.retouch(photos[0], brief=Brief(only=("tone", "contrast"), start=start))
    assert [edit.filter for edit in ended] == ["tone", "level", "contrast"]
    done = agent.retouch(photos[0], brief=Brief(only=("tone",), start=start))
    assert done.edits == start.edits


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_a_few_edits_are_the_first_ones(agent: ExposureAgent, photos: list[Any], count: int) -> None:
    few = agent.retouch(photos[0], brief=Brief(max_edits=count))
    assert few.edits == agent.retouch(photos[0]).edits[:count]


@pytest.mark.parametrize("given", [0, 1, 4, 5, 7])
def test_going_on_from_an_edit(agent: ExposureAgent, photos: list[Any], given: int) -> None:
    start = agent.retouch(photos[2])
    start = Recipe((*start.edits, Edit("exposure", (0.5,)), Edit("exposure", (-0.5,)))[:given])
    ended = agent.retouch(photos[2], brief=Brief(start=start))
    assert ended.edits[:given] == start.edits
    assert len(ended) == max(5, given + 1)
    if given < 5:  # the agent's own beginning leads to its own end
        same(ended, agent.retouch(photos[2]))


def test_what_was_used_and_how_often_is_seen(agent: ExposureAgent) -> None:
    image = torch.full((2, 3, 64, 64), 0.25)
    start = Recipe((Edit("exposure", (1.0,)), Edit("level", (0.0, 1.0))))
    state, left = Brief(start=start).begin(agent.game, image)
    assert left == 3
    assert state.step.tolist() == [2, 2]
    assert state.filters_used.tolist() == [[1.0] + [0.0] * 7] * 2  # the agent does not know levels
    assert state.image.mean().item() == pytest.approx(0.5)
    assert len(decide(agent, image, None, Brief(start=start, max_edits=1))[0].recipe) == 3


def test_a_brief_that_cannot_be_followed(agent: ExposureAgent, photos: list[Any]) -> None:
    with pytest.raises(ValueError, match="'sharpen': this model's are exposure, gamma, white_balance"):
        agent.retouch(photos[0], brief=Brief(only=("tone", "sharpen")))
    with pytest.raises(ValueError, match="max_edits 0"):
        Brief(max_edits=0)
    with pytest.raises(ValueError, match="no filter"):
        Brief(only=())


def test_acting_does_not_load_the_compiler() -> None:
    code = (
        "import sys; from exposure_gym.cli.models import load_agent; import numpy as np;"
        "load_agent(None).retouch(np.zeros((8, 8, 3), np.float32)); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
