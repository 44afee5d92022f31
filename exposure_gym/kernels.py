"""The filters as compiled loops, where no gradient is wanted: fast enough that memory is what takes the time.

:mod:`exposure_gym.filters` defines what a filter does; the kernels here do the same, to 1e-5, to a **run** of pixels:
three arrays ``r``, ``g``, ``b``, ``(n,)`` float32, changed in place, with the run's place in the picture for what
depends on it (local masks, the vignette). A run of :data:`RUN` pixels stays in a core's nearest cache from its first
edit to its last, and loops over planes are what processors do eight or sixteen pixels at a time.

A list of edits becomes a :class:`Program` once (:func:`compile_edits`), and :func:`run_program` applies it to run after
run. All functions release the interpreter's lock and use no threads of their own: a thread pool of the caller's can
share out a photograph. The game's many small pictures with one edit each are :mod:`exposure_gym._game_kernels`'s.

The first call of a function in a process loads its machine code from Numba's cache, beside this file or in the user's
cache folder; the first call of all compiles it, which takes seconds. A cached function of *another* module that calls
these is not compiled anew when they change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from exposure_gym._machine_code import MachineCode
from exposure_gym.color import LUMINANCE_WEIGHTS
from exposure_gym.filters import ALL_FILTERS, CURVE_STEPS, MASK_MINIMUM_STRENGTH, MASK_NAMES, MASK_RANGE

if TYPE_CHECKING:
    from exposure_gym.recipe import Edit

RUN = 1024
"""Pixels of a run that fits, with its scratch, into 32 KB of nearest cache."""
SCRATCH = 4
"""Planes of scratch that :func:`run_program` needs: ``(SCRATCH, n)`` float32."""

CODES = {name: code for code, name in enumerate(ALL_FILTERS)}
"""What stands for each filter in a program."""
NOTHING = -1
"""What changes nothing."""
EXPOSURE, GAMMA, WHITE_BALANCE, SATURATION, TONE, CONTRAST, BLACK_WHITE, COLOR, LEVEL, VIGNETTE = CODES.values()

CONSTANTS = 3 * CURVE_STEPS
"""The most that a filter needs: a colour curve's."""
MASK_CONSTANTS = 5

Floats = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function when it is first called, and keep the machine code on disk if there is a place for it."""
    # Products and sums may be contracted and sums reordered, which lets them run on vectors. NaN stays NaN.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}
    kernel: Any = njit(function, **options)
    with suppress(RuntimeError):  # neither this folder nor the user's cache folder can be written to
        kernel._cache = MachineCode(function)  # type: ignore[no-untyped-call]
    return kernel  # type: ignore[no-any-return]


# -- elementary functions, which Numba's own would compute one pixel at a time ----------------------------------------


def _fit(function: Callable[[Any], Any], low: float, high: float, degree: int) -> tuple[np.float32, ...]:
    """Coefficients, highest first, of the polynomial through a function's values at the Chebyshev points."""
    chebyshev = np.polynomial.Chebyshev.interpolate(function, degree, [low, high])
    return tuple(chebyshev.convert(kind=np.polynomial.Polynomial).coef[::-1].astype(np.float32))


def _log2_ratio(f: Any) -> Any:
    """``log2(1 + f) / f``, and its limit at 0."""
    near = np.abs(f) < 1e-9
    return np.where(near, 1.0 / math.log(2.0), np.log2(1.0 + f) / np.where(near, 1.0, f))


_LOG2 = _fit(_log2_ratio, math.sqrt(0.5) - 1.0, math.sqrt(2.0) - 1.0, 7)
_EXP2 = _fit(np.exp2, -0.5, 0.5, 6)
_SINE = _fit(lambda square: np.pi / 2 * np.sinc(np.sqrt(np.abs(square)) / 2), 0.0, 1.0, 4)  # sin(pi/2 x) / x of x^2

_ZERO, _HALF, _ONE, _TWO = (np.float32(value) for value in (0.0, 0.5, 1.0, 2.0))
_RED, _GREEN, _BLUE = (np.float32(weight) for weight in LUMINANCE_WEIGHTS)
_LOG2_E = 1.0 / math.log(2.0)
_SQRT_HALF_BITS = np.int32(np.float32(math.sqrt(0.5)).view(np.int32))
_MANTISSA_BITS, _EXPONENT_BIAS = np.int32(23), np.int32(127)


@compiled
def _polynomial(coefficients: Any, x: Any) -> Any:
    total = coefficients[0]
    for i in range(1, len(coefficients)):
        total = total * x + coefficients[i]
    return total


