"""The compiled loops of :mod:`exposure_gym.fused`: codes of one file to the codes of another, run after run.

Those of the edits are in :mod:`exposure_gym.kernels`. Numba keeps machine code under a function's name until the file
that has the function changes; what is compiled into it from other files is not looked at. So the names here carry a
digest of those.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exposure_gym import color, filters, kernels
from exposure_gym.kernels import SCRATCH, Floats, Function, _fit, _polynomial, run_program
from exposure_gym.kernels import _exp2 as exp2
from exposure_gym.kernels import _log2 as log2

Codes = NDArray[Any]  # uint8 or uint16

RUN = 4096
"""Pixels that go through all loops together: in the second nearest cache, but with fewer calls than for the nearest."""

_ZERO, _HALF, _ONE = (np.float32(value) for value in (0.0, 0.5, 1.0))

# The sRGB curve above its toe (IEC 61966-2-1), a third of the work of a power: decoded to 2e-7 by a polynomial of how
# far a value is from the middle, encoded to 1e-6 by one of the light's fourth root.
_DECODE_CENTRE, _DECODE_SCALE = np.float32(1.04045 / 2.0), np.float32(2.0 / 0.95955)
_DECODE = _fit(lambda t: ((1.04045 / 2.0 + t * 0.95955 / 2.0 + 0.055) / 1.055) ** 2.4, -1.0, 1.0, 10)
_ENCODE = _fit(lambda root: 1.055 * root ** (4.0 / 2.4) - 0.055, 0.0031308**0.25, 1.0, 7)


_SOURCES = hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in (color, filters, kernels)))


def compiled(function: Function) -> Function:
    """As :func:`exposure_gym.kernels.compiled`, and compiled anew when the kernels or their constants change."""
    function.__qualname__ += f"_{_SOURCES.hexdigest()[:16]}"
    return kernels.compiled(function)


@compiled
def develop_codes(
    codes: Codes,
    channels: int,
    table: Floats,
    matrix: Floats,
    program: NDArray[np.int64],
    constants: Floats,
    start: int,
    height: int,
    width: int,
    output: Floats,
    curve: Floats,
    limit: Any,
    dither: bool,
    out: Codes,
) -> Any:
    """Codes to codes; the largest bits of a result, without the sign, tell of NaN."""
    planes, scratch = np.empty((3, RUN), np.float32), np.empty((SCRATCH, RUN), np.float32)
    worst, n = np.int32(0), len(codes) // channels
    for first in range(0, n, RUN):
        m = min(RUN, n - first)
        r, g, b = planes[0, :m], planes[1, :m], planes[2, :m]
        _look_up(codes[first * channels : (first + m) * channels], channels, table, r, g, b)
        if len(matrix):
            _mix(matrix, r, g, b)
        run_program(program, constants, r, g, b, scratch, start + first, height, width)
        worst = max(worst, _largest_bits(r, g, b))
        if len(output):
            _convert(output, curve, r, g, b)
        _round(r, g, b, limit, dither, start + first, width, scratch, out[3 * first : 3 * (first + m)])
    return worst


@compiled
def develop_light(
    light: Floats,
    matrix: Floats,
    scale: Any,
    program: NDArray[np.int64],
    constants: Floats,
    start: int,
    height: int,
    width: int,
    output: Floats,
    curve: Floats,
    limit: Any,
    dither: bool,
    out: Codes,
) -> Any:
    """As :func:`develop_codes`, from linear light."""
    planes, scratch = np.empty((3, RUN), np.float32), np.empty((SCRATCH, RUN), np.float32)
    worst, n = np.int32(0), len(light) // 3
    for first in range(0, n, RUN):
        m = min(RUN, n - first)
        r, g, b = planes[0, :m], planes[1, :m], planes[2, :m]
        _split(light[3 * first : 3 * (first + m)], r, g, b)
        if len(matrix):
            _mix(matrix, r, g, b)
        else:
            for plane in (r, g, b):
                for i in range(m):
                    plane[i] = max(plane[i], _ZERO) * scale
        run_program(program, constants, r, g, b, scratch, start + first, height, width)
        worst = max(worst, _largest_bits(r, g, b))
        if len(output):
            _convert(output, curve, r, g, b)
        _round(r, g, b, limit, dither, start + first, width, scratch, out[3 * first : 3 * (first + m)])
    return worst


@compiled
def peak_of_codes(codes: Codes, channels: int, table: Floats, matrix: Floats) -> Any:
    planes = np.empty((3, RUN), np.float32)
    highest, n = _ZERO, len(codes) // channels
    for first in range(0, n, RUN):
        m = min(RUN, n - first)
        r, g, b = planes[0, :m], planes[1, :m], planes[2, :m]
        _look_up(codes[first * channels : (first + m) * channels], channels, table, r, g, b)
        if len(matrix):
            _mix(matrix, r, g, b)
        for plane in (r, g, b):
            for i in range(m):
                highest = max(highest, plane[i])
    return highest


@compiled
def edit_interleaved(
    pixels: Floats, program: NDArray[np.int64], constants: Floats, start: int, height: int, width: int, out: Floats
) -> None:
    planes, scratch = np.empty((3, RUN), np.float32), np.empty((SCRATCH, RUN), np.float32)
    n = len(pixels) // 3
    for first in range(0, n, RUN):
        m = min(RUN, n - first)
        r, g, b = planes[0, :m], planes[1, :m], planes[2, :m]
        _split(pixels[3 * first : 3 * (first + m)], r, g, b)
        run_program(program, constants, r, g, b, scratch, start + first, height, width)
        _join(r, g, b, out[3 * first : 3 * (first + m)])


@compiled
def edit_runs(
    r: Floats,
    g: Floats,
    b: Floats,
    program: NDArray[np.int64],
    constants: Floats,
    start: int,
    height: int,
    width: int,
) -> None:
    scratch = np.empty((SCRATCH, RUN), np.float32)
    for first in range(0, len(r), RUN):
        last = min(first + RUN, len(r))
        run_program(
            program, constants, r[first:last], g[first:last], b[first:last], scratch, start + first, height, width
        )


# Pixels with a stride of three that the compiler knows, in one flat array, are what it turns into vector shuffles.


@compiled
def _split(pixels: Any, r: Any, g: Any, b: Any) -> None:
    for i in range(len(r)):
        r[i] = pixels[3 * i]
        g[i] = pixels[3 * i + 1]
        b[i] = pixels[3 * i + 2]


@compiled
def _join(r: Any, g: Any, b: Any, pixels: Any) -> None:
    for i in range(len(r)):
        pixels[3 * i] = r[i]
        pixels[3 * i + 1] = g[i]
        pixels[3 * i + 2] = b[i]


@compiled
def _look_up(codes: Codes, channels: int, table: Floats, r: Floats, g: Floats, b: Floats) -> None:
    """Codes to what they stand for."""
    if channels == 1:
        for channel, plane in enumerate((r, g, b)):
            _gather(table[channel], codes, plane)
    else:
        _gather_split(table[0], table[1], table[2], codes, r, g, b)


@compiled
def _gather(table: Floats, codes: Codes, plane: Floats) -> None:
    for i in range(len(plane)):
        plane[i] = table[codes[i]]


@compiled
def _gather_split(reds: Floats, greens: Floats, blues: Floats, codes: Codes, r: Floats, g: Floats, b: Floats) -> None:
    for i in range(len(r)):
        r[i] = reds[codes[3 * i]]
        g[i] = greens[codes[3 * i + 1]]
        b[i] = blues[codes[3 * i + 2]]


@compiled
def _mix(matrix: Floats, r: Floats, g: Floats, b: Floats) -> None:
    """Into other primaries; colours outside them lose their negative components."""
    for i in range(len(r)):
        red, green, blue = r[i], g[i], b[i]
        r[i] = max(matrix[0, 0] * red + matrix[0, 1] * green + matrix[0, 2] * blue, _ZERO)
        g[i] = max(matrix[1, 0] * red + matrix[1, 1] * green + matrix[1, 2] * blue, _ZERO)
        b[i] = max(matrix[2, 0] * red + matrix[2, 1] * green + matrix[2, 2] * blue, _ZERO)


@compiled
def _largest_bits(r: Floats, g: Floats, b: Floats) -> Any:
    """Of all numbers, without their sign: NaN's are larger than any other's."""
    worst, magnitude = np.int32(0), np.int32(0x7FFFFFFF)
    for i in range(len(r)):  # of all three at a time: a third of the steps that wait for the one before
        red, green, blue = np.float32(r[i]), np.float32(g[i]), np.float32(b[i])
        most = max(red.view(np.int32) & magnitude, green.view(np.int32) & magnitude, blue.view(np.int32) & magnitude)
        worst = max(worst, np.int32(most))
    return worst


@compiled
def _convert(matrix: Floats, curve: Floats, r: Floats, g: Floats, b: Floats) -> None:
    """Display values that carry the sRGB curve, to those of other primaries and, if one is given, another curve."""
    for plane in (r, g, b):
        for i in range(len(plane)):
            x = min(max(plane[i], _ZERO), _ONE)
            power = _polynomial(_DECODE, (x - _DECODE_CENTRE) * _DECODE_SCALE)
            plane[i] = x * np.float32(1.0 / 12.92) if x <= np.float32(0.04045) else power
    _mix(matrix, r, g, b)
    for plane in (r, g, b):
        if len(curve):
            _encode(curve, plane)
        else:
            _encode_srgb(plane)


@compiled
def _encode_srgb(plane: Floats) -> None:
    for i in range(len(plane)):
        x = plane[i]
        power = _polynomial(_ENCODE, np.sqrt(np.sqrt(min(x, _ONE))))
        plane[i] = np.float32(12.92) * x if x <= np.float32(0.0031308) else power


@compiled
def _encode(curve: Floats, plane: Floats) -> None:
    toe, slope, gain, exponent, offset = curve[0], curve[1], curve[2], curve[3], curve[4]
    for i in range(len(plane)):
        x = plane[i]
        power = gain * exp2(exponent * log2(max(x, np.float32(1e-12)))) - offset
        plane[i] = slope * x if x <= toe else power


@compiled
def _round(
    r: Floats,
    g: Floats,
    b: Floats,
    limit: Any,
    dither: bool,
    start: int,
    width: int,
    scratch: Floats,
    out: Codes,
) -> None:
    """Display values to codes, clipped."""
    if dither:
        n = len(r)
        for channel in range(3):
            _thresholds(start, width, channel, scratch[channel, :n])
        _round_at(r, g, b, limit, scratch[0, :n], scratch[1, :n], scratch[2, :n], out)
    else:
        _round_half(r, g, b, limit, out)


@compiled
def _round_half(r: Floats, g: Floats, b: Floats, limit: Any, out: Codes) -> None:
    for i in range(len(r)):
        out[3 * i] = _code(r[i], limit, _HALF)
        out[3 * i + 1] = _code(g[i], limit, _HALF)
        out[3 * i + 2] = _code(b[i], limit, _HALF)


@compiled
def _round_at(
    r: Floats, g: Floats, b: Floats, limit: Any, reds: Floats, greens: Floats, blues: Floats, out: Codes
) -> None:
    for i in range(len(r)):
        out[3 * i] = _code(r[i], limit, reds[i])
        out[3 * i + 1] = _code(g[i], limit, greens[i])
        out[3 * i + 2] = _code(b[i], limit, blues[i])


@compiled
def _code(x: Any, limit: Any, threshold: Any) -> Any:
    return np.int32(min(max(x, _ZERO), _ONE) * limit + threshold)


@compiled
def _thresholds(start: int, width: int, channel: int, out: Floats) -> None:
    """What is added before rounding down: even between 0 and 1, and neighbours far apart, as in blue noise.

    The R2 sequence of M. Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences" (2018), by the pixel's
    place, through a triangle wave; a third of a turn further from channel to channel.
    """
    turn = 1 << 24
    across, down = 12664746, 9560334  # 1/p and 1/p^2 of a turn, p^3 = p + 1
    first = 0
    while first < len(out):  # row after row
        row, column = divmod(start + first, width)
        last = min(first + width - column, len(out))
        phase = row * down + column * across + channel * (turn // 3)
        for i in range(last - first):
            wave = np.float32(abs(2 * ((phase + i * across) & (turn - 1)) - turn) >> 12)
            out[first + i] = (min(wave, np.float32(4095)) + _HALF) * np.float32(1 / 4096)
        first = last
