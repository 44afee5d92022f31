"""One pass over a photograph's pixels: from the codes of one file to the codes of another, with no float copy.

A :class:`Pass` takes a band of rows as they are stored and gives the band of the finished photograph: the codes become
linear light by a table, the light goes through a matrix into the recipe's primaries, the recipe is applied by
:mod:`exposure_gym.kernels`, and the display values become codes of the wanted profile. All of that happens to a run of
pixels at a time, which never leaves the nearest caches.

Edits that treat each channel by itself, at the beginning of a recipe, cost nothing: they are applied to the table.
Where a matrix stands between, gains are multiplied into it.

Nothing here uses torch or keeps threads: a pool lives as long as the call, so that a fork finds none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exposure_gym import kernels
from exposure_gym._fused_kernels import (
    Codes,
    develop_codes,
    develop_light,
    edit_interleaved,
    edit_runs,
    peak_of_codes,
)
from exposure_gym.kernels import Floats, compile_edits

if TYPE_CHECKING:
    from exposure_gym.recipe import Edit

BAND = 1 << 18
"""Pixels that a thread works on between two looks at what is left to do."""

POINTWISE = frozenset({"exposure", "gamma", "white_balance", "tone", "color", "level"})
"""Filters that treat each channel by itself, the same everywhere in the picture."""
GAINS = frozenset({"exposure", "white_balance"})
"""Those of them that multiply by a number above 0."""

_INFINITY = 0x7F800000  # its bits; those of NaN are more, the sign left out
_NO_MATRIX: Floats = np.zeros((0, 3), np.float32)


class Source(NamedTuple):
    """What the pixels of a file mean."""

    table: Floats | None
    """``(3, 256 or 65536)``: what each code of each channel is in light. None: pixels are light themselves, float32."""
    matrix: NDArray[Any] | None
    """``(3, 3)``: from there into the recipe's primaries. None: they are the same."""


class Curve(NamedTuple):
    """From linear light to display values: ``slope x`` up to ``toe``, then ``gain x^exponent - offset``."""

    toe: float
    slope: float
    gain: float
    exponent: float
    offset: float


SRGB_CURVE = Curve(0.0031308, 12.92, 1.055, 1.0 / 2.4, 0.055)
"""IEC 61966-2-1."""


class Target(NamedTuple):
    """What the codes of the finished file mean."""

    bits: int
    matrix: NDArray[Any] | None = None
    """``(3, 3)``: from the recipe's primaries, in linear light. None: the recipe's display values are stored."""
    curve: Curve = SRGB_CURVE
    """The profile's, used where there is a matrix."""


class Pass:
    """A recipe between a source and a target, for a photograph of one size."""

    def __init__(
        self,
        edits: Sequence[Edit],
        size: tuple[int, int],
        source: Source,
        target: Target,
        *,
        scale: float = 1.0,
        dither: bool = False,
    ) -> None:
        """Prepare the tables.

        :param edits: of a recipe; :param size: height and width of the whole photograph in pixels.
        :param scale: a factor of the light, before the edits.
        :param dither: round 8-bit results up or down by turns, evenly spread (see ``_fused_kernels``), instead of to
            the nearest: smooth gradients show no steps. Values that are codes exactly stay what they are.
        """
        self.size = size
        self.dtype = np.dtype(np.uint8 if target.bits == 8 else np.uint16)
        self.limit, self.dither = np.iinfo(self.dtype).max, dither and target.bits == 8
        self._input, edits = _fold(list(edits), source, scale)
        self._program = compile_edits(edits)
        curve = () if target.curve == SRGB_CURVE else target.curve  # which has a kernel of its own
        self._output = _matrix(target.matrix), np.array(curve, np.float32)

    def __call__(self, pixels: NDArray[Any], top: int, out: Codes) -> None:
        """Develop a band of rows.

        :param pixels: ``(n, W)`` grey or ``(n, W, 3)`` codes with any strides, or float32 light.
        :param top: number of the first row.
        :param out: ``(n, W, 3)`` contiguous, uint8 or uint16 as the target has bits; may share ``pixels``' memory.
        :raises FloatingPointError: some pixels became NaN.
        """
        table, matrix, scale = self._input
        height, width = self.size
        where = top * width, height, width
        end: tuple[Any, ...] = (*self._output, np.float32(self.limit), self.dither, out.reshape(-1))
        if table is None:
            worst = develop_light(_flat(pixels), matrix, np.float32(scale), *self._program, *where, *end)
        else:
            worst = develop_codes(_flat(pixels), channels(pixels), table, matrix, *self._program, *where, *end)
        if worst > _INFINITY:
            raise FloatingPointError("some pixels are NaN")


