"""The rules of the game: pure, differentiable, and each game by itself."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from golden import assert_matches, golden, images
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from exposure_gym.agents.exposure.networks import entropy
from exposure_gym.envs.actions import HybridActions
from exposure_gym.filters import ALL_FILTERS, apply_masked, filters_by_name, mask_physical
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.recipe import Recipe


def random_state(game: RetouchGame, count: int, rng: np.random.Generator, step: int = 2) -> GameState:
    image = torch.from_numpy(rng.uniform(0.0, 1.3, (count, 3, 5, 6)))
    used = torch.from_numpy(rng.integers(0, 2, (count, len(game.filters)))).double()
    return GameState(image, used, torch.full((count,), step))


def random_edit(game: RetouchGame, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    index = torch.from_numpy(rng.integers(0, len(game.filters), count))
    return index, torch.from_numpy(rng.uniform(-1.0, 1.0, (count, game.num_parameters)))


# -- penalties against the published numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_penalties_are_the_published_ones(progress: float) -> None:
    data = golden("misc")
    states = torch.from_numpy(data["penalty/states"])
    # Eight times the exposure filter, left at 0 EV: the picture stays the one whose penalty was computed.
    game = RetouchGame(filters_by_name(["exposure"] * 8), image_limit=None)
    state = GameState(images(data["penalty/output"]), states[:, 3:], states[:, 2].long())
    step = game.transition(state, torch.from_numpy(data["penalty/ids"]).long(), torch.zeros(8, 8))
    assert torch.equal(step.state.image, state.image)
    assert_matches(step.state.filters_used, data["penalty/new_states"][:, 3:], 0.0)
    assert_matches(step.state.step, data["penalty/new_states"][:, 2], 0.0)

    overexposure, reuse = step.penalties["overexposure"], step.penalties["reuse"]
    spread = math.log(8) - entropy(torch.from_numpy(data["penalty/pdf"]))
    entropy_penalty = (1.0 - progress) * 0.05 * spread
    key = f"penalty/progress{progress}/penalty_"
    assert_matches(overexposure, data[key + "over_only"])
    assert_matches(overexposure + reuse, data[key + "usage_only"])
    assert_matches(overexposure + entropy_penalty, data[key + "entropy_only"])
    assert_matches(overexposure + reuse + entropy_penalty, data[key + "full"])


def test_penalty_weights(rng: np.random.Generator) -> None:
    state = random_state(RetouchGame(), 6, rng)._replace(filters_used=torch.ones(6, 8))
    index, parameters = random_edit(RetouchGame(), 6, rng)
    one = RetouchGame().transition(state, index, parameters).penalties
    weighted = RetouchGame(overexposure_weight=3.0, reuse_weight=0.25).transition(state, index, parameters).penalties
    torch.testing.assert_close(weighted["overexposure"], 3.0 * one["overexposure"])
    torch.testing.assert_close(weighted["reuse"], 0.25 * one["reuse"])
    assert (one["reuse"] == 1.0).all()
    assert (one["overexposure"] > 0.0).any()


# -- transition --------------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 9), masks=st.booleans(), seed=st.integers(0, 1000))
def test_grouped_filters_equal_all_filters_and_a_choice(count: int, masks: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    game = RetouchGame(masks=masks, image_limit=None)
    state = random_state(game, count, rng)
    index, parameters = random_edit(game, count, rng)
    every = []
    for i, filter_ in enumerate(game.filters):
        physical = filter_.physical(parameters[:, game.blocks[i]])
        mask = mask_physical(parameters[:, game.mask_block(i)])
        if masks:
            every.append(apply_masked(filter_, state.image, physical, mask))
        else:
            every.append(filter_.apply(state.image, physical))
    dense = torch.stack(every)[index, torch.arange(count)]
    torch.testing.assert_close(game.transition(state, index, parameters).state.image, dense, rtol=1e-12, atol=1e-12)


@given(count=st.integers(1, 9), seed=st.integers(0, 1000))
def test_the_order_of_the_games_does_not_matter(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    game = RetouchGame()
    state = random_state(game, count, rng)
    index, parameters = random_edit(game, count, rng)
    order = torch.from_numpy(rng.permutation(count))
    first = game.transition(state, index, parameters)
    second = game.transition(GameState(*(part[order] for part in state)), index[order], parameters[order])
    for before, after in zip(first.state, second.state, strict=True):
        torch.testing.assert_close(before[order], after)
    for name, penalty in first.penalties.items():
        torch.testing.assert_close(penalty[order], second.penalties[name])


def test_transition_leaves_its_inputs_as_they_were(rng: np.random.Generator) -> None:
    for name in ALL_FILTERS:
        game = RetouchGame(filters_by_name([name]))
        state = random_state(game, 3, rng)
        index, parameters = random_edit(game, 3, rng)
        inputs = [*state, index, parameters]
        copies = [part.clone() for part in inputs]
        once, twice = game.transition(state, index, parameters), game.transition(state, index, parameters)
        assert all(torch.equal(a, b) for a, b in zip(inputs, copies, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(once.state, twice.state, strict=True))


@given(actions=st.lists(st.integers(0, 7), min_size=5, max_size=5), max_steps=st.integers(1, 5))
def test_steps_and_used_filters_are_kept(actions: list[int], max_steps: int) -> None:
    game = RetouchGame(max_steps=max_steps)
    state = game.start(torch.full((1, 3, 2, 2), 0.2))
    assert not state.filters_used.any()
    for number, action in enumerate(actions[:max_steps], start=1):
        reused = bool(state.filters_used[0, action])
        assert not game.finished(state)
        step = game.transition(state, torch.tensor([action]), torch.zeros(1, 39))
        state = step.state
        assert float(step.penalties["reuse"]) == reused
        assert int(state.step) == number
        assert set(torch.nonzero(state.filters_used[0])[:, 0].tolist()) == set(actions[:number])
        assert bool(step.terminated) == bool(game.finished(state)) == (number == max_steps)
        finished = float(number == max_steps)
        assert game.state_vector(state)[0].tolist() == [finished, finished, number, *state.filters_used[0].tolist()]


def test_pictures_stay_below_the_image_limit() -> None:
    image = torch.full((1, 3, 4, 4), 3.0)
    brightest = torch.ones(1, 39)
    index = torch.tensor([0])

    def after(limit: float | None) -> Tensor:
        game = RetouchGame(image_limit=limit)
        return game.transition(game.start(image), index, brightest).state.image

    exposed = 3.0 * 2.0**3.5
    assert float(after(None).max()) == pytest.approx(exposed)
    assert float(after(16.0).max()) == 16.0
    assert float(after(100.0).max()) == pytest.approx(exposed)
    game = RetouchGame()
    penalty = game.transition(game.start(image), index, brightest).penalties["overexposure"]
    assert float(penalty) == 15.0**2


def test_only_the_chosen_block_gets_a_gradient(rng: np.random.Generator) -> None:
    game = RetouchGame(masks=True, image_limit=None)
    state = random_state(game, 8, rng)
    image = state.image.requires_grad_()
    parameters = torch.tensor(rng.uniform(-0.9, 0.9, (8, game.num_parameters)), requires_grad=True)
    index = torch.arange(8)
    step = game.transition(state, index, parameters)
    weights = torch.from_numpy(rng.normal(size=image.shape))
    to_parameters, to_image = torch.autograd.grad((step.state.image * weights).sum(), [parameters, image])
    for i in range(8):
        chosen = torch.zeros(game.num_parameters, dtype=torch.bool)
        chosen[game.blocks[i]] = True
        chosen[game.mask_block(i)] = True
        assert (to_parameters[i][chosen] != 0).all()
        assert (to_parameters[i][~chosen] == 0).all()
        assert (to_image[i] != 0).any()


# -- layout and configuration ------------------------------------------------------------------------------------------


def test_layout_of_the_action_vector() -> None:
    plain, masked = RetouchGame(), RetouchGame(masks=True)
    assert plain.num_parameters == 39
    assert masked.num_parameters == 87
    assert plain.blocks == masked.blocks
    layout = [*masked.blocks, *(masked.mask_block(i) for i in range(8))]
    covered = [position for block in layout for position in range(block.start, block.stop)]
    assert covered == list(range(87))
    sizes = [block.stop - block.start for block in layout]
    assert sizes == [1, 1, 2, 1, 8, 1, 1, 24] + [6] * 8


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"max_steps": 3, "masks": True, "image_limit": None},
        {"overexposure_weight": 0.5, "reuse_weight": 0.0, "image_limit": 4.0},
    ],
)
def test_config_survives_json(rules: dict[str, Any]) -> None:
    game = RetouchGame(filters_by_name(["tone", "vignette", "exposure"]), **rules)
    again = RetouchGame.from_config(json.loads(json.dumps(game.config())))
    assert again.config() == game.config()
    assert [f.name for f in again.filters] == ["tone", "vignette", "exposure"]
    assert again.blocks == game.blocks
    assert vars(again).keys() == vars(game).keys()
    assert {k: getattr(again, k) for k in rules} == rules


def test_impossible_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one filter"):
        RetouchGame([])
    with pytest.raises(ValueError, match="max_steps 0 must be at least 1"):
        RetouchGame(max_steps=0)
    with pytest.raises(ValueError, match="unknown filter 'sepia'"):
        RetouchGame.from_config(RetouchGame().config() | {"filters": ["sepia"]})
    with pytest.raises(TypeError, match="lives"):
        RetouchGame.from_config(RetouchGame().config() | {"lives": 3})


@pytest.mark.parametrize("masks", [False, True])
def test_edits_replay_as_a_recipe(masks: bool, rng: np.random.Generator) -> None:
    game = RetouchGame(masks=masks, image_limit=None)
    state = start = game.start(torch.from_numpy(rng.uniform(0.0, 0.3, (3, 3, 8, 8))))
    chains: list[list[Any]] = [[], [], []]
    for _ in range(5):
        index, parameters = random_edit(game, 3, rng)
        for chain, i, edit in zip(chains, index, game.edits(index, parameters), strict=True):
            assert edit.filter == game.filters[i].name
            assert (edit.mask is not None) == masks
            chain.append(edit)
        state = game.transition(state, index, parameters).state
    for i, chain in enumerate(chains):
        replayed = Recipe(tuple(chain)).apply(start.image[i])
        torch.testing.assert_close(replayed, state.image[i], rtol=1e-9, atol=1e-9)


def test_the_action_of_an_edit_is_the_one_that_it_was_made_with() -> None:
    """To the bit: what is played again from a record is the same game."""
    game = RetouchGame(masks=True, image_limit=16.0)
    form = HybridActions(game)
    generator = torch.Generator().manual_seed(0)
    for index in range(len(game.filters)):
        actions = 2.0 * torch.rand(64, game.num_parameters, generator=generator) - 1.0
        places = list(range(*game.blocks[index].indices(game.num_parameters)))
        places += range(*game.mask_block(index).indices(game.num_parameters))
        for action, edit in zip(actions.numpy(), game.edits(torch.full((64,), index), actions), strict=True):
            np.testing.assert_array_equal(form.action_from_edit(edit)["parameters"][places], action[places])
