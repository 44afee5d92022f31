"""The filters as a person handles them: sliders with names and units, curves, and an edit as a small figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exposure_gym.filters import ALL_FILTERS, CURVE_STEPS, Filter, WhiteBalance
from exposure_gym.recipe import Edit, Recipe, short
from exposure_gym.recipe_words import label

CURVES = frozenset({"exposure", "gamma", "tone", "contrast", "color"})
"""Filters that a curve shows best; the others are shown on a swatch of colours."""

POINTS = 33
"""Of a curve."""

HINTS = {
    "exposure": "Brighter or darker, in stops: one more doubles the light.",
    "gamma": "The curve from light to display: below 1 opens the shadows.",
    "white_balance": "The colour of the light: warmer or cooler, greener or more magenta.",
    "saturation": "More colour, most of all in the mid-tones.",
    "tone": "A curve in eight pieces, from shadows to highlights: steeper is more contrast there.",
    "contrast": "Darker darks and brighter brights; below 0 the opposite.",
    "black_white": "Fades the colours to grey.",
    "color": "A curve for each of red, green and blue: tints shadows, mid-tones and highlights apart.",
}

_SLIDERS: dict[str, dict[str, Any]] = {
    "exposure": {"unit": "EV", "step": 0.05, "format": "ev"},
    "gamma": {"unit": "", "step": 0.01, "format": "power", "scale": "log"},
    "saturation": {"unit": "%", "step": 0.01, "format": "percent"},
    "contrast": {"unit": "%", "step": 0.01, "format": "percent"},
    "black_white": {"unit": "%", "step": 0.01, "format": "percent"},
}

_STOPS = WhiteBalance.log_range / math.log(2.0)
"""The most by which a white balance can make red brighter or darker than blue, in stops."""


def panel(filters: Sequence[Filter]) -> list[dict[str, Any]]:
    """All filters with their parameters, as JSON, in the order given; the first nine have the keys 1 to 9."""
    return [
        {
            "name": filter_.name,
            "label": label(filter_.name).capitalize(),
            "key": str(i) if i < 10 else "",
            "hint": HINTS.get(filter_.name, ""),
            "kind": {"tone": "curve", "color": "curves"}.get(filter_.name, "sliders"),
            "uses": "curve" if filter_.name in CURVES else "swatch",
            "parameters": _parameters(filter_),
        }
        for i, filter_ in enumerate(filters, 1)
    ]


def _parameters(filter_: Filter) -> list[dict[str, Any]]:
    if filter_.name == "white_balance":
        common = {"unit": "EV", "low": -_STOPS, "high": _STOPS, "neutral": 0.0, "step": 0.01, "format": "ev"}
        return [{"name": name, "label": name.capitalize(), **common} for name in ("temperature", "tint")]
    if filter_.name in ("tone", "color"):
        names = [f"s{i}" for i in range(1, CURVE_STEPS + 1)]
        if filter_.name == "color":
            names = [f"{channel}{i}" for channel in "rgb" for i in range(1, CURVE_STEPS + 1)]
        how: dict[str, Any] = {"unit": "", "step": 0.01 if filter_.name == "tone" else 0.002, "format": "slope"}
    else:
        names, how = list(filter_.parameter_names), _SLIDERS.get(filter_.name, {"unit": filter_.unit, "step": 0.01})
    return [
        {
            "name": name,
            "label": _curve_label(name) if how.get("format") == "slope" else label_of(name),
            "low": filter_.low,
            "high": filter_.high,
            "neutral": neutral,
            **how,
        }
        for name, neutral in zip(names, filter_.neutral, strict=True)
    ]


def label_of(name: str) -> str:
    """A parameter's name as a person reads it."""
    return name.replace("_", " ").capitalize()


def _curve_label(name: str) -> str:
    channel = {"r": "Red, ", "g": "Green, ", "b": "Blue, "}.get(name[0], "")
    return f"{channel}piece {name[1:]} of {CURVE_STEPS}, from the shadows"


# -- edits as the page has them ----------------------------------------------------------------------------------------


def edit_to_page(edit: Edit) -> dict[str, Any]:
    """``{"filter", "parameters"}`` with the numbers of :func:`panel`'s parameters."""
    numbers = list(edit.parameters)
    if edit.filter == "white_balance":
        red, green, blue = numbers
        numbers = [math.log2(red / blue), -math.log2(green / math.sqrt(red * blue))]
    return {"filter": edit.filter, "parameters": numbers}


def edit_from_page(data: Any) -> Edit:
    """The inverse. Of temperature and tint the nearest pair that the filter reaches.

    :raises ValueError: it is no edit; one line.
    """
    if not isinstance(data, dict) or not {"filter", "parameters"} <= set(data):
        raise ValueError('an edit is an object with "filter" and "parameters"')
    name, numbers = data["filter"], data["parameters"]
    if not isinstance(name, str) or name not in ALL_FILTERS:
        raise ValueError(f"unknown filter {short(name)}: choose from {', '.join(ALL_FILTERS)}")
    if not isinstance(numbers, list) or not all(_is_number(number) for number in numbers):
        raise ValueError(f"{name}: parameters must be a list of numbers")
    if name != "white_balance":
        return Edit(name, tuple(float(number) for number in numbers))
    if len(numbers) != 2:
        raise ValueError(f"white_balance takes 2 values (temperature, tint), not {len(numbers)}")
    temperature, tint = (math.log(2.0) * float(number) for number in numbers)
    logs = np.array([-tint - temperature / 2.0, -temperature])  # of green and of blue against red
    return Edit.from_action(name, (logs / WhiteBalance.log_range).clip(-1.0, 1.0))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6


def figure(edit: Edit) -> dict[str, Any]:
    """What an edit does, as the page draws it: its curve on greys, or colours before and after."""
    recipe = Recipe((Edit(edit.filter, edit.parameters),))
    if edit.filter not in CURVES:
        colours = np.full((1, 1, 3), 0.55) if edit.filter == "white_balance" else _hues()
        return {"kind": "swatch", "before": _hex(colours), "after": _hex(recipe.apply_photo(colours))}
    x = np.linspace(0.0, 1.0, POINTS)
    y = recipe.apply_photo(np.repeat(x[None, :, None], 3, 2))[0].clip(0.0, 1.0)
    channels = {"rgb": y[:, 0]} if edit.filter != "color" else {name: y[:, i] for i, name in enumerate("rgb")}
    return {
        "kind": "curve",
        "points": {name: np.stack([x, values], 1).round(5).tolist() for name, values in channels.items()},
    }


def _hues() -> NDArray[np.float64]:
    """Six muted hues, ``(1, 6, 3)``."""
    angles = np.arange(6) * (np.pi / 3)
    return (0.45 + 0.12 * np.cos(angles[:, None] - np.arange(3) * (2 * np.pi / 3)))[None]


def _hex(colours: NDArray[np.float64]) -> list[str]:
    codes = np.rint(255.0 * colours[0].clip(0.0, 1.0)).astype(int).tolist()
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in codes]
