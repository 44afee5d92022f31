"""Colour profiles that finished photographs are written in: their primaries, their curve, and the ICC file of both.

The values of the published standards; the ICC files (ICC.1:2022, version 4, a matrix and a curve) are made here, since
nobody gives such files away under a licence as free as this project's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from exposure_gym._icc import srgb_profile
from exposure_gym.color import (
    _D50,
    _D65,
    _PROPHOTO_PRIMARIES,
    _SRGB_PRIMARIES,
    TO_SRGB,
    Space,
    _bradford,
    _to_xyz,
    _white,
)
from exposure_gym.fused import SRGB_CURVE, Curve, Target

Profile = Literal["srgb", "display-p3", "adobe-rgb", "prophoto"]

_PCS = _D50  # to which an ICC profile adapts its colours


@dataclass(frozen=True)
class _Space:
    name: str
    primaries: list[list[float]]
    white: list[float]
    curve: Curve


def _power(gamma: float) -> Curve:
    return Curve(0.0, 0.0, 1.0, 1.0 / gamma, 0.0)


_SPACES: dict[str, _Space] = {
    # IEC 61966-2-1
    "srgb": _Space("sRGB", _SRGB_PRIMARIES, _D65, SRGB_CURVE),
    # SMPTE EG 432-1 with the white point and curve of sRGB
    "display-p3": _Space("Display P3", [[0.68, 0.32], [0.265, 0.69], [0.15, 0.06]], _D65, SRGB_CURVE),
    # Adobe RGB (1998) Color Image Encoding, version 2005-05
    "adobe-rgb": _Space(
        "Adobe RGB (1998) compatible", [[0.64, 0.33], [0.21, 0.71], [0.15, 0.06]], _D65, _power(563 / 256)
    ),
    # ISO 22028-2 ROMM RGB; its curve as common profiles have it, a power without the toe
    "prophoto": _Space("ProPhoto RGB compatible", _PROPHOTO_PRIMARIES, _D50, _power(461 / 256)),
}
PROFILES = tuple(_SPACES)


def output_of(profile: Profile, working_space: Space, bits: int) -> Target:
    """How display values of an edit in a working space become codes of a profile.

    Display values carry the sRGB curve whatever their primaries. Those of sRGB primaries are stored as they are;
    otherwise they are clipped to [0, 1], made linear light and converted colorimetrically, and what the profile cannot
    show is clipped channel by channel: that is the gamut rule.
    """
    if (profile, working_space) == ("srgb", "srgb"):
        return Target(bits)
    space = _SPACES[profile]
    to_srgb = TO_SRGB[working_space]
    if profile == "srgb":
        return Target(bits, to_srgb)
    srgb = _SPACES["srgb"]
    matrix = np.linalg.solve(_to_pcs(space), _to_pcs(srgb) @ to_srgb)
    return Target(bits, matrix, space.curve)


@lru_cache(maxsize=len(PROFILES))
def icc(profile: Profile) -> bytes:
    """The ICC profile to embed; always the same bytes."""
    if profile == "srgb":
        return srgb_profile()
    space = _SPACES[profile]
    colours = _to_pcs(space).T
    curve = _parametric(space.curve)
    tags = {
        b"desc": _text(space.name),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _xyz(_white(_PCS)),
        b"chad": b"sf32" + bytes(4) + _fixed(*_bradford(space.white, _PCS).ravel()),
        b"rXYZ": _xyz(colours[0]),
        b"gXYZ": _xyz(colours[1]),
        b"bXYZ": _xyz(colours[2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    directory, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        at = data.find(tag)  # equal tags share their place
        if at < 0:
            at, data = len(data), data + tag + bytes(-len(tag) % 4)
        directory += name + struct.pack(">II", start + at, len(tag))
    header = struct.pack(">I4xI", start + len(data), 0x04400000) + b"mntrRGB XYZ "
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + directory + data


def _to_pcs(space: _Space) -> NDArray[Any]:
    """(3, 3): linear light to XYZ as an ICC profile has it, adapted to D50."""
    return _bradford(space.white, _PCS) @ _to_xyz(space.primaries, space.white)


def _parametric(curve: Curve) -> bytes:
    """The way back, display values to linear light: ICC.1:2022, 10.18, functions 3 and 0."""
    if curve.toe == 0.0:
        return b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _fixed(1.0 / curve.exponent)
    numbers = (1.0 / curve.exponent, 1.0 / curve.gain, curve.offset / curve.gain, 1.0 / curve.slope, 0.04045)
    return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(*numbers)


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(float(number) * 65536) for number in numbers))


def _xyz(numbers: NDArray[Any]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*numbers)


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data