def peak(pixels: NDArray[Any], source: Source) -> float:
    """The largest component of a band of rows, in linear light in the recipe's primaries; at least 0."""
    if source.table is None:
        light = pixels if source.matrix is None else pixels @ _matrix(source.matrix).T
        return max(0.0, float(light.max()))
    return float(peak_of_codes(_flat(pixels), channels(pixels), source.table, _matrix(source.matrix)))


def edit_pixels(edits: Sequence[Edit], pixels: Floats, out: Floats) -> None:
    """Apply edits to a photograph of floats, ``(H, W, 3)`` into ``(H, W, 3)``, on all cores; both may be one array."""
    program, (height, width) = compile_edits(edits), pixels.shape[:2]

    def edit_band(top: int, bottom: int) -> None:
        band = out[top:bottom]
        result = band if band.flags.c_contiguous else np.empty(band.shape, np.float32)
        where = top * width, height, width
        edit_interleaved(_flat(pixels[top:bottom]), program.codes, program.table, *where, result.reshape(-1))
        if result is not band:
            band[...] = result

    in_bands(edit_band, height, width)


def edit_planes(edits: Sequence[Edit], image: Floats, out: Floats) -> None:
    """Apply edits to a picture of planes, ``(3, H, W)`` into a contiguous ``(3, H, W)``, on all cores."""
    program, (_, height, width) = compile_edits(edits), image.shape

    def edit_band(top: int, bottom: int) -> None:
        out[:, top:bottom] = image[:, top:bottom]
        r, g, b = (plane[top:bottom].reshape(-1) for plane in out)
        edit_runs(r, g, b, program.codes, program.table, top * width, height, width)

    in_bands(edit_band, height, width)


def covers(edits: Sequence[Edit]) -> bool:
    """Whether there are kernels of all these edits."""
    return all(edit.filter in kernels.CODES for edit in edits)


def in_bands(
    work: Callable[[int, int], None], height: int, width: int, *, step: int = 1, threads: int | None = None
) -> None:
    """Call ``work(top, bottom)`` for all bands of a picture, from several threads where there is enough to do.

    :param step: bands begin at multiples of this many rows; :param threads: how many; None: one for each core.
    :raises Exception: what ``work`` raised first; what has not begun is not.
    """
    from exposure_gym.recipe import cores

    rows = max(1, BAND // max(1, width) // step) * step
    tops = range(0, height, rows)
    workers = min(threads or cores(), len(tops))
    if workers < 2:  # not worth a thread
        for top in tops:
            work(top, min(top + rows, height))
        return
    with ThreadPoolExecutor(workers) as pool:  # the kernels let go of the interpreter's lock
        for _ in pool.map(lambda top: work(top, min(top + rows, height)), tops):
            pass


def channels(pixels: NDArray[Any]) -> int:
    """1 for grey, 3 for colour."""
    return 1 if pixels.ndim == 2 else 3


def _flat(pixels: NDArray[Any]) -> NDArray[Any]:
    """In the machine's byte order and one after the other; only what is not so is copied."""
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=")).reshape(-1)


def _matrix(matrix: NDArray[Any] | None) -> Floats:
    return _NO_MATRIX if matrix is None else np.ascontiguousarray(matrix, np.float32)


def _fold(edits: list[Edit], source: Source, scale: float) -> tuple[tuple[Floats | None, Floats, float], list[Edit]]:
    """Work what can be of the first edits into the table or the matrix.

    :return: table, matrix, scale of the light behind them; the edits that are left.
    """
    folded = 0
    allowed = GAINS if source.table is None or source.matrix is not None else POINTWISE
    while folded < len(edits) and edits[folded].filter in allowed and edits[folded].mask is None:
        folded += 1
    if source.matrix is None and source.table is None:
        return (None, _NO_MATRIX, scale), edits
    first = compile_edits(edits[:folded])
    if source.matrix is None:
        assert source.table is not None
        table = np.maximum(source.table, 0.0) * np.float32(scale)
        edit_runs(table[0], table[1], table[2], first.codes, first.table, 0, 1, table.shape[1])
        return (table, _NO_MATRIX, 1.0), edits[folded:]
    gains = np.full(3, scale)
    for row in first.table:
        gains *= row[:3]
    return (source.table, _matrix(source.matrix * gains[:, None]), 1.0), edits[folded:]
