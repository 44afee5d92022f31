"""Colour arithmetic shared by every room: transfer curves, luminance and working-space matrices.

The functions take NumPy arrays or torch tensors and return the same kind, so that this module (and the
filters built on it) needs no torch. Two kinds of values exist in this project and are never mixed:

* **linear light**: proportional to the light of the scene, as a RAW file is; 1.0 is sensor white.
* **display values**: sRGB codes / 255, what a finished photograph stores. An edit starts from linear
  light and *ends* in display values: no curve is added afterwards, the agent finds its own.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]

Space = Literal["srgb", "prophoto", "rec2020"]
"""Working spaces: primaries and white of linear light, or of display values, which carry the sRGB curve in all."""
SPACE_NAMES: dict[Space, str] = {"srgb": "sRGB", "prophoto": "ProPhoto RGB", "rec2020": "Rec. 2020"}
"""What people call them."""

LUMINANCE_WEIGHTS = (0.27, 0.67, 0.06)
"""Weights of R, G and B in the paper's luminance (published ``util.rgb2lum``), on linear RGB."""


def luminance(image: Any) -> Any:
    """Luminance ``0.27 R + 0.67 G + 0.06 B``.

    :param image: ``(B, 3, H, W)``, linear RGB or display values.
    :return: ``(B, 1, H, W)``.
    """
    red, green, blue = LUMINANCE_WEIGHTS
    return red * image[:, 0:1] + green * image[:, 1:2] + blue * image[:, 2:3]


def srgb_encode(linear: Any) -> Any:
    """Linear light to sRGB display values (IEC 61966-2-1); any shape; values below 0 stay on the linear toe."""
    toe = linear <= 0.0031308
    curve = 1.055 * linear.clip(0.0031308, None) ** (1.0 / 2.4) - 0.055
    return toe * (12.92 * linear) + ~toe * curve


def srgb_decode(display: Any) -> Any:
    """sRGB display values to linear light (IEC 61966-2-1), the inverse of :func:`srgb_encode`; any shape."""
    toe = display <= 0.04045
    curve = ((display.clip(0.04045, None) + 0.055) / 1.055) ** 2.4
    return toe * (display / 12.92) + ~toe * curve


def _white(xy: list[float]) -> Matrix:
    """XYZ of a white point, with Y = 1."""
    x, y = xy
    return np.array([x / y, 1.0, (1.0 - x - y) / y])


def _to_xyz(primaries: list[list[float]], white: list[float]) -> Matrix:
    """RGB-to-XYZ matrix of a space given its xy chromaticities (SMPTE RP 177)."""
    columns = np.stack([_white(xy) for xy in primaries], axis=1)
    matrix: Matrix = columns * np.linalg.solve(columns, _white(white))
    return matrix


def _bradford(source: list[float], target: list[float]) -> Matrix:
    """Bradford chromatic adaptation between two xy white points (ICC.1:2022, annex E)."""
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

    def response(xy: list[float]) -> Matrix:
        cones: Matrix = cone @ _white(xy)
        return cones

    scale = np.diag(response(target) / response(source))
    matrix: Matrix = np.linalg.solve(cone, scale @ cone)
    return matrix


_D50, _D65 = [0.3457, 0.3585], [0.3127, 0.3290]
_SRGB_PRIMARIES = [[0.64, 0.33], [0.30, 0.60], [0.15, 0.06]]
_PROPHOTO_PRIMARIES = [[0.7347, 0.2653], [0.1596, 0.8404], [0.0366, 0.0001]]
_SRGB = _to_xyz(_SRGB_PRIMARIES, _D65)
_PROPHOTO = _to_xyz(_PROPHOTO_PRIMARIES, _D50)

PROPHOTO_TO_SRGB: Matrix = np.linalg.solve(_SRGB, _bradford(_D50, _D65) @ _PROPHOTO)
"""(3, 3): linear ProPhoto RGB (D50, ISO 22028-2) to linear sRGB primaries (D65), as ``matrix @ rgb``."""

SRGB_TO_PROPHOTO: Matrix = np.linalg.inv(PROPHOTO_TO_SRGB)
"""(3, 3): the inverse of :data:`PROPHOTO_TO_SRGB`."""

REC2020_TO_SRGB: Matrix = np.linalg.solve(_SRGB, _to_xyz([[0.708, 0.292], [0.170, 0.797], [0.131, 0.046]], _D65))
"""(3, 3): linear Rec. 2020 (ITU-R BT.2020) to linear sRGB primaries, both D65."""

TO_SRGB: dict[Space, Matrix] = {"srgb": np.eye(3), "prophoto": PROPHOTO_TO_SRGB, "rec2020": REC2020_TO_SRGB}
"""From linear light in a working space to that in sRGB primaries, as ``matrix @ rgb``."""
FROM_SRGB: dict[Space, Matrix] = {
    "srgb": np.eye(3),
    "prophoto": SRGB_TO_PROPHOTO,
    "rec2020": np.linalg.inv(REC2020_TO_SRGB),
}
"""The way back."""

_WHITE = _SRGB.sum(1)
"""XYZ of white, (1, 1, 1) in sRGB: D65 with Y = 1."""


def srgb_to_lab(display: Any) -> Any:
    """sRGB display values to CIELAB (CIE 015:2018, white D65); differentiable for tensors.

    :param display: ``(B, 3, H, W)``, 0 to 1.
    :return: ``(B, 3, H, W)``: L* 0 to 100, a*, b*.
    """
    linear = srgb_decode(display)
    x, y, z = (
        sum(weight / white * linear[:, i] for i, weight in enumerate(row))
        for row, white in zip(_SRGB.tolist(), _WHITE.tolist(), strict=True)
    )
    f_x, f_y, f_z = (_lab_curve(value) for value in (x, y, z))
    stack = sys.modules[type(display).__module__.partition(".")[0]].stack  # of numpy or torch
    return stack([116.0 * f_y - 16.0, 500.0 * (f_x - f_y), 200.0 * (f_y - f_z)], 1)


def _lab_curve(t: Any) -> Any:
    toe = t <= (6.0 / 29.0) ** 3
    root = t.clip((6.0 / 29.0) ** 3, None) ** (1.0 / 3.0)
    return toe * (t * (841.0 / 108.0) + 4.0 / 29.0) + ~toe * root