@compiled
def _log2(x: Any) -> Any:
    """Of a normal number above 0, to 2e-7: its exponent, and a polynomial between sqrt(1/2) and sqrt(2)."""
    bits = np.float32(x).view(np.int32)
    exponent = (bits - _SQRT_HALF_BITS) >> _MANTISSA_BITS
    f = np.int32(bits - (exponent << _MANTISSA_BITS)).view(np.float32) - _ONE
    return np.float32(exponent) + f * _polynomial(_LOG2, f)


@compiled
def _exp2(x: Any) -> Any:
    """To 2e-7 of the result; infinite from 128 (or a little less), 2^-126 below -126."""
    x = min(max(x, np.float32(-126.0)), np.float32(128.0))
    whole = np.floor(x + _HALF)
    power = np.int32((np.int32(whole) + _EXPONENT_BIAS) << _MANTISSA_BITS).view(np.float32)
    return power * _polynomial(_EXP2, x - whole)


@compiled
def _luminance(r: Any, g: Any, b: Any) -> Any:
    return _RED * r + _GREEN * g + _BLUE * b


# -- one kernel a filter: constants ``c``, planes ``r``, ``g``, ``b`` --------------------------------------------------


@compiled
def _gains(c: Floats, r: Floats, g: Floats, b: Floats) -> None:
    """Exposure and white balance."""
    red, green, blue = c[0], c[1], c[2]
    for i in range(len(r)):
        r[i] *= red
        g[i] *= green
        b[i] *= blue


@compiled
def _gamma(c: Floats, r: Floats, g: Floats, b: Floats) -> None:
    exponent = c[0]
    for plane in (r, g, b):
        for i in range(len(plane)):
            plane[i] = _exp2(exponent * _log2(max(plane[i], np.float32(0.001))))


@compiled
def _saturation(c: Floats, r: Floats, g: Floats, b: Floats) -> None:
    strength = c[0]
    for i in range(len(r)):
        red, green, blue = min(r[i], _ONE), min(g[i], _ONE), min(b[i], _ONE)
        value = max(max(red, green), blue)
        least = min(min(red, green), blue)
        chroma = value - least
        coloured = chroma > np.float32(1e-6)
        lit = value > _ZERO
        boost = np.float32(0.8) * (_HALF - abs(_HALF - value))
        pull = boost * (least if lit else value) / (chroma if coloured else _ONE)
        # Below black a full effect pulls from V, not from x: that is V - x more.
        pull = strength * (pull if lit else pull - _ONE) if coloured else _ZERO
        r[i] = red - pull * (value - red)
        g[i] = green - pull * (value - green)
        b[i] = blue - pull * (value - blue)


@compiled
def _curves(c: Floats, r: Floats, g: Floats, b: Floats) -> None:
    """Tone and colour: how much flatter the curve gets after each eighth; after the last it is level."""
    _curve(c[0:8], r)
    _curve(c[8:16], g)
    _curve(c[16:24], b)


@compiled
def _curve(c: Floats, plane: Floats) -> None:
    c0, c1, c2, c3, c4, c5, c6, c7 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    for i in range(len(plane)):
        x = max(plane[i], _ZERO)
        y = c0 * min(x, np.float32(1 / 8)) + c1 * min(x, np.float32(2 / 8)) + c2 * min(x, np.float32(3 / 8))
        y += c3 * min(x, np.float32(4 / 8)) + c4 * min(x, np.float32(5 / 8)) + c5 * min(x, np.float32(6 / 8))
        plane[i] = y + c6 * min(x, np.float32(7 / 8)) + c7 * min(x, _ONE)


@compiled
def _contrast(c: Floats, r: Floats, g: Floats, b: Floats) -> None:
    strength = c[0]
    for i in range(len(r)):
        light = min(max(_luminance(r[i], g[i], b[i]), _ZERO), _ONE)
        sine = light * _polynomial(_SINE, light * light)  # (1 - cos(pi L)) / 2 = sin(pi/2 L)^2
        gain = (_ONE - strength) + strength * (sine * sine / (light + np.float32(1e-6)))
        r[i] *= gain
        g[i] *= gain
        b[i] *= gain


@compiled
def _black_white(c: Floats, r: Floats, g: Floats, b: Floats) -> None:
    strength = c[0]
    for i in range(len(r)):
        grey = strength * _luminance(r[i], g[i], b[i])
        r[i] = (_ONE - strength) * r[i] + grey
        g[i] = (_ONE - strength) * g[i] + grey
        b[i] = (_ONE - strength) * b[i] + grey


