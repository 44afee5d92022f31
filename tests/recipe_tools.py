"""What the tests of recipes share: any edits and recipes, one with every filter, a small photograph."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from exposure_gym.filters import ALL_FILTERS
from exposure_gym.recipe import Edit, Recipe

ACTION = st.floats(-1, 1, width=32)


@st.composite
def edits(draw: st.DrawFn, masks: bool = True, names: tuple[str, ...] = tuple(ALL_FILTERS)) -> Edit:
    name = draw(st.sampled_from(names))
    count = ALL_FILTERS[name].num_actions
    action = draw(st.lists(ACTION, min_size=count, max_size=count))
    mask = draw(st.none() | st.lists(ACTION, min_size=6, max_size=6)) if masks else None
    return Edit.from_action(name, action, mask)


def recipes(**options: Any) -> st.SearchStrategy[Recipe]:
    return st.builds(
        Recipe,
        st.lists(edits(**options), max_size=4).map(tuple),
        st.sampled_from(["srgb", "prophoto", "rec2020"]),
        st.text(max_size=8),
        st.text(max_size=8),
    )


def every_filter(masked: bool) -> Recipe:
    rng = np.random.default_rng(3)
    return Recipe(
        tuple(
            Edit.from_action(
                name,
                rng.uniform(-0.6, 0.6, filter_.num_actions),
                rng.uniform(-1, 1, 6) if masked else None,
            )
            for name, filter_ in ALL_FILTERS.items()
        )
    )


def photo(height: int = 23, width: int = 31, dtype: Any = np.float64) -> NDArray[Any]:
    pixels = np.random.default_rng(5).random((height, width, 3)) ** 2 * 1.3
    pixels[0, :4] = np.array([[0, 0, 0], [1, 1, 1], [0.2, 0.2, 0.2], [1, 0, 0]])
    return pixels.astype(dtype)
