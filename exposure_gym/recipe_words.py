"""Edits in a photographer's words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from exposure_gym.filters import CURVE_STEPS, MASK_RANGE

if TYPE_CHECKING:
    from exposure_gym.recipe import Edit

VISIBLE = 0.5 / 255.0
"""A curve that moves no part of the tonal range by half an 8-bit code is not worth a word."""

_RANGES = {"shadows": (1, 2), "mid-tones": (3, 4, 5), "highlights": (6, 7)}
"""Inner knots (eighths of the tonal range) that a part of it is judged by."""


def describe(edit: Edit) -> str:
    """One edit as a person would say it, e.g. ``"white balance warmer (red +8 %, blue −12 %)"``."""
    name = label(edit.filter)
    flat = edit.filter in ("tone", "color") and _is_flat(edit.parameters)
    # 1e-4: the gains of a white balance that does nothing add up to 1 - 1e-5.
    pairs = zip(edit.parameters, edit.function.neutral, strict=True)
    neutral = all(math.isclose(value, still, abs_tol=1e-4) for value, still in pairs)
    if flat or neutral or (edit.filter == "vignette" and edit.parameters[-1] == -MASK_RANGE):
        return f"{name}: no change"
    text = f"{name} {_value(edit)}"
    return text if edit.mask is None else f"{text}, {_place(edit.mask)}"


_LABELS = {
    "exposure": "exposure",
    "gamma": "gamma",
    "white_balance": "white balance",
    "saturation": "saturation",
    "tone": "tone curve",
    "contrast": "contrast",
    "black_white": "black and white",
    "color": "colour curves",
    "level": "levels",
    "vignette": "vignette",
}


def label(filter: str) -> str:
    """A filter's name as a person writes it: ``"white_balance"`` gives ``"white balance"``."""
    return _LABELS[filter]


def _value(edit: Edit) -> str:
    values = edit.parameters
    first = values[0]
    if edit.filter == "exposure":
        return f"{_signed(first, 2)} EV"
    if edit.filter == "gamma":
        return f"1/{1 / first:.2f}" if first < 1 else f"{first:.2f}"
    if edit.filter == "white_balance":
        return _white_balance(*values)
    if edit.filter in ("saturation", "contrast"):
        return _percent(first)
    if edit.filter == "black_white":
        return f"{100 * first:.0f} %".replace("-", "−")
    if edit.filter == "tone":
        return f"({_tone(values)})"
    if edit.filter == "color":
        return f"({_color(values)})"
    if edit.filter == "level":
        return f"(black {first:.2f}, white {values[1]:.2f})".replace("-", "−")
    return _vignette(values)


def _signed(value: float, digits: int) -> str:
    """With a sign and a true minus; zeros at the end go, but one digit stays: +1.3, −0.25, +1.0."""
    text = f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals[0]}{decimals[1:].rstrip('0')}"


def _percent(value: float) -> str:
    return f"{round(100 * value):+d} %".replace("-", "−")


def _white_balance(red: float, green: float, blue: float) -> str:
    """Temperature is red against blue, tint green against both; a far lesser one goes unsaid."""
    temperature = math.log(red / blue)
    tint = math.log(green / math.sqrt(red * blue))
    shifts = [
        (abs(temperature), "warmer" if temperature > 0 else "cooler"),
        (abs(tint), "greener" if tint > 0 else "more magenta"),
    ]
    largest = max(shifts)[0]
    said = [word for size, word in sorted(shifts, reverse=True) if size > max(largest / 3, 0.005)]
    lead = " and ".join(said) or ("brighter" if red + green + blue > 3 else "darker")
    gains = [
        f"{name} {_percent(gain - 1)}"
        for name, gain in (("red", red), ("green", green), ("blue", blue))
        if abs(gain - 1) >= 0.005
    ]
    return f"{lead} ({', '.join(gains) or 'under 1 %'})"


def _is_flat(slopes: Sequence[float]) -> bool:
    """Whether every curve is a straight line."""
    return all(len(set(slopes[i : i + CURVE_STEPS])) == 1 for i in range(0, len(slopes), CURVE_STEPS))


def knots(slopes: Sequence[float]) -> list[float]:
    """Heights of a tone or colour curve at 0, 1/8, ..., 1: eight slopes in, nine heights out."""
    heights = [0.0]
    for slope in slopes:
        heights.append(heights[-1] + slope / math.fsum(slopes))
    return [*heights[:-1], 1.0]


def _shifts(slopes: Sequence[float]) -> dict[str, float]:
    """How far a curve lies above the straight line in the shadows, mid-tones and highlights."""
    heights = knots(slopes)
    return {
        name: math.fsum(heights[i] - i / CURVE_STEPS for i in where) / len(where) for name, where in _RANGES.items()
    }


def _tone(slopes: Sequence[float]) -> str:
    shifts = _shifts(slopes)
    said = [
        f"{verb} {_and(parts)}"
        for verb, sign in (("lifts", 1), ("darkens", -1))
        if (parts := [name for name, shift in shifts.items() if sign * shift >= VISIBLE])
    ]
    return ", ".join(said) or "hardly any change"


def _color(slopes: Sequence[float]) -> str:
    said = []
    for channel, start in (("red", 0), ("green", CURVE_STEPS), ("blue", 2 * CURVE_STEPS)):
        shifts = _shifts(slopes[start : start + CURVE_STEPS])
        for word, sign in (("more", 1), ("less", -1)):
            parts = [name for name, shift in shifts.items() if sign * shift >= VISIBLE]
            if parts:
                said.append(f"{word} {channel}" + (f" in {_and(parts)}" if len(parts) < len(_RANGES) else ""))
    return "; ".join(said) or "hardly any change"


def _vignette(values: Sequence[float]) -> str:
    """How much the middle and the corners of a 3:2 picture darken."""
    vertical, horizontal, offset, sharpness, strength = values

    def change(y: float, x: float) -> float:
        radius = (vertical * y) ** 2 + (horizontal * x) ** 2 + offset - 5.0
        return -(0.5 + 0.5 * math.tanh(0.1 * radius * sharpness)) * (0.1 * strength + 0.5)

    return f"(corners {_percent(change(0.5, 0.75))}, centre {_percent(change(0.0, 0.0))})"


def _place(mask: Sequence[float]) -> str:
    """Where a mask lets an edit act most."""
    vertical, horizontal, light, _, sharpness, _ = mask
    # Below one part in a hundred of the range a direction cannot be seen.
    parts = [
        high if value * sharpness > 0 else low
        for value, low, high in (
            (vertical, "at the top", "at the bottom"),
            (horizontal, "on the left", "on the right"),
            (light, "in the shadows", "in the highlights"),
        )
        if abs(value * sharpness) >= 0.25
    ]
    return f"most {_and(parts)}" if parts else "through a mask"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