@compiled
def _level(c: Floats, r: Floats, g: Floats, b: Floats) -> None:
    black, scale = c[0], c[1]
    for plane in (r, g, b):
        for i in range(len(plane)):
            plane[i] = min(max((plane[i] - black) * scale, _ZERO), _ONE)


@compiled
def _vignette(c: Floats, r: Floats, g: Floats, b: Floats, start: int, height: int, width: int) -> None:
    first = 0
    while first < len(r):  # row after row
        y, x, step, stop = _place(start + first, height, width, first, len(r))
        _vignette_row(c, y, x, step, r[first:stop], g[first:stop], b[first:stop])
        first = stop


@compiled
def _vignette_row(c: Floats, y: Any, x: Any, step: Any, r: Floats, g: Floats, b: Floats) -> None:
    horizontal, base, strength = c[1], c[2] + c[0] * y * y, c[3]
    for i in range(len(r)):
        across = x + np.float32(i) * step
        keep = _ONE - strength / (_ONE + _exp2(base + horizontal * across * across))
        r[i] *= keep
        g[i] *= keep
        b[i] *= keep


@compiled
def _mask(c: Floats, r: Floats, g: Floats, b: Floats, mask: Floats, start: int, height: int, width: int) -> None:
    """How strongly a filter acts on each pixel, from the picture before it: ``filters.local_mask``."""
    first = 0
    while first < len(r):  # row after row
        y, x, step, stop = _place(start + first, height, width, first, len(r))
        _mask_row(c, y, x, step, r[first:stop], g[first:stop], b[first:stop], mask[first:stop])
        first = stop


@compiled
def _mask_row(c: Floats, y: Any, x: Any, step: Any, r: Floats, g: Floats, b: Floats, mask: Floats) -> None:
    horizontal, light, base, strength = c[1] * step, c[2], c[3] + c[0] * y + c[1] * x, c[4]
    for i in range(len(r)):
        slope = base + horizontal * np.float32(i) + light * _luminance(r[i], g[i], b[i])
        mask[i] = np.float32(MASK_MINIMUM_STRENGTH) + strength / (_ONE + _exp2(slope))


@compiled
def _place(pixel: int, height: int, width: int, first: int, n: int) -> Any:
    """Where a pixel is, and where in its run, in which it has number ``first`` of ``n``, its row stops.

    :return: y and x from the centre and the step to the next pixel, in units of the short edge; the end of the row.
    """
    row, column = divmod(pixel, width)
    short = min(height, width)
    y, x = (row - height / 2) / short, (column - width / 2) / short
    return np.float32(y), np.float32(x), np.float32(1.0 / short), min(first + width - column, n)


# -- programs ----------------------------------------------------------------------------------------------------------


class Program(NamedTuple):
    """Edits as :func:`run_program` takes them, from first to last."""

    codes: NDArray[np.int64]
    """``(E, 2)``: of the filter, and 1 if it acts through a mask."""
    table: Floats
    """``(E, CONSTANTS + MASK_CONSTANTS)``: what the kernels need of the parameters, computed once."""


def compile_edits(edits: Sequence[Edit]) -> Program:
    """The program of a list of edits, e.g. of a :class:`exposure_gym.recipe.Recipe`."""
    codes = np.zeros((len(edits), 2), np.int64)
    table = np.zeros((len(edits), CONSTANTS + MASK_CONSTANTS), np.float32)
    for code, row, edit in zip(codes, table, edits, strict=True):
        mask = (0.0,) * len(MASK_NAMES) if edit.mask is None else edit.mask
        code[:] = CODES[edit.filter], edit.mask is not None
        prepare(code[0], np.array(edit.parameters), np.array(mask), row)
    return Program(codes, table)


