"""The strengths at which ``PhotoRetouchDiscrete-v0`` offers each filter, and the places where a masked one acts."""

from __future__ import annotations

_UP = (1.1, 1.07, 1.04, 1.01, 0.99, 0.96, 0.93, 0.9)
_DOWN = _UP[::-1]
_SAME = (1.0,) * 8
_S_CURVE = (0.9, 0.96, 1.04, 1.1, 1.1, 1.04, 0.96, 0.9)
_FADE = (1.1, 1.04, 0.96, 0.9, 0.9, 0.96, 1.04, 1.1)

STRENGTHS: dict[str, dict[str, tuple[float, ...]]] = {
    "exposure": {
        "-2 EV": (-2.0,),
        "-1 EV": (-1.0,),
        "-0.5 EV": (-0.5,),
        "+0.5 EV": (0.5,),
        "+1 EV": (1.0,),
        "+2 EV": (2.0,),
    },
    "gamma": {"1/3": (1 / 3,), "1/2.2": (1 / 2.2,), "1/1.5": (1 / 1.5,), "1.5": (1.5,), "2.2": (2.2,)},
    # Gains of red, green and blue: only their ratios count.
    "white_balance": {
        "much cooler": (0.8, 1.0, 1.25),
        "cooler": (0.9, 1.0, 1.11),
        "warmer": (1.11, 1.0, 0.9),
        "much warmer": (1.25, 1.0, 0.8),
        "greener": (1.0, 1.1, 1.0),
        "more magenta": (1.0, 0.9, 1.0),
    },
    "saturation": {"half": (0.5,), "full": (1.0,)},
    # Slopes of the curve's eighths, from black to white: only their ratios count, and they lie within 0.5 and 2.
    "tone": {
        "lift shadows": (2.0, 1.7, 1.4, 1.1, 0.9, 0.75, 0.6, 0.5),
        "deepen shadows": (0.5, 0.6, 0.75, 0.9, 1.1, 1.4, 1.7, 2.0),
        "S-curve": (0.6, 0.9, 1.3, 1.6, 1.6, 1.3, 0.9, 0.6),
        "flatten": (1.6, 1.3, 0.9, 0.7, 0.7, 0.9, 1.3, 1.6),
        "open highlights": (0.9, 0.9, 0.9, 0.9, 1.0, 1.2, 1.5, 1.8),
    },
    "contrast": {"-50 %": (-0.5,), "+50 %": (0.5,), "+100 %": (1.0,)},
    "black_white": {"half": (0.5,), "full": (1.0,)},
    "color": {
        "warmer mid-tones": (*_UP, *_SAME, *_DOWN),
        "cooler mid-tones": (*_DOWN, *_SAME, *_UP),
        "greener mid-tones": (*_SAME, *_UP, *_SAME),
        "more magenta mid-tones": (*_SAME, *_DOWN, *_SAME),
        "warm light, cool shadows": (*_S_CURVE, *_SAME, *_FADE),
        "cool light, warm shadows": (*_FADE, *_SAME, *_S_CURVE),
    },
    "level": {"black at 5 %": (0.05, 1.0), "white at 125 %": (0.0, 1.25)},
    "vignette": {"mild": (4.0, 4.0, 0.0, 3.0, -3.0), "strong": (4.0, 4.0, 0.0, 3.0, 0.0)},
}
"""For each filter its strengths by name, in physical parameters (``Filter.parameter_names``)."""

PLACES: dict[str, tuple[float, ...]] = {
    "everywhere": (0.0, 0.0, 0.0, 5.0, 5.0, 5.0),
    "the top": (-5.0, 0.0, 0.0, 0.0, 5.0, 5.0),
    "the bottom": (5.0, 0.0, 0.0, 0.0, 5.0, 5.0),
    "shadows": (0.0, 0.0, -5.0, 0.0, 5.0, 5.0),
    "highlights": (0.0, 0.0, 5.0, 0.0, 5.0, 5.0),
}
"""Masks by name, in the order of :data:`exposure_gym.filters.MASK_NAMES`; elsewhere 30 % of the effect stays."""
