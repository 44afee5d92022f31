"""The compiled filters: what ``filters.py`` defines, in runs of any length, and the game's transition with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import PUBLISHED_NAMES, assert_matches, golden, images
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.caching import CompileResultCacheImpl
from numpy.typing import NDArray

from exposure_gym.filters import ALL_FILTERS, MASK_RANGE, Filter, filters_by_name, local_mask
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.kernels import CODES, RUN, SCRATCH, compile_edits, compiled, interleave, run_program
from exposure_gym.recipe import Edit, Recipe

EVERY = pytest.mark.parametrize("filter_", list(ALL_FILTERS.values()), ids=list(ALL_FILTERS))


def random_image(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """``(3, H, W)`` with blacks, greys, whites and values over 1."""
    image = rng.uniform(0.0, 1.0, (3, height, width)) ** 2
    image[:, rng.random((height, width)) < 0.1] *= 4.0
    grey = rng.random((height, width)) < 0.1
    image[:, grey] = image[0, grey]
    image[:, rng.random((height, width)) < 0.05] = 0.0
    return image.astype(np.float32)


def random_edit(filter_: Filter, masked: bool, rng: np.random.Generator) -> Edit:
    mask = rng.uniform(-1.0, 1.0, 6) if masked else None
    return Edit.from_action(filter_.name, rng.uniform(-1.0, 1.0, filter_.num_actions), mask)


def run(edits: list[Edit], image: NDArray[np.float32], length: int = RUN) -> NDArray[np.float32]:
    """A picture ``(3, H, W)`` through the program of some edits, in runs of this length."""
    program = compile_edits(edits)
    _, height, width = image.shape
    planes = image.reshape(3, -1).copy()
    scratch = np.full((SCRATCH, length), np.nan, np.float32)  # what is in it does not matter
    for start in range(0, height * width, length):
        r, g, b = (plane[start : start + length] for plane in planes)
        run_program(*program, r, g, b, scratch, start, height, width)
    edited: NDArray[np.float32] = planes.reshape(image.shape)
    return edited


def assert_near(actual: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


# -- each filter -------------------------------------------------------------------------------------------------------


@EVERY
@given(height=st.integers(1, 40), width=st.integers(1, 40), masked=st.booleans(), seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_kernels_do_what_the_filters_do(filter_: Filter, height: int, width: int, masked: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, edit = random_image(height, width, rng), random_edit(filter_, masked, rng)
    length = int(rng.integers(1, height * width + 1))  # runs that begin and end within rows
    expected = Recipe((edit,)).apply(image.astype(np.float64))
    assert_near(run([edit], image, length), expected, 1e-5)


@pytest.mark.parametrize("name", list(PUBLISHED_NAMES))
def test_kernels_give_the_published_numbers(name: str) -> None:
    data, key = golden("filters"), PUBLISHED_NAMES[name]
    pictures = images(data[f"{key}/images"]).numpy().astype(np.float32)
    parameters = data[f"{key}/params"].reshape(len(pictures), -1).astype(np.float64)
    if name == "level":
        parameters[:, 1] += 1.0  # the published one counts from 1
    outputs = [run([Edit(name, tuple(row))], image) for image, row in zip(pictures, parameters, strict=True)]
    assert_matches(np.stack(outputs), data[f"{key}/output"].transpose(0, 3, 1, 2), name="output")


@EVERY
def test_neutral_parameters_change_nothing(filter_: Filter, rng: np.random.Generator) -> None:
    image = random_image(9, 13, rng).clip(0.001, 1.0)
    assert_near(run([Edit(filter_.name, filter_.neutral)], image), image, 2e-6)


@pytest.mark.parametrize(
    "name", ["exposure", "white_balance", "saturation", "tone", "contrast", "black_white", "color"]
)
def test_black_stays_exactly_black(name: str, rng: np.random.Generator) -> None:
    edit = random_edit(ALL_FILTERS[name], True, rng)
    assert not run([edit], np.zeros((3, 5, 7), np.float32)).any()


@pytest.mark.parametrize("name", ["saturation", "tone", "color"])
def test_below_black_and_over_white(name: str, rng: np.random.Generator) -> None:
    image = random_image(20, 30, rng) * 3.0 - 1.0  # a matrix between primaries, or a level, can lead there
    edit = random_edit(ALL_FILTERS[name], False, rng)
    expected = Recipe((edit,)).apply(image.astype(np.float64))
    assert (image < 0.0).any()
    assert_near(run([edit], image), expected, 1e-5)


def test_gamma_far_out() -> None:
    image = np.array([0.0, 1e-3, 0.5, 1.0, 15.9, 1e30], np.float32).reshape(1, 1, -1).repeat(3, 0)
    for exponent in (0.01, 1 / 3, 3.0, 12.0, 100.0):
        with np.errstate(over="ignore"):
            expected = image.clip(0.001, None).astype(np.float64) ** exponent
            finite = expected.astype(np.float32)
        sane = (finite > 1e-30) & (finite < 1e30)
        actual = run([Edit("gamma", (exponent,))], image)
        np.testing.assert_allclose(actual[sane], expected[sane], rtol=2e-5 * max(1.0, exponent / 12))
        assert (actual[finite == np.inf] == np.inf).all()
        assert (actual[finite < 1e-30] < 1e-29).all()


# -- programs ----------------------------------------------------------------------------------------------------------


@given(names=st.lists(st.sampled_from(list(ALL_FILTERS)), max_size=7), masks=st.booleans(), seed=st.integers(0, 1000))
def test_programs_do_what_recipes_do(names: list[str], masks: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = random_image(int(rng.integers(1, 50)), int(rng.integers(1, 50)), rng)
    edits = [random_edit(ALL_FILTERS[name], masks and rng.random() < 0.5, rng) for name in names]
    assert_near(run(edits, image), Recipe(tuple(edits)).apply(image), 1e-4)


def test_masks_know_their_place_in_a_large_photo(rng: np.random.Generator) -> None:
    height, width = 3000, 5001
    start = 2500 * width + 4900  # a run over the end of a row
    edit = random_edit(ALL_FILTERS["exposure"], True, rng)
    rows = random_image(2, width, rng)
    planes = rows.reshape(3, -1)[:, 4900 : 4900 + 300].copy()
    program = compile_edits([edit])
    r, g, b = planes
    run_program(*program, r, g, b, np.empty((SCRATCH, 300), np.float32), start, height, width)
    whole = np.zeros((1, 3, height, width), np.float32)
    whole[0, :, 2500:2502] = rows
    assert edit.mask is not None
    mask = local_mask(whole, np.array([edit.mask], np.float32))[0, 0, 2500:2502].reshape(-1)[4900:5200]
    before = rows.reshape(3, -1)[:, 4900:5200]
    after = before * np.float32(2.0 ** edit.parameters[0])
    assert_near(planes, (1 - mask) * before + mask * after, 1e-5)


# -- the game's transition ---------------------------------------------------------------------------------------------

GAMES: dict[str, dict[str, Any]] = {
    "plain": {},
    "masks": {"masks": True},
    "stop": {"stop_action": True, "overexposure_weight": 3.0},
    "no limit": {"image_limit": None},
    "all filters": {"filters": filters_by_name(reversed(ALL_FILTERS)), "masks": True, "stop_action": True},
}


@pytest.mark.parametrize("rules", GAMES.values(), ids=GAMES.keys())
@given(count=st.integers(1, 20), size=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_transitions_are_the_same_with_and_without_gradients(
    rules: dict[str, Any], count: int, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    game = RetouchGame(**rules)
    image = torch.from_numpy(np.stack([random_image(size, size + 3, rng) for _ in range(count)]))
    used = torch.from_numpy(rng.integers(0, 2, (count, len(game.filters)))).float()
    state = GameState(image, used, torch.from_numpy(rng.integers(0, 5, count)))
    index = torch.from_numpy(rng.integers(0, game.num_choices, count))
    parameters = torch.from_numpy(rng.uniform(-1.0, 1.0, (count, game.num_parameters)).astype(np.float32))
    copies = [part.clone() for part in (*state, index, parameters)]

    compiled_step = game.transition(state, index, parameters)
    slow = game.transition(state, index, parameters.clone().requires_grad_())
    assert slow.state.image.requires_grad
    assert not compiled_step.state.image.requires_grad
    assert all(torch.equal(a, b) for a, b in zip((*state, index, parameters), copies, strict=True))
    torch.testing.assert_close(compiled_step.state.image, slow.state.image.detach(), rtol=1e-5, atol=1e-5)
    assert torch.equal(compiled_step.state.filters_used, slow.state.filters_used)
    assert torch.equal(compiled_step.state.step, slow.state.step)
    assert torch.equal(compiled_step.terminated, slow.terminated)
    for name, penalty in slow.penalties.items():
        torch.testing.assert_close(compiled_step.penalties[name], penalty.detach(), rtol=1e-4, atol=1e-5)

    with torch.no_grad():
        again = game.transition(state, index, parameters.clone().requires_grad_())
    assert torch.equal(again.state.image, compiled_step.state.image)


def test_pictures_of_any_memory_layout(rng: np.random.Generator) -> None:
    game = RetouchGame()
    image = torch.from_numpy(np.stack([random_image(6, 6, rng) for _ in range(4)]))
    index, parameters = torch.arange(4), torch.from_numpy(rng.uniform(-1, 1, (4, 39)).astype(np.float32))
    expected = game.transition(game.start(image), index, parameters).state.image
    for odd in (image.to(memory_format=torch.channels_last), image.flip(3).flip(3), image.double().float()):
        assert torch.equal(game.transition(game.start(odd), index, parameters).state.image, expected)


class Invert(Filter):
    """One that no kernel knows."""

    name = "exposure"
    parameter_names = ("amount",)
    unit = "strength"
    low, high = 0.0, 1.0
    neutral = (0.0,)
    num_actions = num_features = 1

    def apply(self, image: Any, parameters: Any) -> Any:
        return 1.0 - image


def test_filters_without_a_kernel_play_too() -> None:
    game = RetouchGame([Invert()])
    image = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    after = game.transition(game.start(image), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 1)).state.image
    assert torch.equal(after, 1.0 - image)


def test_interleaving(rng: np.random.Generator) -> None:
    planes = rng.random((3, 3, 5, 7)).astype(np.float32)
    pixels = np.empty((3, 5, 7, 3), np.float32)
    interleave(planes, pixels)
    np.testing.assert_array_equal(pixels, planes.transpose(0, 2, 3, 1))


# -- where it runs -----------------------------------------------------------------------------------------------------


def test_codes_are_those_of_the_filters() -> None:
    assert list(CODES) == list(ALL_FILTERS)
    assert MASK_RANGE == 5.0


def test_functions_compile_without_a_place_for_their_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [])

    def double(x: int) -> int:
        return 2 * x

    assert compiled(double)(21) == 42


def test_what_only_compiling_needs_is_not_loaded_with_machine_code(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from numba import njit; from exposure_gym import kernels as k\n"
        "r, g, b = np.full((3, 8), 0.5, np.float32); k._gains(np.array([2, 3, 4], np.float32), r, g, b)\n"
        "print(r[0], g[0], b[0], 'numba.np.linalg' in sys.modules)\n"
        "print(njit(lambda x: np.dot(x, x))(np.ones(3)), 'numba.np.linalg' in sys.modules)"
    )
    for compiling in (True, False):  # and then something is compiled all the same
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == [f"1.0 1.5 2.0 {compiling}", "3.0 True"]


def test_no_torch_is_needed() -> None:
    code = (
        "import sys, exposure_gym.kernels as k; from exposure_gym.recipe import Edit;"
        "k.compile_edits([Edit('exposure', (1.0,))]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