@compiled
def prepare(code: int, parameters: NDArray[np.float64], mask: NDArray[np.float64], c: Floats) -> None:
    """Write a program's row of constants.

    :param code: of the filter.
    :param parameters: ``(k,)`` or more physical parameters; :param mask: ``(6,)`` in [-5, 5].
    :param c: ``(CONSTANTS + MASK_CONSTANTS,)``, to be filled.
    """
    if code == EXPOSURE:
        c[0] = c[1] = c[2] = 2.0 ** parameters[0]
    elif code == WHITE_BALANCE:
        c[0], c[1], c[2] = parameters[0], parameters[1], parameters[2]
    elif code in (TONE, COLOR):
        for channel in range(3):
            first = 0 if code == TONE else channel * CURVE_STEPS
            total = 0.0
            for i in range(CURVE_STEPS):
                total += parameters[first + i]
            after = 0.0
            for i in range(CURVE_STEPS - 1, -1, -1):
                c[channel * CURVE_STEPS + i] = (parameters[first + i] - after) * CURVE_STEPS / total
                after = parameters[first + i]
    elif code == LEVEL:
        c[0], c[1] = parameters[0], 1.0 / (parameters[1] - parameters[0] + 1e-6)
    elif code == VIGNETTE:
        # The sigmoid of z is 1 / (1 + 2^(-z log2 e)): that factor goes into every term.
        scale = -_LOG2_E * parameters[3] / MASK_RANGE
        c[0], c[1] = parameters[0] ** 2 * scale, parameters[1] ** 2 * scale
        c[2], c[3] = (parameters[2] - MASK_RANGE) * scale, parameters[4] / MASK_RANGE * 0.5 + 0.5
    else:
        c[0] = parameters[0]
    scale = -_LOG2_E * mask[4] / MASK_RANGE
    c[CONSTANTS], c[CONSTANTS + 1], c[CONSTANTS + 2] = mask[0] * scale, mask[1] * scale, mask[2] * scale
    c[CONSTANTS + 3] = (2.0 * mask[3] - 0.5 * mask[2]) * scale
    c[CONSTANTS + 4] = (mask[5] / MASK_RANGE * 0.5 + 0.5) * (1.0 - MASK_MINIMUM_STRENGTH)


@compiled
def run_program(
    codes: NDArray[np.int64],
    table: Floats,
    r: Floats,
    g: Floats,
    b: Floats,
    scratch: Floats,
    start: int,
    height: int,
    width: int,
) -> None:
    """Apply a program in place to a run of a picture's pixels, counted row by row.

    :param codes: and :param table: of a :class:`Program`.
    :param r: :param g: :param b: ``(n,)`` contiguous: linear light in, display values out; never clipped unless a
        filter does.
    :param scratch: ``(SCRATCH, n)`` or longer: what is in it does not matter.
    :param start: the first pixel's number, ``row * width + column``.
    :param height: of the whole picture, in pixels; :param width: too.
    """
    n = len(r)
    mask, red, green, blue = scratch[0, :n], scratch[1, :n], scratch[2, :n], scratch[3, :n]
    for k in range(len(codes)):
        masked = codes[k, 1] != 0
        if masked:
            _mask(table[k, CONSTANTS:], r, g, b, mask, start, height, width)
            _copy(r, red)
            _copy(g, green)
            _copy(b, blue)
        _run_filter(codes[k, 0], table[k], r, g, b, start, height, width)
        if masked:
            _blend(mask, red, r)
            _blend(mask, green, g)
            _blend(mask, blue, b)


@compiled
def _run_filter(code: int, c: Floats, r: Floats, g: Floats, b: Floats, start: int, height: int, width: int) -> None:
    if code in (EXPOSURE, WHITE_BALANCE):
        _gains(c, r, g, b)
    elif code == GAMMA:
        _gamma(c, r, g, b)
    elif code == SATURATION:
        _saturation(c, r, g, b)
    elif code in (TONE, COLOR):
        _curves(c, r, g, b)
    elif code == CONTRAST:
        _contrast(c, r, g, b)
    elif code == BLACK_WHITE:
        _black_white(c, r, g, b)
    elif code == LEVEL:
        _level(c, r, g, b)
    elif code == VIGNETTE:
        _vignette(c, r, g, b, start, height, width)


@compiled
def _copy(source: Floats, target: Floats) -> None:
    for i in range(len(source)):
        target[i] = source[i]


@compiled
def _blend(mask: Floats, before: Floats, after: Floats) -> None:
    for i in range(len(mask)):
        after[i] = (_ONE - mask[i]) * before[i] + mask[i] * after[i]


# -- layout -----------------------------------------------------------------------------------------------------------


@compiled
def interleave(images: Floats, out: Floats) -> None:
    """Pictures ``(B, 3, H, W)`` to ``(B, H, W, 3)``, both contiguous."""
    count, _, height, width = images.shape
    size = height * width
    planes, values = images.reshape(count, 3, size), out.reshape(count, 3 * size)
    for k in range(count):
        r, g, b, pixels = planes[k, 0], planes[k, 1], planes[k, 2], values[k]
        for i in range(size):  # a stride of 3 that the compiler sees is written by vectors
            pixels[3 * i] = r[i]
            pixels[3 * i + 1] = g[i]
            pixels[3 * i + 2] = b[i]
