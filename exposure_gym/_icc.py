"""Colour profiles: what the codes of a photograph mean in linear light.

LittleCMS (through imagecodecs) interprets every profile, in floating point. Most profiles are
three curves and a matrix; those are measured once with LittleCMS and then applied as tables, which
is exact and several times faster than a conversion pixel by pixel.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from exposure_gym.color import srgb_decode, srgb_encode

Pixels = NDArray[Any]
Light = NDArray[np.float32]

_RELATIVE_COLORIMETRIC = 1
_D65 = [0.3127, 0.3290, 1.0]
_SRGB_PRIMARIES = [0.64, 0.33, 1.0, 0.30, 0.60, 1.0, 0.15, 0.06, 1.0]  # x, y, Y of red, green, blue


class ProfileError(ValueError):
    """A profile is damaged, or belongs to another kind of image."""


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """The sRGB profile that is embedded in what is written; always the same bytes."""
    profile = bytearray(imagecodecs.cms_profile("srgb"))
    profile[24:36] = bytes.fromhex("07d0 0001 0001 0000 0000 0000")  # made 2000-01-01, not just now
    return bytes(profile)


@lru_cache(maxsize=1)
def _linear_srgb_profile() -> bytes:
    return bytes(imagecodecs.cms_profile("rgb", whitepoint=_D65, primaries=_SRGB_PRIMARIES, gamma=1.0))


def to_linear_srgb(pixels: Pixels, profile: bytes) -> Light:
    """Codes to linear light in sRGB primaries, relative colorimetric.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``; uint8 or uint16 of full range, or float32 as stored.
        profile: an ICC profile of an RGB or a grey space, matrix or LUT; empty when the file has
            none, which stands for sRGB for integers and for linear sRGB for floats.

    Returns:
        A new ``(H, W, 3)`` array, not clipped: colours outside sRGB have negative components.

    Raises:
        ProfileError: the profile is damaged or does not describe such pixels.
    """
    if not profile:
        if pixels.dtype.kind == "f":
            return _three(pixels).astype(np.float32)
        profile = srgb_profile()
    space = profile[16:20]
    if space == b"GRAY" and pixels.ndim == 2:
        return _grey_to_linear(pixels, profile)
    if space != b"RGB ":
        raise _foreign(profile)
    pixels = _three(pixels)
    if pixels.dtype.kind != "f":
        table = _curves_and_matrix(profile, np.iinfo(pixels.dtype).max + 1)
        if table is not None:
            return _apply_table(pixels, *table)
    return _lcms(pixels, profile, "rgb")


def light_tables(profile: bytes, levels: int, grey: bool) -> tuple[Light, Light | None] | None:
    """What :func:`to_linear_srgb` does to integers, for those who convert them themselves.

    Args:
        profile: as there.
        levels: 256 or 65536, the codes there are.
        grey: pixels have one channel.

    Returns:
        What each code of each channel stands for, ``(3, levels)``, and the ``(3, 3)`` matrix from there to linear light
        in sRGB primaries, None if it is that already; or None for a profile that is more than that.

    Raises:
        ProfileError: the profile is damaged or does not describe such pixels.
    """
    if grey and profile[16:20] == b"GRAY":
        codes = np.arange(levels, dtype=np.min_scalar_type(levels - 1))
        return np.ascontiguousarray(_grey_to_linear(codes[None], profile)[0].T), None
    if profile and profile[16:20] != b"RGB ":
        raise _foreign(profile)
    return _curves_and_matrix(profile or srgb_profile(), levels)


def is_srgb(profile: bytes) -> bool:
    """Whether a profile is sRGB to a quarter of an 8-bit code: vendors round differently."""
    table = _curves_and_matrix(profile, 256) if profile[16:20] == b"RGB " else None
    return table is not None and table[1] is None


def _foreign(profile: bytes) -> ProfileError:
    name = profile[16:20].decode("ascii", "replace").strip() if profile[36:40] == b"acsp" else "damaged"
    return ProfileError(f"its colour profile is {name}, not RGB or grey as its pixels are")


def _lcms(pixels: Pixels, profile: bytes, space: str) -> Light:
    try:
        light = imagecodecs.cms_transform(
            pixels,
            profile,
            _linear_srgb_profile(),
            colorspace=space,
            outcolorspace="rgb",
            outdtype="float32",
            intent=_RELATIVE_COLORIMETRIC,
        )
    except imagecodecs.CmsError as error:
        raise ProfileError("its colour profile is damaged") from error
    return cast(Light, light)


def _three(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _grey_to_linear(pixels: Pixels, profile: bytes) -> Light:
    # LittleCMS rounds its white point to 16 bits, which tints grey by 1e-5: the mean removes that.
    if pixels.dtype.kind == "f":
        light = _lcms(pixels, profile, "gray").mean(axis=2)
    else:
        codes = np.arange(np.iinfo(pixels.dtype).max + 1, dtype=pixels.dtype)
        light = _lcms(codes[None], profile, "gray")[0].mean(axis=1)[pixels]
    return cast(Light, _three(light))


@lru_cache(maxsize=16)
def _curves_and_matrix(profile: bytes, levels: int) -> tuple[Light, Light | None] | None:
    """A curve for each channel ``(3, levels)`` and a 3x3 matrix, or None for a profile with a LUT.

    The matrix is None for sRGB itself, whose curves are then exactly those of :mod:`.color`.
    """
    exact = np.tile(srgb_decode(np.linspace(0.0, 1.0, levels)).astype(np.float32), (3, 1))
    if profile == srgb_profile():  # measuring it would take longer
        return exact, None
    ramp = np.linspace(0.0, 1.0, levels, dtype=np.float32)
    ramps = np.zeros((3, levels, 3), np.float32)
    for channel in range(3):
        ramps[channel, :, channel] = ramp
    light = _lcms(ramps, profile, "rgb")
    matrix = light[:, -1].T
    strongest = np.abs(matrix).argmax(axis=0)
    peak = matrix[strongest, range(3)]
    if not np.all(np.abs(peak) > 1e-3):
        return None
    curves = np.stack([light[c, :, strongest[c]] / peak[c] for c in range(3)])

    if np.abs(matrix - np.eye(3)).max() < 1e-3 and np.abs(srgb_encode(curves) - ramp).max() < 1e-3:
        return exact, None

    steps = np.linspace(0, levels - 1, 9).round().astype(np.min_scalar_type(levels - 1))
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(1, -1, 3)
    predicted = _apply_table(grid, curves, matrix)
    additive = np.abs(predicted - _lcms(ramp[grid], profile, "rgb")).max() < 1e-4
    return (curves, matrix) if additive else None


def _apply_table(codes: Pixels, curves: Light, matrix: Light | None) -> Light:
    table = np.ascontiguousarray(curves.T)[None]
    light = np.empty(codes.shape, np.float32)
    for top in range(0, len(codes), 64):  # some rows at a time stay in the cache
        rows = cv2.LUT(codes[top : top + 64], table)
        light[top : top + 64] = rows if matrix is None else cv2.transform(rows, matrix)
    return light
