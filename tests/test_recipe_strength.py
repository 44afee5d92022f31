"""Strength 0 gives the photograph back, 1 the edit, and what lies between is between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exposure_gym.color import srgb_encode
from exposure_gym.filters import ALL_FILTERS
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.recipe_strength import with_strength

LIGHT = np.random.default_rng(3).random((16, 16, 3), dtype=np.float32) ** 2
GAMMA = Edit("gamma", (0.4,))

actions = st.lists(st.floats(-1.0, 1.0), min_size=24, max_size=24)


@st.composite
def edits(draw: st.DrawFn) -> Edit:
    name = draw(st.sampled_from(list(ALL_FILTERS)))
    mask = draw(st.none() | st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6))
    return Edit.from_action(name, draw(actions)[: ALL_FILTERS[name].num_actions], mask)


recipes = st.lists(edits(), max_size=5).map(lambda made: Recipe(tuple(made)))


@given(recipes, st.sampled_from(["linear", "display"]))
def test_nothing_of_an_edit_is_the_photograph_as_viewers_show_it(recipe: Recipe, domain: str) -> None:
    nothing = with_strength(Recipe(recipe.edits, input_domain=domain), 0.0)  # type: ignore[arg-type]
    untouched = srgb_encode(LIGHT) if domain == "linear" else LIGHT
    # The toe of the sRGB curve is a straight line, of which two codes of 255 are missing at its darkest.
    np.testing.assert_allclose(nothing.apply_photo(LIGHT).clip(0, 1), untouched, atol=2 / 255)


@given(recipes)
def test_all_of_an_edit_is_the_edit(recipe: Recipe) -> None:
    assert with_strength(recipe, 1.0) is recipe
    near = with_strength(recipe, 1.0 - 1e-6)
    np.testing.assert_allclose(
        near.apply_photo(LIGHT).clip(0, 1), recipe.apply_photo(LIGHT).clip(0, 1), atol=0.005 * (1 + len(recipe))
    )


@given(recipes, st.floats(0.0, 1.5))
def test_every_strength_is_a_recipe(recipe: Recipe, strength: float) -> None:
    scaled = with_strength(recipe, strength)  # a parameter that no recipe takes would be an error
    assert Recipe.from_json(scaled.to_json()) == scaled
    assert np.isfinite(scaled.apply_photo(LIGHT)).all()


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 1.5])
def test_the_curve_of_the_screen_has_no_strength(strength: float) -> None:
    scaled = with_strength(Recipe((Edit("gamma", (1 / 2.4,)),)), strength)
    assert scaled.edits[0].parameters == pytest.approx((1 / 2.4,))
    assert [edit.filter for edit in scaled.edits[1:]] == (["level"] if strength < 1 else [])


@given(actions, st.floats(0.0, 1.0))
def test_between_nothing_and_all_a_step_of_the_action_is_a_step_of_strength(
    action: list[float], strength: float
) -> None:
    for name in ("exposure", "contrast", "saturation", "black_white", "white_balance"):
        filter_ = ALL_FILTERS[name]
        block = np.array(action[: filter_.num_actions])
        between = filter_.neutral_action + strength * (block - filter_.neutral_action)
        recipe = Recipe((Edit.from_action(name, block),), input_domain="display")
        np.testing.assert_allclose(
            with_strength(recipe, strength).edits[0].parameters, filter_.physical(between[None])[0], atol=2e-5
        )
    curve = Recipe((Edit.from_action("tone", action[:8]),), input_domain="display")
    mixed = (1 - strength) * LIGHT + strength * curve.apply_photo(LIGHT)
    np.testing.assert_allclose(with_strength(curve, strength).apply_photo(LIGHT), mixed, atol=1e-5)


def test_beyond_all_a_parameter_stops_at_the_end_of_its_range() -> None:
    recipe = Recipe((Edit("exposure", (3.0,)), Edit("exposure", (1.0,)), Edit("exposure", (5.0,)), GAMMA))
    strong = with_strength(recipe, 1.5)
    assert [edit.parameters[0] for edit in strong.edits[:3]] == [3.5, 1.5, 5.0]  # the last was outside already


def test_what_darkened_the_photograph_is_given_back() -> None:
    dark = LIGHT / 4
    recipe = Recipe((Edit("exposure", (2.0,)), GAMMA))
    nothing = with_strength(recipe, 0.0, darkened=2.0).apply_photo(dark)
    np.testing.assert_allclose(nothing, srgb_encode(LIGHT), atol=2 / 255)
    assert with_strength(recipe, 1.0, darkened=2.0) is recipe


def test_masks_and_shapes_stay_where_they_are() -> None:
    mask = (1.0, 2.0, 3.0, 0.5, 4.0, 5.0)
    vignette = Edit("vignette", (1.0, 2.0, 3.0, 4.0, 3.0))
    recipe = Recipe((Edit("exposure", (2.0,), mask), vignette), input_domain="display")
    half = with_strength(recipe, 0.5)
    assert half.edits == (Edit("exposure", (1.0,), mask), Edit("vignette", (1.0, 2.0, 3.0, 4.0, -1.0)))


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan")])
def test_other_strengths_are_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and"):
        with_strength(Recipe(), strength)
