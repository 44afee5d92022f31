"""DNG files made for the tests: a Bayer sensor whose colours are those of linear sRGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

WHITE = 16000
# XYZ to camera, in ten-thousandths: the inverse of linear sRGB to XYZ (IEC 61966-2-1)
_MATRIX = (32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570)


def dng(
    light: NDArray[Any], *, orientation: int = 1, neutral: tuple[float, float, float] = (1, 1, 1), **options: Any
) -> bytes:
    """A mosaic of linear light, ``(H, W, 3)`` in [0, 1] with even H and W.

    :param neutral: what the camera says a neutral colour is on its sensor.
    :param options: tifffile's, for example a compression.
    """
    codes = np.rint(np.clip(light, 0, 1) * WHITE).astype(np.uint16)
    mosaic = codes[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = codes[::2, ::2, 0], codes[1::2, 1::2, 2]
    rationals = tuple(number for value in _MATRIX for number in (value, 10_000))
    balance = tuple(number for value in neutral for number in (round(value * 1000), 1000))
    tags: list[tuple[Any, ...]] = [
        (271, "s", 0, "Example", True),
        (272, "s", 0, "Pinhole 1", True),
        (274, "H", 1, orientation, True),
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, b"\0\1\1\2", True),  # red green, green blue
        (50706, "B", 4, b"\1\4\0\0", True),
        (50708, "s", 0, "Example Pinhole 1", True),
        (50714, "H", 1, 0, True),
        (50717, "H", 1, WHITE, True),
        (50721, "2i", 9, rationals, True),
        (50728, "2I", 3, balance, True),
        (50778, "H", 1, 21, True),  # D65
    ]
    with io.BytesIO() as buffer:
        tifffile.imwrite(buffer, mosaic, photometric="cfa", extratags=tags, metadata=None, software="a test", **options)
        return buffer.getvalue()


def patches(size: int = 96) -> NDArray[np.float32]:
    """Four flat colours, a quarter each, dark enough that a gain of two clips none but the last."""
    light = np.empty((size, size * 2, 3), np.float32)
    half = size // 2
    light[:half, :size] = (0.05, 0.10, 0.20)
    light[:half, size:] = (0.30, 0.20, 0.10)
    light[half:, :size] = (0.18, 0.18, 0.18)
    light[half:, size:] = (0.80, 0.40, 0.30)
    return light
