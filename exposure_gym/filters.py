"""The white-box filters: pure, differentiable functions of an image and a few physical parameters.

A filter knows two things. ``physical(action)`` turns a normalised action in [-1, 1] into parameters that a
photographer can read (stops, gains, slopes); ``apply(image, parameters)`` changes the picture. Both are pure,
work per pixel, take any batch and any height and width, and run on NumPy arrays or on torch tensors alike (any
device, float32 or float64): there is one definition of what each filter does. Nothing is clipped except where a
formula says so, so that edits can be chained; denominators are safe, so that no gradient is NaN or infinite.

Formulas: Hu et al. 2018, section 3.2 and the published ``filters.py``. Differences from the published code:
a pixel without colour stays grey under ``saturation`` (there it turned red), and the gradient of ``saturation``
flows through its colour term too (there only through the blend).
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from exposure_gym.color import LUMINANCE_WEIGHTS, luminance

CURVE_STEPS = 8
"""Linear pieces of a tone or colour curve (published ``cfg.curve_steps``)."""


def _namespace(array: Any) -> Any:
    """The module (numpy or torch) whose functions work on this array."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def _lerp(low: float, high: float, action: Any) -> Any:
    return low + (action + 1.0) * (0.5 * (high - low))


def _unlerp(low: float, high: float, value: Any) -> Any:
    return (value - low) * (2.0 / (high - low)) - 1.0


def _per_image(parameter: Any) -> Any:
    """(B,) to (B, 1, 1, 1), to meet a (B, 3, H, W) image."""
    return parameter[:, None, None, None]


class Filter(ABC):
    """One retouching operation: ``B`` images, each with its own parameters.

    Class attributes, the same for every instance of a filter:

    * ``name``: identifier used in recipes and in the environment, e.g. ``"exposure"``.
    * ``parameter_names``, ``unit``: of the ``k`` physical parameters.
    * ``low``, ``high``: reachable range of every physical parameter.
    * ``neutral``: the physical parameters with which the filter changes nothing.
    * ``neutral_action``: the action that gives them.
    * ``num_actions``: length of the filter's block in an action vector.
    * ``num_features``: raw network outputs the published head has for it (white balance: 3, the first unused).
    """

    name: ClassVar[str]
    parameter_names: ClassVar[tuple[str, ...]]
    unit: ClassVar[str]
    low: ClassVar[float]
    high: ClassVar[float]
    neutral: ClassVar[tuple[float, ...]]
    neutral_action: ClassVar[float] = 0.0
    num_actions: ClassVar[int]
    num_features: ClassVar[int]

    @property
    def num_parameters(self) -> int:
        """``k``, the number of physical parameters."""
        return len(self.parameter_names)

    def physical(self, action: Any) -> Any:
        """Physical parameters of a normalised action.

        :param action: ``(B, num_actions)`` in [-1, 1].
        :return: ``(B, k)`` in the filter's unit.
        """
        return _lerp(self.low, self.high, action)

    def action(self, parameters: Any) -> Any:
        """The action that gives these physical parameters: the inverse of :meth:`physical`.

        :param parameters: ``(B, k)``, inside the filter's range.
        :return: ``(B, num_actions)`` in [-1, 1].
        """
        return _unlerp(self.low, self.high, parameters)

    def action_from_features(self, features: Any) -> Any:
        """Squash raw network outputs to an action, as the published parameter regressors do: ``tanh``.

        :param features: ``(B, num_features)``, unbounded.
        :return: ``(B, num_actions)`` in [-1, 1].
        """
        return _namespace(features).tanh(features)

    @abstractmethod
    def apply(self, image: Any, parameters: Any) -> Any:
        """Apply the filter.

        :param image: ``(B, 3, H, W)`` RGB, linear light or on its way to display values, at least 0.
        :param parameters: ``(B, k)`` physical parameters.
        :return: ``(B, 3, H, W)``; differentiable in both arguments.
        """

    def __repr__(self) -> str:
        return f"<Filter {self.name}>"


class Exposure(Filter):
    """Brighten or darken by stops: ``x * 2^E``."""

    name = "exposure"
    parameter_names = ("exposure",)
    unit = "EV"
    low, high = -3.5, 3.5
    neutral = (0.0,)
    num_actions = num_features = 1

    def apply(self, image: Any, parameters: Any) -> Any:
        return image * _per_image(2.0 ** parameters[:, 0])


