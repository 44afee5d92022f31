"""What a person sees: a photograph small and in memory, edited in one pass over its pixels, and its histogram."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exposure_gym._output_profiles import output_of
from exposure_gym._rows import open_rows
from exposure_gym.cli.outputs import kind_of
from exposure_gym.color import TO_SRGB, srgb_encode
from exposure_gym.fused import Pass, Source, covers, in_bands
from exposure_gym.photo import (
    HEIF_EXTENSIONS,
    RAW_EXTENSIONS,
    Image3,
    Reading,
    Space,
    reading,
    refuse_raw,
    to_square,
)
from exposure_gym.preview import read_preview
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.viz import Rgb8, shrink, to_rgb8

LONG_EDGE, THUMB_EDGE, WAY_EDGE = 1280, 256, 480
"""Pixels of the longer side: of the picture that is worked on, of a small one, of one among several."""

MAX_MEGAPIXELS = 200.0
"""Larger photographs are refused from their header."""

QUALITY = 85
"""Of the JPEGs that the page shows."""

BINS = 64
"""Of a histogram."""

_SHORT_EDGE = 853  # the shorter side of a 3:2 picture of LONG_EDGE

VIEW = 64
"""Side of the square that the game is played on."""


class Print(NamedTuple):
    """A picture with what the page shows beside it."""

    jpeg: bytes
    histogram: dict[str, list[float]]
    """Of ``r``, ``g`` and ``b``: the share of pixels in each of 64 bins."""
    clipped: dict[str, float]
    """The share of pixels with a channel that is 0 (``shadows``) or 255 (``highlights``)."""

    @property
    def data_uri(self) -> str:
        """The picture as an address that holds it."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


class Proof:
    """A photograph made small: linear light (or what the reading gives) in memory, and the edits' effect on it.

    The picture before the edit that is worked on is kept, so that a movement of a slider costs one pass.

    :param pixels: ``(H, W, 3)`` float32 in the working space; :param space: its primaries.
    :param display: they are display values, not light.
    """

    def __init__(self, pixels: Image3, space: Space = "srgb", display: bool = False) -> None:
        self.pixels = np.ascontiguousarray(pixels)
        self.space, self.display = space, display
        self._lock = threading.Lock()
        self._kept: tuple[tuple[Edit, ...], Image3] = ((), self.pixels)

    @classmethod
    def of_file(cls, path: Path, how: Reading, space: Space) -> Proof:
        """Read a photograph.

        :raises exposure_gym.photo.PhotoError: it cannot be read; one line.
        """
        preview = read_preview(path, how, space=space, max_megapixels=MAX_MEGAPIXELS, short_edge=_SHORT_EDGE)
        return cls(np.asarray(shrink(preview.pixels, LONG_EDGE), np.float32), space, how == "display")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def view(self) -> Image3:
        """What the game is played on, ``(64, 64, 3)``."""
        return to_square(self.pixels, VIEW)

    def before(self) -> Rgb8:
        """The photograph as it is, as a screen shows light."""
        light = self.pixels
        if self.space != "srgb":
            light = np.asarray(cv2.transform(light, TO_SRGB[self.space]), np.float32)
        return to_rgb8(light if self.display else srgb_encode(light.clip(0.0, 1.0)))

    def edited(self, edits: Sequence[Edit], keep: int = 0) -> Rgb8:
        """The photograph after some edits, in codes ``(H, W, 3)``.

        :param keep: the picture after this many of them is kept for the next call.
        """
        start, rest = self._after(tuple(edits[:keep])), edits[keep:]
        target = output_of("srgb", self.space, 8)
        if not covers(rest):
            start, rest = Recipe(tuple(rest)).apply_photo(start), ()
        develop = Pass(rest, self.size, Source(None, None), target)
        codes = np.empty(start.shape, np.uint8)
        in_bands(lambda top, end: develop(start[top:end], top, codes[top:end]), *self.size)
        return codes

    def _after(self, edits: tuple[Edit, ...]) -> Image3:
        with self._lock:
            known, pixels = self._kept
            if known != edits:
                start = pixels if edits[: len(known)] == known else self.pixels
                rest = edits[len(known) :] if start is pixels else edits
                pixels = Recipe(rest).apply_photo(start) if rest else self.pixels
                self._kept = edits, pixels
            return pixels


def jpeg(codes: Rgb8) -> bytes:
    """``(H, W, 3)`` as a JPEG file."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(codes, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()


def small(codes: Rgb8, long_edge: int) -> Rgb8:
    """A picture no larger than this."""
    return np.asarray(shrink(codes, long_edge), np.uint8)


def printed(codes: Rgb8) -> Print:
    """A picture as a JPEG, with its histogram."""
    return Print(jpeg(codes), *histogram(codes))


def histogram(codes: Rgb8) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The histogram and what is clipped, of every fourth pixel of a large picture."""
    sample = np.ascontiguousarray(codes[::2, ::2]) if codes.size > 1_000_000 else codes
    count = sample.shape[0] * sample.shape[1]
    bins = {
        name: (cv2.calcHist([sample], [i], None, [BINS], [0, 256]).ravel() / count).round(6).tolist()
        for i, name in enumerate("rgb")
    }
    red, green, blue = (sample[:, :, i] for i in range(3))
    dark = (red == 0) | (green == 0) | (blue == 0)
    bright = (red == 255) | (green == 255) | (blue == 255)
    return bins, {"shadows": _share(dark), "highlights": _share(bright)}


def _share(where: NDArray[np.bool_]) -> float:
    return round(int(np.count_nonzero(where)) / where.size, 6)


def full_size(path: Path, proof: Proof) -> tuple[int, int] | None:
    """Height and width of a photograph's file, upright, where the header tells: not of RAW, HEIC and AVIF files."""
    if path.suffix.lower() in RAW_EXTENSIONS + HEIF_EXTENSIONS:
        return None
    try:
        if kind_of(path).format == "tif":
            with open_rows(path, MAX_MEGAPIXELS, refuse_raw) as rows:
                return rows.height, rows.width
        with reading(path), Image.open(path, formats=("JPEG", "PNG")) as image:
            width, height = image.size
    except ValueError:
        return None
    upright = (height >= width) == (proof.size[0] >= proof.size[1])
    return (height, width) if upright else (width, height)


def as_json(picture: Print) -> dict[str, Any]:
    """What the page takes."""
    return {"image": picture.data_uri, "histogram": picture.histogram, "clipped": picture.clipped}
