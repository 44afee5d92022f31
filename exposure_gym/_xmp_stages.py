"""What both sidecar writers need: a recipe as stages, and curves as a few points.

A stage treats R, G and B one by one, or is one edit that mixes them. Edits of the first kind, however many in a row,
are one function of a value for each channel, and so one curve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from exposure_gym.color import srgb_decode, srgb_encode
from exposure_gym.recipe import Edit, Recipe

Array = NDArray[np.float64]

_PER_CHANNEL = frozenset({"exposure", "gamma", "white_balance", "tone", "color", "level"})


@dataclass
class Notes:
    """How the edits were written, one line each, while a sidecar is made."""

    written: list[str] = field(default_factory=list)
    approximated: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Curves:
    """Edits that treat the channels one by one, as one function.

    :param edits: of :data:`_PER_CHANNEL`, unmasked.
    :param encode: the sRGB curve comes first: the recipe starts from display values.
    :param decode: the inverse sRGB curve comes last: display values return to linear light.
    """

    edits: tuple[Edit, ...] = ()
    encode: bool = False
    decode: bool = False

    def __bool__(self) -> bool:
        return bool(self.edits) or self.encode or self.decode

    def __call__(self, values: Array) -> Array:
        """Red, green and blue of these grey values: ``(N,)`` in, ``(N, 3)`` out."""
        image = np.tile(srgb_encode(values) if self.encode else values, (3, 1))[:, None]
        edited: Array = Recipe(self.edits).apply(image)[:, 0].T
        return srgb_decode(edited) if self.decode else edited

    def split_gains(self) -> tuple[float, Array, Curves]:
        """The leading gains, as exposure in EV and a gain for each channel, and what comes after them."""
        exposure, balance, count = 0.0, np.ones(3), 0
        if not self.encode:
            for edit in self.edits:
                if edit.filter == "exposure":
                    exposure += edit.parameters[0]
                elif edit.filter == "white_balance":
                    balance = balance * edit.parameters
                else:
                    break
                count += 1
        return exposure, balance, replace(self, edits=self.edits[count:])

    def describe(self) -> str:
        """The edits in a photographer's words."""
        return ", ".join(edit.describe() for edit in self.edits)


def stages(recipe: Recipe, notes: Notes) -> list[Curves | Edit]:
    """A recipe from linear light to linear light: curves, a mixing edit, curves, ..., curves.

    What depends on place is left out, and noted.
    """
    result: list[Curves | Edit] = []
    run: list[Edit] = []
    for edit in recipe:
        if edit.mask is not None or edit.filter == "vignette":
            what = "a mask" if edit.mask is not None else "this vignette"
            notes.left_out.append(f"{edit.describe()}: {what} cannot be expressed")
        elif edit.filter in _PER_CHANNEL:
            run.append(edit)
        elif edit.parameters != edit.function.neutral:
            result += [Curves(tuple(run)), edit]
            run = []
    result.append(Curves(tuple(run), decode=True))
    first = result[0]
    assert isinstance(first, Curves)
    result[0] = replace(first, encode=recipe.input_domain == "display")
    return result


def needed_reach(curve: Callable[[Array], Array], reach: float) -> float:
    """The smallest input, of 1 to ``reach``, from which a rising curve, ``(N,)`` to ``(N, 3)``, is flat; at least 1."""
    inputs = np.geomspace(1.0, max(reach, 1.0), 1025)
    heights = curve(inputs)
    return float(inputs[(heights >= heights[-1] - 1e-6).all(1).argmax()])


def grey_curve(edit: Edit, values: Array) -> Array:
    """What a mixing edit does to greys, ``(N,)`` in and out."""
    image = np.tile(values, (3, 1))[:, None]
    edited: Array = Recipe((edit,)).apply(image)[0, 0]
    return edited


def as_is(values: Array) -> Array:
    """Heights for which an error counts alike everywhere."""
    return values


def pick_points(x: Array, y: Array, most: int, tolerance: float, seen: Callable[[Array], Array] = as_is) -> list[int]:
    """Indices of the samples that a curve should go through, the first and the last among them.

    Greedy: the sample that the curve through those already taken misses by most is taken next.

    :param x, y: ``(N,)`` samples of the curve, x increasing.
    :param most: number of points at most.
    :param tolerance: stop when no sample is missed by more.
    :param seen: turns heights into what errors are measured in.
    """
    taken = [0, len(x) - 1]
    truth = seen(y)
    while len(taken) < most:
        missed = abs(seen(monotone_cubic(x, x[taken], y[taken])) - truth)
        missed[taken] = 0.0
        if missed.max() <= tolerance:
            break
        taken = sorted([*taken, int(missed.argmax())])
    return taken


def monotone_cubic(x: Array, knots: Array, heights: Array) -> Array:
    """Cubic Hermite curve through points, monotone between them (Fritsch and Carlson 1980; darktable's default).

    :param x: ``(N,)`` between the first and the last of ``knots``, ``(K,)``, which increase.
    """
    steps = np.diff(knots)
    slopes = np.diff(heights) / steps
    tangents = np.concatenate([slopes[:1], (slopes[:-1] + slopes[1:]) / 2, slopes[-1:]])
    for i, slope in enumerate(slopes):
        if abs(slope) < 1e-12:
            tangents[i : i + 2] = 0.0
        elif (steepness := float(np.hypot(*tangents[i : i + 2])) / abs(slope)) > 3.0:
            tangents[i : i + 2] *= 3.0 / steepness
    left = np.searchsorted(knots[1:-1], x, side="right")
    t = (x - knots[left]) / steps[left]
    from_tangents = t * (1 - t) * ((1 - t) * tangents[left] - t * tangents[left + 1]) * steps[left]
    result: Array = heights[left] + t * t * (3 - 2 * t) * (heights[left + 1] - heights[left]) + from_tangents
    return result