class Gamma(Filter):
    """Power curve ``max(x, 0.001)^g``, g between 1/3 and 3, even in log g."""

    name = "gamma"
    parameter_names = ("gamma",)
    unit = "exponent"
    low, high = 1.0 / 3.0, 3.0
    neutral = (1.0,)
    num_actions = num_features = 1

    def physical(self, action: Any) -> Any:
        return _namespace(action).exp(action * math.log(self.high))

    def action(self, parameters: Any) -> Any:
        return _namespace(parameters).log(parameters) / math.log(self.high)

    def apply(self, image: Any, parameters: Any) -> Any:
        return image.clip(0.001, None) ** _per_image(parameters[:, 0])


class WhiteBalance(Filter):
    """Gains of R, G and B, normalised so that white keeps its luminance.

    Action (a1, a2): gains ``(1, e^(a1/2), e^(a2/2))`` divided by their luminance + 1e-5.
    """

    name = "white_balance"
    parameter_names = ("red", "green", "blue")
    unit = "gain"
    low, high = 0.4298, 2.1266  # blue, when green is strongest and weakest
    neutral = (1.0, 1.0, 1.0)
    num_actions = 2
    num_features = 3

    log_range = 0.5

    def physical(self, action: Any) -> Any:
        xp = _namespace(action)
        green = xp.exp(self.log_range * action[:, 0])
        blue = xp.exp(self.log_range * action[:, 1])
        red_weight, green_weight, blue_weight = LUMINANCE_WEIGHTS
        norm = red_weight + green_weight * green + blue_weight * blue + 1e-5
        return xp.stack([1.0 / norm, green / norm, blue / norm], 1)

    def action(self, parameters: Any) -> Any:
        xp = _namespace(parameters)
        return xp.log(parameters[:, 1:] / parameters[:, 0:1]) / self.log_range

    def action_from_features(self, features: Any) -> Any:
        return _namespace(features).tanh(features[:, 1:])  # the red feature was never used

    def apply(self, image: Any, parameters: Any) -> Any:
        return image * parameters[:, :, None, None]


class _Sigmoid(Filter):
    """A strength between 0 and 1, whose published regressor is a sigmoid: identity at action -1."""

    unit = "strength"
    low, high = 0.0, 1.0
    neutral_action = -1.0

    def action_from_features(self, features: Any) -> Any:
        return _namespace(features).tanh(0.5 * features)


class Saturation(_Sigmoid):
    """Blend towards more saturated colour, most in the mid-tones (published ``SaturationPlusFilter``).

    With HSV of ``min(x, 1)``, S is raised to ``S + (1 - S) (0.5 - |0.5 - V|) 0.8`` at constant hue and value,
    and blended in with strength s. For V > 0 this is, without leaving RGB,
    ``c - s q (V - c) m / (V - m)`` with m the smallest channel and ``q = 0.8 (0.5 - |0.5 - V|)``.
    A pixel whose channels lie within 1e-6 has no hue and is left as it is.
    """

    name = "saturation"
    parameter_names = ("saturation",)
    neutral = (0.0,)
    num_actions = num_features = 1

    def apply(self, image: Any, parameters: Any) -> Any:
        xp = _namespace(image)
        image = image.clip(None, 1.0)
        value = xp.amax(image, 1)[:, None]
        least = xp.amin(image, 1)[:, None]
        chroma = value - least
        coloured = chroma > 1e-6
        boost = 0.8 * (0.5 - abs(0.5 - value))
        # Below black (value <= 0) HSV has no saturation: V takes the place of m in the formula.
        pull = xp.where(value > 0, least, value)
        ratio = xp.where(coloured, pull / xp.where(coloured, chroma, xp.ones_like(chroma)), xp.zeros_like(chroma))
        full = xp.where(value > 0, image, value) - boost * ratio * (value - image)
        full = xp.where(coloured, full, image)
        strength = _per_image(parameters[:, 0])
        return (1.0 - strength) * image + strength * full


def _curve(image: Any, slopes: Any) -> Any:
    """Piecewise-linear monotone curve through (0, 0) and (1, 1): ``sum_i clip(x - i/8, 0, 1/8) t_i * 8 / sum t``.

    :param image: ``(B, 3, H, W)``; :param slopes: ``(B, 1 or 3, 8)``, one curve for all channels or one for each.
    """
    slopes = slopes * (CURVE_STEPS / slopes.sum(2)[:, :, None])
    total = image.clip(0.0, 1.0 / CURVE_STEPS) * slopes[:, :, 0, None, None]
    for i in range(1, CURVE_STEPS):
        total = total + (image - i / CURVE_STEPS).clip(0.0, 1.0 / CURVE_STEPS) * slopes[:, :, i, None, None]
    return total


