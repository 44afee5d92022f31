"""An edit as a small picture: its curve, or a swatch of colours before and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exposure_gym.recipe import Edit, Recipe
from exposure_gym.viz.drawing import Drawing
from exposure_gym.viz.pictures import to_rgb8
from exposure_gym.viz.style import BLUE, BRIGHT, GREEN, HAIRLINE, PANEL, RED, SURROUND

_CURVE_FILTERS = ("exposure", "gamma", "tone", "contrast", "color", "level")
"""Filters that a curve shows best; the others are shown on a colour swatch."""
_POINTS = 65
"""Of a curve."""


def glyph(edit: Edit, size: int) -> Image.Image:
    """A small picture of an edit, ``size`` pixels square: see :func:`draw_glyph`."""
    drawing = Drawing(size, size)
    draw_glyph(drawing, edit, (0, 0), size)
    return Image.fromarray(drawing.to_rgb8())


def draw_glyph(drawing: Drawing, edit: Edit, place: tuple[int, int], size: int) -> None:
    """Draw an edit's curve, or colours before (above) and after (below), in a square of this size."""
    recipe = Recipe((replace(edit, mask=None),))
    if edit.filter in _CURVE_FILTERS:
        is_slight = edit.filter == "color" and min(edit.parameters) > 0.8 and max(edit.parameters) < 1.2
        _draw_curve(drawing, recipe, place, size, magnify=6.0 if is_slight else 1.0)
    elif edit.filter == "vignette":
        drawing.picture(place, to_rgb8(recipe.apply_photo(np.full((size, size, 3), 0.7))))
    else:
        _draw_swatch(
            drawing, recipe, place, size, np.full((1, 1, 3), 0.55) if edit.filter == "white_balance" else _hues()
        )


def _draw_swatch(
    drawing: Drawing, recipe: Recipe, place: tuple[int, int], size: int, colours: NDArray[np.float64]
) -> None:
    half, width = size // 2, size / colours.shape[1]
    rows = to_rgb8(np.concatenate([colours, recipe.apply_photo(colours)])).tolist()
    for top, height, row in ((0, half, rows[0]), (half + 1, size - half - 1, rows[1])):
        for i, (red, green, blue) in enumerate(row):
            drawing.rectangle((place[0] + i * width, place[1] + top), (width, height), (red, green, blue))


def _hues() -> NDArray[np.float64]:
    """Six muted hues, ``(1, 6, 3)``."""
    angles = np.arange(6) * (2 * np.pi / 6)
    offsets = np.array([0.0, -2.0, 2.0]) * np.pi / 3
    return (0.45 + 0.12 * np.cos(angles[:, None] + offsets))[None]


def _draw_curve(drawing: Drawing, recipe: Recipe, place: tuple[int, int], size: int, magnify: float) -> None:
    """What an edit makes of greys; ``magnify`` exaggerates how far it lies from the diagonal."""
    left, top = place
    drawing.rectangle(place, (size, size), HAIRLINE)
    drawing.rectangle((left + 1, top + 1), (size - 2, size - 2), PANEL)
    for part in (0.25, 0.5, 0.75):
        drawing.rectangle((left + int(part * size), top + 1), (1, size - 2), SURROUND)
        drawing.rectangle((left + 1, top + int(part * size)), (size - 2, 1), SURROUND)
    inset = size / 30  # a curve along the edge stays inside
    scale = size - 2 * inset
    drawing.stroke([(left + inset, top + size - inset), (left + size - inset, top + inset)], HAIRLINE, 1.0)
    x = np.linspace(0.0, 1.0, _POINTS)
    y = recipe.apply_photo(np.repeat(x[None, :, None], 3, 2))[0]
    y = (x[:, None] + magnify * (y - x[:, None])).clip(0.0, 1.0)
    grey = bool(np.ptp(y, axis=1).max() < 1e-6)
    for channel, colour in enumerate((BRIGHT,) if grey else (RED, GREEN, BLUE)):
        points = np.stack([left + inset + scale * x, top + inset + scale * (1.0 - y[:, channel])], 1)
        drawing.stroke([(px, py) for px, py in points.tolist()], colour, size / 20)
