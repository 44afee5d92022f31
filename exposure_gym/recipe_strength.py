"""A recipe at another strength: nothing of it, half of it, all of it, half as much again.

What does "nothing" mean? An edit of linear light makes a picture for a screen out of it, so the photograph without the
edit is not the light as it is, which looks black, but the light with the screen's curve: what every viewer shows of a
file. That curve is the neutral point, and a recipe's strength is how far it is from there. The recipe that *is* the
curve therefore stays what it is at any strength, and one of strength 0 gives the photograph back.

Each filter goes from there in the terms in which an agent sets it, where equal steps look alike: stops, the logarithms
of gammas and gains, strengths, the slopes of curves. The sRGB curve is made of filters too: above its linear toe it is
``gamma`` 1/2.4 and a ``level`` (IEC 61966-2-1: ``1.055 x^(1/2.4) - 0.055``), so that every strength is a recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exposure_gym.color import luminance
from exposure_gym.filters import CURVE_STEPS
from exposure_gym.recipe import Edit, Recipe

MAX_STRENGTH = 1.5

_CURVE_GAMMA, _CURVE_BLACK = 1.0 / 2.4, 0.055 / 1.055


def with_strength(recipe: Recipe, strength: float, darkened: float = 0.0) -> Recipe:
    """The same edit, weaker or stronger.

    Exposure, contrast, saturation, black-and-white and levels go linearly in their parameters, gamma and white balance
    in the logarithms of theirs (white keeps its luminance), curves in their values. A vignette changes its depth, and
    masks keep their place. Beyond strength 1 a parameter stops where its filter's range ends, or where the recipe has
    it already if that lies outside.

    In a recipe for linear light the curve's gamma counts as the neutral value of the strongest brightening ``gamma``,
    or of one that is added at the end.

    :param recipe: the edit; strength 1 gives it back.
    :param strength: 0 to 1.5.
    :param darkened: stops by which the photograph was darkened when it was read (``"raw-like"``), which count as part
        of the edit: at strength 0 they are all given back.
    :raises ValueError: the strength is out of range.
    """
    if not 0.0 <= strength <= MAX_STRENGTH:
        raise ValueError(f"strength {strength:g} must lie between 0 and {MAX_STRENGTH:g}")
    if strength == 1.0:
        return recipe
    gammas = [i for i, edit in enumerate(recipe.edits) if edit.filter == "gamma" and edit.mask is None]
    brightening = [i for i in gammas if recipe.edits[i].parameters[0] < 1.0 and recipe.input_domain == "linear"]
    strongest = min(brightening, key=lambda i: recipe.edits[i].parameters[0], default=None)
    edits = [
        replace(edit, parameters=_scaled(edit, strength, _CURVE_GAMMA if i == strongest else 1.0))
        for i, edit in enumerate(recipe.edits)
    ]
    if recipe.input_domain == "display":
        return replace(recipe, edits=tuple(edits))
    rest = 1.0 - strength
    if strongest is None:
        edits.append(Edit("gamma", (_CURVE_GAMMA**rest,)))
    if rest > 0.0:
        edits.append(Edit("level", (rest * _CURVE_BLACK, 1.0)))
    if darkened:
        edits.insert(0, Edit("exposure", (rest * darkened,)))
    return replace(recipe, edits=tuple(edits))


def _scaled(edit: Edit, strength: float, neutral_gamma: float) -> tuple[float, ...]:
    """An edit's parameters on the way from its filter's neutral ones to where they are, or beyond."""
    given, neutral = np.array(edit.parameters), np.array(edit.function.neutral)
    if edit.filter == "gamma":
        scaled = neutral_gamma ** (1.0 - strength) * given**strength
    elif edit.filter == "white_balance":
        scaled = given**strength
        scaled *= _light(given) ** strength / _light(scaled)
    elif edit.filter in ("tone", "color"):
        curves = given.reshape(-1, CURVE_STEPS)
        given = (curves * (CURVE_STEPS / curves.sum(axis=1, keepdims=True))).ravel()
        scaled = 1.0 + strength * (given - 1.0)
    elif edit.filter == "vignette":
        scaled = np.append(given[:-1], neutral[-1] + strength * (given[-1] - neutral[-1]))
    else:
        scaled = neutral + strength * (given - neutral)
    if strength > 1.0:
        scaled = scaled.clip(np.minimum(given, edit.function.low), np.maximum(given, edit.function.high))
    if edit.filter == "level":
        scaled[0] = min(scaled)
    return tuple(scaled.tolist())


def _light(gains: Sequence[float] | np.ndarray) -> float:
    return float(luminance(np.array(gains)[None, :, None, None]).item())
