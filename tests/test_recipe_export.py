"""Recipes for other programs: NumPy code and `.cube` tables give the same picture, or say how far they are from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from recipe_tools import every_filter, photo, recipes
from scipy.interpolate import RegularGridInterpolator  # type: ignore[import-untyped]

from exposure_gym.color import srgb_decode
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.recipe_export import check_colours


def run(code: str) -> Any:
    names: dict[str, Any] = {}
    exec(code, names)
    return names["edit"]


@settings(max_examples=40, deadline=None)
@given(recipes())
def test_python_gives_the_same_picture(recipe: Recipe) -> None:
    pixels = photo()
    edit = run(recipe.to_python())
    np.testing.assert_allclose(edit(pixels), recipe.apply_photo(pixels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_python_of_every_filter(masked: bool) -> None:
    recipe, pixels = every_filter(masked), photo(dtype=np.float32)
    for edit in recipe:
        single = Recipe((edit,))
        result = run(single.to_python())(pixels)
        np.testing.assert_allclose(result, single.apply_photo(pixels), atol=1e-5)
    assert len(Recipe((Edit("exposure", (1.0,)),)).to_python().splitlines()) < 10


def read_cube(path: Path) -> tuple[NDArray[Any], dict[str, str]]:
    rows, head = [], {}
    for line in path.read_text(encoding="ascii").splitlines():
        assert len(line) <= 250
        if line[0].isdigit() or line[0] == "-":
            rows.append([float(value) for value in line.split()])
        elif line[0] != "#":
            head[line.split()[0]] = line.partition(" ")[2]
    size = int(head["LUT_3D_SIZE"])
    return np.array(rows).reshape(size, size, size, 3), head


def code_errors(table: NDArray[Any], recipe: Recipe, colours: NDArray[Any]) -> NDArray[Any]:
    axis = np.linspace(0, 1, len(table))
    found = RegularGridInterpolator((axis, axis, axis), table)(colours[:, ::-1])
    exact = recipe.apply_photo(srgb_decode(colours)[None])[0]
    errors: NDArray[Any] = 255 * abs(found.clip(0, 1) - exact.clip(0, 1))
    return errors


def test_cube_states_its_error(tmp_path: Path) -> None:
    recipe = Recipe(every_filter(masked=False).edits[:8])
    path = tmp_path / "a.cube"
    error = recipe.to_cube(path, size=17, title="My look")
    table, head = read_cube(path)
    assert head["TITLE"] == '"My look"'
    measured = code_errors(table, recipe, check_colours(17))
    assert error.mean == pytest.approx(measured.mean(), rel=1e-6)
    assert error.max == pytest.approx(measured.max(), rel=1e-6)
    assert f"mean {error.mean:.4f}, max {error.max:.3f}" in path.read_text(encoding="ascii")
    others = np.random.default_rng(77).random((20_000, 3))  # colours it was not measured on
    assert code_errors(table, recipe, others).mean() < 1.3 * error.mean


def test_cube_is_exact_at_its_nodes_red_fastest(tmp_path: Path) -> None:
    recipe = Recipe((Edit("exposure", (0.5,)), Edit("white_balance", (1.2, 1.0, 0.7))))
    recipe.to_cube(tmp_path / "a.cube", size=5)
    table, _ = read_cube(tmp_path / "a.cube")
    colour = srgb_decode(np.array([0.25, 0.5, 1.0]))
    np.testing.assert_allclose(table[4, 2, 1], colour * 2**0.5 * np.array([1.2, 1.0, 0.7]), atol=1e-6)


def test_a_finer_cube_is_closer(tmp_path: Path) -> None:
    recipe = Recipe((Edit("exposure", (0.5,)), Edit("gamma", (1 / 2.4,)), Edit("contrast", (0.3,))))
    coarse, fine = (recipe.to_cube(tmp_path / "a.cube", size=size) for size in (9, 33))
    assert fine.mean < 0.5 * coarse.mean


@pytest.mark.parametrize(
    ("edit", "options", "message"),
    [
        (Edit("exposure", (1.0,), (0.0,) * 6), {}, "remove a mask"),
        (Edit("vignette", (1.0,) * 5), {}, "remove a vignette"),
        (Edit("exposure", (1.0,)), {"size": 1}, "2 to 256"),
        (Edit("exposure", (1.0,)), {"title": "a\nb"}, "one line"),
    ],
)
def test_cubes_that_cannot_be(edit: Edit, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe((edit,)).to_cube(tmp_path / "a.cube", **options)
    assert not list(tmp_path.iterdir())


def test_a_recipe_of_finished_photographs_says_so_in_every_form(tmp_path: Path) -> None:
    linear = Recipe((Edit("exposure", (0.5,)), Edit("white_balance", (1.2, 1.0, 0.7))), source="a.jpg")
    display = replace(linear, input_domain="display")
    assert '"input_domain": "display"' in display.to_json()
    assert "input_domain" not in linear.to_json()
    assert Recipe.from_json(display.to_json()) == display
    assert Recipe.from_json(linear.to_json()) == linear
    assert "display values, sRGB primaries, in" in display.to_python()
    assert "linear light, sRGB primaries, in" in linear.to_python()
    error = display.to_cube(tmp_path / "a.cube", size=5)
    table, _ = read_cube(tmp_path / "a.cube")
    colour = np.array([0.25, 0.5, 1.0])  # the photograph's own values, with no curve between
    np.testing.assert_allclose(table[4, 2, 1], colour * 2**0.5 * np.array([1.2, 1.0, 0.7]), atol=1e-6)
    assert error.mean < 1e-3 + linear.to_cube(tmp_path / "a.cube", size=5).mean
    for wrong in ("raw", 3):
        with pytest.raises(ValueError, match="input_domain must be"):
            Recipe.from_json(display.to_json().replace('"display"', f'"{wrong}"' if wrong == "raw" else "3"))