class Tone(Filter):
    """One tone curve for R, G and B: eight slopes, relative to each other. Clips to [0, 1]."""

    name = "tone"
    parameter_names = tuple(f"slope_{i}" for i in range(CURVE_STEPS))
    unit = "slope"
    low, high = 0.5, 2.0
    neutral = (1.0,) * CURVE_STEPS
    num_actions = num_features = CURVE_STEPS

    def apply(self, image: Any, parameters: Any) -> Any:
        return _curve(image, parameters[:, None, :])


class Contrast(Filter):
    """Blend towards an S-curve on luminance, colour ratios kept; negative values flatten.

    ``(1 - c) x + c x L' / (L + 1e-6)`` with ``L' = (1 - cos(pi L)) / 2`` and L clipped to [0, 1].
    """

    name = "contrast"
    parameter_names = ("contrast",)
    unit = "strength"
    low, high = -1.0, 1.0
    neutral = (0.0,)
    num_actions = num_features = 1

    def apply(self, image: Any, parameters: Any) -> Any:
        light = luminance(image).clip(0.0, 1.0)
        curved = 0.5 - 0.5 * _namespace(image).cos(math.pi * light)
        strength = _per_image(parameters[:, 0])
        return (1.0 - strength) * image + strength * (image / (light + 1e-6) * curved)


class BlackWhite(_Sigmoid):
    """Blend towards luminance: ``(1 - b) x + b L``."""

    name = "black_white"
    parameter_names = ("black_white",)
    neutral = (0.0,)
    num_actions = num_features = 1

    def apply(self, image: Any, parameters: Any) -> Any:
        strength = _per_image(parameters[:, 0])
        return (1.0 - strength) * image + strength * luminance(image)


class Color(Filter):
    """A tone curve for each of R, G and B: three times eight slopes. Clips to [0, 1]."""

    name = "color"
    parameter_names = tuple(f"{channel}_{i}" for channel in ("red", "green", "blue") for i in range(CURVE_STEPS))
    unit = "slope"
    low, high = 0.9, 1.1
    neutral = (1.0,) * (3 * CURVE_STEPS)
    num_actions = num_features = 3 * CURVE_STEPS

    def apply(self, image: Any, parameters: Any) -> Any:
        return _curve(image, parameters.reshape(-1, 3, CURVE_STEPS))


class Level(_Sigmoid):
    """Black and white point: ``clip((x - black) / (white - black + 1e-6), 0, 1)`` (published ``LevelFilter``).

    Spare: not in the default set. ``white`` is 1 + the published upper parameter.
    """

    name = "level"
    parameter_names = ("black", "white")
    unit = "level"
    low, high = 0.0, 2.0
    neutral = (0.0, 1.0)
    num_actions = num_features = 2

    def physical(self, action: Any) -> Any:
        strength = _lerp(0.0, 1.0, action)
        return _namespace(action).stack([strength[:, 0], 1.0 + strength[:, 1]], 1)

    def action(self, parameters: Any) -> Any:
        return _unlerp(0.0, 1.0, _namespace(parameters).stack([parameters[:, 0], parameters[:, 1] - 1.0], 1))

    def apply(self, image: Any, parameters: Any) -> Any:
        black, white = _per_image(parameters[:, 0]), _per_image(parameters[:, 1])
        return ((image - black) / (white - black + 1e-6)).clip(0.0, 1.0)


class Vignette(Filter):
    """Darken away from (or towards) the centre by an elliptic mask (published ``VignetFilter``).

    ``x (1 - mask)`` with ``mask = sigmoid(s / 5 ((a y)^2 + (b x)^2 + o - 5)) (t / 10 + 1/2)``; y and x run from the
    centre, in units of the short edge; parameters ``(a, b, o, s, t)`` in [-5, 5]. Spare: not in the default set.
    """

    name = "vignette"
    parameter_names = ("vertical", "horizontal", "offset", "sharpness", "strength")
    unit = "mask"
    low, high = -5.0, 5.0
    neutral = (0.0, 0.0, 0.0, 0.0, -5.0)
    neutral_action = -1.0
    num_actions = num_features = 5

    def apply(self, image: Any, parameters: Any) -> Any:
        rows, columns = _centred_grid(image)
        vertical, horizontal, offset, sharpness, strength = (_per_image(parameters[:, i]) for i in range(5))
        radius = (rows * vertical) ** 2 + (columns * horizontal) ** 2 + offset - MASK_RANGE
        mask = _sigmoid(radius * sharpness / MASK_RANGE) * (strength / MASK_RANGE * 0.5 + 0.5)
        return image * (1.0 - mask)


