"""Rows of a photograph's file, some at a time: what fits no memory, or should not have to, is never there as a whole.

Rows of an uncompressed TIFF are read from where they lie. Strips and tiles of any other TIFF are decoded one by one:
each is wrapped into a small TIFF of its own, so that libtiff with all its checks decodes it, as it does the whole file
in :mod:`exposure_gym._decode`. Other formats are decoded whole, for their libraries know no other way.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from exposure_gym._decode import (
    Decoded,
    Develop,
    TiffHead,
    Unreadable,
    decode,
    tiff_codes,
    tiff_head,
    tiff_pixels,
    upright_view,
)
from exposure_gym.photo import reading, refuse_no_file

Pixels = NDArray[Any]

CHUNK_PIXELS = 1 << 22
"""A TIFF is decoded whole if a strip, or a row of tiles, has more than this: little would be gained."""


class Rows:
    """A photograph that is in memory."""

    step = 1
    """Reading is quickest from a multiple of this to another."""

    def __init__(self, decoded: Decoded) -> None:
        self.pixels, self.profile, self.metadata = decoded.pixels, decoded.profile, decoded.metadata
        self.developed = decoded.developed
        self.height, self.width = self.pixels.shape[:2]
        self.dtype, self.grey = self.pixels.dtype, self.pixels.ndim == 2

    def read(self, top: int, bottom: int) -> Pixels:
        """Rows from ``top`` up to ``bottom``, as :class:`exposure_gym._decode.Decoded` has them, from any thread."""
        return self.pixels[top:bottom]


class _TiffRows(Rows):
    """A TIFF that stays on the disk."""

    def __init__(self, path: Path, file: BinaryIO, head: TiffHead) -> None:
        self.path, self.file, self.page, self.orientation = path, file, head.page, head.orientation
        self.profile, self.metadata, self.developed = head.profile, head.metadata, False
        self.height, self.width = self.page.imagelength, self.page.imagewidth
        sample = tiff_codes(self.page, self.stored(0, 1))
        self.dtype, self.grey = sample.dtype, sample.ndim == 2

    def read(self, top: int, bottom: int) -> Pixels:
        if self.orientation in (3, 4):  # upside down
            top, bottom = self.height - bottom, self.height - top
        with reading(self.path):
            return upright_view(tiff_codes(self.page, self.stored(top, bottom)), self.orientation)

    def stored(self, top: int, bottom: int) -> Pixels:
        """``(bottom - top, W, samples)`` as they are stored."""
        raise NotImplementedError

    def bytes_at(self, offset: int, count: int) -> bytearray:
        """Some bytes of the file; the file's position does not matter."""
        data = bytearray(count)
        if os.preadv(self.file.fileno(), [data], offset) != count:
            raise Unreadable("is cut short")
        return data


class _PlainRows(_TiffRows):
    """An uncompressed TIFF whose rows lie there as whole bytes, pixel after pixel."""

    def stored(self, top: int, bottom: int) -> Pixels:
        page = self.page
        samples, per_strip = page.samplesperpixel, min(page.rowsperstrip, page.imagelength)
        stored = np.empty((bottom - top, self.width, samples), np.dtype(page.dtype).newbyteorder(page.parent.byteorder))
        row = stored.strides[0]
        into = stored.reshape(-1).view(np.uint8).data
        at = top
        while at < bottom:  # strip after strip
            strip, skip = divmod(at, per_strip)
            rows = min(per_strip - skip, bottom - at)
            if (skip + rows) * row > page.databytecounts[strip]:
                raise Unreadable("is cut short or damaged")
            part = into[(at - top) * row : (at - top + rows) * row]
            if os.preadv(self.file.fileno(), [part], page.dataoffsets[strip] + skip * row) != len(part):
                raise Unreadable("is cut short")
            at += rows
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)


