"""Photographs made small, for deciding about them: the same light as at full size, at a fraction of the cost.

A JPEG is decoded at a fraction of its size, a RAW file at half of it; of other files the rows are averaged as they
come, so that even the largest photograph is never there as a whole.
"""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np

from exposure_gym._decode import Decoded
from exposure_gym._raw import Development, Highlights, WhiteBalance, develop
from exposure_gym._rows import Rows, open_rows
from exposure_gym.photo import Image3, Reading, Space, display_of, light_of, refuse_raw

SHORT_EDGE = 448
"""Pixels that the short edge of a preview keeps, if it had as many: enough for an agent, and for a figure."""

BAND = 1 << 18
"""Pixels that are averaged at a time."""

BRIGHT = 0.9
"""A reduced picture whose largest value reaches this tells what the whole one's is: between it and 1."""


class Preview(NamedTuple):
    """A small photograph."""

    pixels: Image3
    """``(H, W, 3)``, as :func:`exposure_gym.photo.read_input` reads it."""
    darkened: float
    """Stops that the reading took from its brightness: above 0 for ``"raw-like"`` photographs with a white in them."""


def read_preview(
    path: str | os.PathLike[str],
    reading: Reading = "linear",
    *,
    space: Space = "srgb",
    white_balance: WhiteBalance = "daylight",
    highlights: Highlights = "clip",
    max_megapixels: float = 200.0,
    short_edge: int = SHORT_EDGE,
) -> Preview:
    """Read a photograph small, otherwise as :func:`exposure_gym.photo.read_input` does.

    A reduced JPEG holds averages of display values instead of light, which makes fine bright detail a little darker.

    Args:
        path: of the photograph.
        reading: as there, and so are the others.
        space: see there.
        white_balance: see there.
        highlights: see there.
        max_megapixels: see there.
        short_edge: pixels that the short edge keeps, if it has as many; it may keep up to twice as many.

    Raises:
        PhotoError: the file is missing, damaged, too large or of an unknown kind; one line.
    """
    how = Development(space, white_balance, highlights, half_size=reading == "linear")
    raw = refuse_raw if reading == "display" else partial(develop, how=how, max_megapixels=max_megapixels)

    def read(reduced_to: int | None) -> tuple[Image3, float]:
        with open_rows(Path(path), max_megapixels, raw, reduced_to) as rows:
            return _shrink(Path(path), rows, space, reading == "display", short_edge)

    pixels, peak = read(short_edge)
    if reading != "raw-like":
        return Preview(pixels, 0.0)
    if peak < BRIGHT:  # averaged away, perhaps, in a reduced JPEG
        pixels, peak = read(None)
    if peak <= 0.0:
        return Preview(pixels, 0.0)
    return Preview(pixels * np.float32(0.5) / np.float32(peak), math.log2(2.0 * peak))


def _shrink(path: Path, rows: Rows, space: Space, display: bool, short_edge: int) -> tuple[Image3, float]:
    """Average blocks of pixels; the largest of all values before that."""
    factor = max(1, min(rows.height, rows.width) // short_edge)
    height, width = rows.height // factor, rows.width // factor
    small, peak = np.empty((height, width, 3), np.float32), 0.0
    unit = math.lcm(factor, rows.step) if rows.step * factor * rows.width <= BAND else factor
    step = max(1, BAND // (rows.width * unit)) * unit
    for top in range(0, rows.height, step):
        bottom = min(top + step, rows.height)
        part = Decoded(rows.read(top, bottom), rows.profile, rows.metadata, rows.developed)
        light = display_of(path, part) if display else light_of(path, part, space)
        peak = max(peak, float(light.max()))
        first, last = top // factor, min(bottom // factor, height)
        if last > first:  # what is left at the edges is less than a block
            blocks = light[: (last - first) * factor, : width * factor]
            small[first:last] = cv2.resize(blocks, (width, last - first), interpolation=cv2.INTER_AREA)
    return cast(Image3, small), peak
