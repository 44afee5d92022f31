"""The game's compiled loops: parameters as the filters define them, new games as the photo set cuts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from exposure_gym._game_kernels import cut_batch, physical
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.envs.batch import GameBatch
from exposure_gym.filters import ALL_FILTERS, Filter
from exposure_gym.game import RetouchGame
from exposure_gym.kernels import CODES, CONSTANTS


class Indifferent:
    """A reward that judges nothing."""

    name = "none"

    def potential(self, image: torch.Tensor) -> torch.Tensor:
        return image.new_zeros(len(image))


@pytest.mark.parametrize("filter_", list(ALL_FILTERS.values()), ids=list(ALL_FILTERS))
def test_parameters_are_the_filters(filter_: Filter, rng: np.random.Generator) -> None:
    count = filter_.num_actions
    ends = np.outer([-1.0, 0.0, 1.0], np.ones(count))
    actions = np.concatenate([ends, rng.uniform(-1.0, 1.0, (20, count))])
    expected = filter_.physical(actions)
    for action, row in zip(actions, expected, strict=True):
        parameters = np.zeros(CONSTANTS)
        physical(CODES[filter_.name], np.append(action, [9.0]).astype(np.float32), parameters)
        np.testing.assert_allclose(parameters[: filter_.num_parameters], row, rtol=1e-6, atol=1e-6)
        assert not parameters[filter_.num_parameters :].any()


def test_neutral_actions_give_exactly_neutral_parameters() -> None:
    for name in ("exposure", "gamma", "saturation", "contrast", "black_white", "level"):
        filter_, parameters = ALL_FILTERS[name], np.zeros(CONSTANTS)
        physical(CODES[name], np.full(filter_.num_actions, filter_.neutral_action, np.float32), parameters)
        assert tuple(parameters[: filter_.num_parameters]) == filter_.neutral


@pytest.mark.parametrize("index", [-1, 9])
def test_filters_that_are_not_there_are_refused(index: int) -> None:
    game = RetouchGame()
    state = game.start(torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(IndexError, match="no filter"):
        game.transition(state, torch.tensor([index]), torch.zeros(1, game.num_parameters))


@pytest.fixture
def crops(rng: np.random.Generator) -> NDArray[np.float32]:
    """Light below black and above all limits too."""
    return rng.uniform(-1.0, 20.0, (5, 3, 12, 12)).astype(np.float32)


def test_crops_are_the_photo_sets(crops: NDArray[np.float32], rng: np.random.Generator) -> None:
    photos = PhotoSet(crops, "linear", list("abcde"))
    draw = photos.draw(40, rng, 7)
    rows = rng.permutation(50)[:40]
    for limit in (16.0, np.inf):
        out = np.full((50, 3, 7, 7), np.nan, np.float32)
        cut_batch(crops, *draw[:4], limit, rows, out)
        expected = photos.cut(draw)
        np.testing.assert_array_equal(out[rows], expected.clip(0.0, limit) if limit < np.inf else expected)
        assert np.isnan(np.delete(out, rows, axis=0)).all()


@pytest.mark.parametrize("kind", ["half", "mapped", "half, mapped", "strided", "read-only"])
def test_games_start_alike_however_photos_are_stored(kind: str, crops: NDArray[np.float32], tmp_path: Path) -> None:
    stored = crops.astype(np.float16 if "half" in kind else np.float32)
    if "mapped" in kind:
        np.save(tmp_path / "crops.npy", stored)
        stored = np.load(tmp_path / "crops.npy", mmap_mode="r")
    elif kind == "strided":
        stored = stored.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)
    elif kind == "read-only":
        stored.flags.writeable = False
    inputs = PhotoSet(stored, "linear", list("abcde"))
    games = GameBatch(6, Photos(inputs, PhotoSet(crops, "display", list("abcde"))), Indifferent(), image_size=8)
    for row in range(6):
        games.seed(row, row)
    names = games.restart(np.arange(6))
    draw = inputs.draw_each([np.random.Generator(np.random.PCG64(row)) for row in range(6)], 8)
    assert games.state is not None
    np.testing.assert_array_equal(games.state.image.numpy(), inputs.cut(draw).clip(0.0, 16.0))
    assert names == [inputs.names[index] for index in draw.indices]