MASK_NAMES = ("vertical", "horizontal", "luminance", "offset", "sharpness", "strength")
"""The six parameters of a local mask, each in [-5, 5]."""
MASK_RANGE = 5.0
MASK_MINIMUM_STRENGTH = 0.3
"""A mask never weakens a filter below this (published ``cfg.minimum_strength``)."""
NEUTRAL_MASK = (0.0, 0.0, 0.0, 0.0, 0.0, 5.0)


def _sigmoid(x: Any) -> Any:
    return 0.5 + 0.5 * _namespace(x).tanh(0.5 * x)


def _centred_grid(image: Any) -> tuple[Any, Any]:
    """Row (1, 1, H, 1) and column (1, 1, 1, W) coordinates from the centre in units of the short edge."""
    xp = _namespace(image)
    height, width = image.shape[2:]
    options = {"dtype": image.dtype} | ({"device": image.device} if xp.__name__ == "torch" else {})
    short = min(height, width)
    rows = (xp.arange(height, **options) - height / 2) / short
    columns = (xp.arange(width, **options) - width / 2) / short
    return rows[None, None, :, None], columns[None, None, None, :]


def mask_physical(action: Any) -> Any:
    """Mask parameters ``(B, 6)`` in [-5, 5] of a normalised action ``(B, 6)`` in [-1, 1]."""
    return MASK_RANGE * action


def local_mask(image: Any, parameters: Any) -> Any:
    """How strongly a filter acts on each pixel: a linear gradient plus luminance (published ``Filter.get_mask``).

    ``sigmoid(s / 5 (v y + h x + l (L - 0.5) + 2 o))``, times the strength ``t / 10 + 1/2`` raised to lie between 0.3
    and 1; y and x run from the centre in units of the short edge.

    :param image: ``(B, 3, H, W)``, the filter's input.
    :param parameters: ``(B, 6)`` in [-5, 5], in the order of :data:`MASK_NAMES`.
    :return: ``(B, 1, H, W)`` between 0 and 1.
    """
    rows, columns = _centred_grid(image)
    vertical, horizontal, light, offset, sharpness, strength = (_per_image(parameters[:, i]) for i in range(6))
    slope = rows * vertical + columns * horizontal + light * (luminance(image) - 0.5) + 2.0 * offset
    mask = _sigmoid(slope * sharpness / MASK_RANGE) * (strength / MASK_RANGE * 0.5 + 0.5)
    return mask * (1.0 - MASK_MINIMUM_STRENGTH) + MASK_MINIMUM_STRENGTH


def apply_masked(filter_: Filter, image: Any, parameters: Any, mask_parameters: Any) -> Any:
    """Blend a filter in through its :func:`local_mask`: ``(1 - m) x + m f(x)``; shapes as there and in ``apply``."""
    mask = local_mask(image, mask_parameters)
    return (1.0 - mask) * image + mask * filter_.apply(image, parameters)


ALL_FILTERS: dict[str, Filter] = {
    filter_.name: filter_
    for filter_ in (
        Exposure(),
        Gamma(),
        WhiteBalance(),
        Saturation(),
        Tone(),
        Contrast(),
        BlackWhite(),
        Color(),
        Level(),
        Vignette(),
    )
}
"""Every filter by name: the default eight in their order, then the two spare ones."""


def default_filters() -> list[Filter]:
    """The paper's eight filters, in the order of the action space (39 actions in all)."""
    return list(ALL_FILTERS.values())[:8]


def filters_by_name(names: Iterable[str]) -> list[Filter]:
    """Filters of these names, in the order given.

    :raises ValueError: naming the unknown filter and the known ones.
    """
    filters = []
    for name in names:
        if name not in ALL_FILTERS:
            raise ValueError(f"unknown filter {name!r}: choose from {', '.join(ALL_FILTERS)}")
        filters.append(ALL_FILTERS[name])
    return filters