class _ChunkRows(_TiffRows):
    """A TIFF of strips or tiles that have to be decoded."""

    def __init__(self, path: Path, file: BinaryIO, head: TiffHead) -> None:
        page = head.page
        self.chunk = _chunk(page)
        self.step = self.chunk[0]
        super().__init__(path, file, head)

    def stored(self, top: int, bottom: int) -> Pixels:
        page, (chunk_height, chunk_width) = self.page, self.chunk
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        down, across = -(-page.imagelength // chunk_height), -(-page.imagewidth // chunk_width)
        stored: Pixels | None = None
        for plane in range(planes):
            for y in range(top // chunk_height, -(-bottom // chunk_height)):
                first = y * chunk_height
                used = slice(max(top - first, 0), bottom - first)
                for x in range(across):
                    left = x * chunk_width
                    pixels = self._decode((plane * down + y) * across + x, page.imagelength - first)
                    if stored is None:
                        stored = np.empty((bottom - top, self.width, page.samplesperpixel), pixels.dtype)
                    samples = slice(plane, plane + 1) if planes > 1 else slice(None)
                    part = pixels[used, : self.width - left]
                    place = max(first - top, 0)
                    stored[place : place + len(part), left : left + part.shape[1], samples] = part
        assert stored is not None
        return stored

    def _decode(self, index: int, rows_left: int) -> Pixels:
        page, (height, width) = self.page, self.chunk
        if not page.is_tiled:
            height = min(height, rows_left)  # the last strip may be shorter
        samples = 1 if page.planarconfig == 2 else page.samplesperpixel
        data = self.bytes_at(page.dataoffsets[index], page.databytecounts[index])
        file = _small_tiff(page, height, width, samples, data)
        pixels: Pixels = imagecodecs.tiff_decode(file)
        return pixels.reshape(height, width, samples)


def _chunk(page: tifffile.TiffPage) -> tuple[int, int]:
    """Height and width of a strip or tile."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _small_tiff(page: tifffile.TiffPage, height: int, width: int, samples: int, data: bytearray) -> bytes:
    """A TIFF that has one strip or tile of another, encoded as it was, for its only strip."""
    order = page.parent.byteorder
    short, long = 3, 4
    bits = struct.pack(f"{order}{samples}H", *[page.bitspersample] * samples)
    # What takes more than four bytes stands behind the directory.
    entries = {
        256: (long, 1, width),
        257: (long, 1, height),
        258: (short, samples, page.bitspersample if samples < 3 else None),
        259: (short, 1, int(page.compression)),
        262: (short, 1, 1),  # it is not asked for colours, only for samples
        266: (short, 1, page.fillorder),
        273: (long, 1, 0),
        277: (short, 1, samples),
        278: (long, 1, height),
        279: (long, 1, len(data)),
        284: (short, 1, 1),
        317: (short, 1, page.predictor),
        339: (short, 1, page.sampleformat),
    }
    behind = 8 + 2 + 12 * len(entries) + 4
    start = behind + len(bits)
    directory = struct.pack(f"{order}H", len(entries))
    for tag, (kind, count, value) in entries.items():
        if tag == 258 and samples == 2:
            content = bits
        elif value is None or tag == 273:
            content = struct.pack(f"{order}I", behind if value is None else start)
        else:
            content = struct.pack(f"{order}{'H' if kind == short else 'I'}", value)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + content.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return b"".join((mark, struct.pack(f"{order}I", 8), directory, bytes(4), bits, data))


@contextmanager
def open_rows(path: Path, max_megapixels: float, develop: Develop, short_edge: int | None = None) -> Iterator[Rows]:
    """Open a photograph of any kind; only the head is read where that is possible.

    Args:
        path: of the photograph.
        max_megapixels: larger ones are refused.
        develop: for RAW files.
        short_edge: as for :func:`exposure_gym._decode.decode`: a JPEG may come out smaller.

    Raises:
        PhotoError: it cannot be read; ``Rows.read`` raises it too.
    """
    with ExitStack() as stack:
        with reading(path):
            refuse_no_file(path)
            file = stack.enter_context(path.open("rb"))
            head = tiff_head(file, path.suffix, max_megapixels)
            if head is None:
                rows = Rows(decode(file, path.suffix, max_megapixels, develop, short_edge))
            else:
                rows = _tiff_rows(path, file, head)
        yield rows


def _tiff_rows(path: Path, file: BinaryIO, head: TiffHead) -> Rows:
    page = head.page
    if head.orientation < 5 or head.orientation > 8:  # rows are rows
        plain = page.compression == 1 and not page.is_tiled and page.fillorder == 1
        if plain and page.bitspersample in (8, 16, 32, 64) and page.planarconfig == 1:
            return _PlainRows(path, file, head)
        if _chunk(page)[0] * page.imagewidth <= CHUNK_PIXELS:
            return _ChunkRows(path, file, head)
    pixels = upright_view(tiff_pixels(page, file), head.orientation)
    return Rows(Decoded(pixels, head.profile, head.metadata))
