"""Full-size photographs from file to file: a saved recipe applied to the codes, a band of rows at a time.

:func:`develop_file` is ``read_linear``, ``Recipe.apply_photo`` and ``write_display`` in one, with the same result to
one code of 16 bits, without ever holding the photograph as floats: an uncompressed TIFF is read, developed and written
band by band on all cores, and takes no more memory than a few of those. It needs no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from exposure_gym._decode import Decoded, Metadata
from exposure_gym._encode import Codes, tiff_header
from exposure_gym._icc import ProfileError, is_srgb, light_tables, to_linear_srgb
from exposure_gym._output_profiles import PROFILES, Profile, icc, output_of
from exposure_gym._raw import Development, Highlights, WhiteBalance
from exposure_gym._raw import develop as develop_raw
from exposure_gym._rows import Rows, open_rows
from exposure_gym.color import FROM_SRGB, Space, srgb_encode
from exposure_gym.fused import Pass, Source, covers, in_bands, peak
from exposure_gym.photo import (
    PhotoError,
    Reading,
    encode,
    output_kind,
    read_input,
    refuse_raw,
    writing,
)

if TYPE_CHECKING:
    from exposure_gym.recipe import Edit, Recipe

__all__ = ["PROFILES", "Profile", "develop_file"]

_BLACK = 1e-37
"""A photograph whose largest component is less stays as it is: floats cannot hold what would brighten it."""


def develop_file(
    source: str | os.PathLike[str],
    recipe: Recipe,
    target: str | os.PathLike[str],
    *,
    brightness: Literal["as-is", "raw-like"] = "as-is",
    profile: Profile = "srgb",
    bits: Literal[8, 16] | None = None,
    dither: bool = False,
    metadata: Literal["keep", "strip"] = "keep",
    quality: int = 95,
    white_balance: WhiteBalance = "daylight",
    highlights: Highlights = "clip",
    max_megapixels: float = 200.0,
    threads: int | None = None,
) -> tuple[int, int]:
    """Apply a recipe to a photograph's file and write the finished photograph.

    The photograph is read as the recipe wants it: linear light in its working space, or display values if it was made
    for those (``Recipe.input_domain``). The result appears whole or not at all; it may take the place of the source.
    May be called from several threads at a time.

    Args:
        source: a TIFF, JPEG, PNG or RAW file; its content decides, not its extension.
        recipe: the edit.
        target: the extension decides: ``.jpg``, ``.jpeg``, ``.png``, ``.tif``, ``.tiff``.
        brightness: as for :func:`exposure_gym.photo.read_linear`; goes with linear light only.
        profile: colour space of the result, which is embedded: ``"srgb"``, ``"display-p3"``, ``"adobe-rgb"`` or
            ``"prophoto"``. Colours that it cannot show are clipped channel by channel, after a colorimetric conversion.
        bits: 8, or 16 for PNG and TIFF; by default 16 for TIFF and 8 for the others.
        dither: 8-bit results only: spread the rounding evenly over neighbouring pixels, so that smooth gradients show
            no steps. The pattern depends on a pixel's place alone.
        metadata: keep EXIF, XMP, GPS and resolution, or strip them all.
        quality: of a JPEG, 1 to 100.
        white_balance: RAW only, as for :func:`exposure_gym.photo.read_linear`, and so are the next two.
        highlights: see there.
        max_megapixels: larger photographs are refused from their header, before they are decoded.
        threads: that work on this photograph; None: one for each core.

    Returns:
        Height and width of the finished photograph.

    Raises:
        PhotoError: the file cannot be read or written, one line; nothing is left half-written.
        ValueError: an unknown option, one line.
    """
    for name, value, known in (
        ("brightness", brightness, ("as-is", "raw-like")),
        ("profile", profile, PROFILES),
        ("metadata", metadata, ("keep", "strip")),
        ("white_balance", white_balance, get_args(WhiteBalance)),
        ("highlights", highlights, get_args(Highlights)),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r}; use {', '.join(map(repr, known[:-1]))} or {known[-1]!r}")
    if recipe.input_domain == "display" and (brightness, recipe.working_space) != ("as-is", "srgb"):
        raise ValueError("a recipe that starts from display values goes with brightness='as-is' and working space srgb")
    path, to = Path(source), Path(target)
    kind, bits = output_kind(to, bits, quality)
    how = Development(recipe.working_space, white_balance, highlights, False)
    embedded = None if profile == "srgb" else icc(profile)
    output = output_of(profile, recipe.working_space, bits)
    with _open(path, recipe, brightness, how, max_megapixels, threads) as photo:
        develop = Pass(photo.edits, photo.size, photo.source, output, scale=photo.scale, dither=dither)
        kept = photo.rows.metadata if metadata == "keep" else Metadata()
        try:
            with writing(to) as temporary:
                if kind in (".tif", ".tiff"):
                    header = tiff_header(*photo.size, bits, kept, embedded)
                    _write_tiff(temporary, header, photo, develop, threads)
                else:
                    codes = _in_memory(photo, develop, threads)
                    temporary.write_bytes(encode(kind, codes, kept, quality, embedded))
        except FloatingPointError as error:
            raise PhotoError(to, str(error), "check the edit that made them") from None
        except OverflowError as error:
            raise PhotoError(to, str(error), "write a PNG or make it smaller") from None
    return photo.size


class _Photo:
    """A photograph's rows, with what they mean to the edits that wait for them."""

    scale = 1.0

    def __init__(self, path: Path, rows: Rows, edits: Sequence[Edit], space: Space, display: bool) -> None:
        self.path, self.rows, self.edits, self.display = path, rows, edits, display
        self.size = rows.height, rows.width
        with self._profile_errors():
            self.source = _source(rows, space, display)

    def bands(self, work: Callable[[int, NDArray[Any]], None], threads: int | None) -> None:
        """Call ``work(top, pixels)`` with all rows as :attr:`source` describes them, from several threads."""
        in_bands(lambda top, end: work(top, self._read(top, end)), *self.size, step=self.rows.step, threads=threads)

    def darken(self, threads: int | None) -> None:
        """Scale the largest component to 1/2, as ``read_linear`` does for ``"raw-like"``."""
        peaks: list[float] = []
        self.bands(lambda _, pixels: peaks.append(peak(pixels, self.source)), threads)
        if max(peaks) > _BLACK:
            self.scale = 0.5 / max(peaks)

    def _read(self, top: int, bottom: int) -> NDArray[Any]:
        pixels = self.rows.read(top, bottom)
        if self.source.table is not None or self.rows.developed:
            return pixels
        with self._profile_errors():
            light = to_linear_srgb(pixels, self.rows.profile)
        return srgb_encode(light.clip(0.0, 1.0)) if self.display else light

    @contextmanager
    def _profile_errors(self) -> Iterator[None]:
        try:
            yield
        except ProfileError as error:
            raise PhotoError(self.path, str(error), "save it again with an sRGB profile") from None


@contextmanager
def _open(
    path: Path,
    recipe: Recipe,
    brightness: Literal["as-is", "raw-like"],
    how: Development,
    max_megapixels: float,
    threads: int | None,
) -> Iterator[_Photo]:
    display = recipe.input_domain == "display"
    if not covers(recipe.edits):  # a filter without a kernel: the whole photograph as floats, edited by NumPy
        kind: Reading = "display" if display else "raw-like" if brightness == "raw-like" else "linear"
        floats = read_input(
            path,
            kind,
            space=how.space,
            white_balance=how.white_balance,
            highlights=how.highlights,
            max_megapixels=max_megapixels,
        )
        edited = Decoded(recipe.apply_photo(floats.pixels, out=floats.pixels), b"", floats.metadata, developed=True)
        yield _Photo(path, Rows(edited), (), how.space, display)
        return
    raw = refuse_raw if display else partial(develop_raw, how=how, max_megapixels=max_megapixels)
    with open_rows(path, max_megapixels, raw) as rows:
        photo = _Photo(path, rows, recipe.edits, how.space, display)
        if brightness == "raw-like":
            photo.darken(threads)
        yield photo


def _source(rows: Rows, space: Space, display: bool) -> Source:
    """What a file's pixels mean: the readings of :mod:`exposure_gym.photo`, as tables where there are codes."""
    if rows.developed:
        return Source(None, None)
    levels = 0 if rows.dtype.kind == "f" else int(np.iinfo(rows.dtype).max) + 1
    if display:
        if not levels or (rows.profile and not is_srgb(rows.profile)):
            return Source(None, None)
        return Source(np.tile(np.arange(levels, dtype=np.float32) / np.float32(levels - 1), (3, 1)), None)
    to_space = None if space == "srgb" else FROM_SRGB[space]
    tables = light_tables(rows.profile, levels, rows.grey) if levels else None
    if tables is None:  # floats, or a profile that is more than curves and a matrix
        return Source(None, to_space)
    curves, matrix = tables
    if rows.grey and matrix is None:  # grey is the same in all primaries
        return Source(curves, None)
    if matrix is None or to_space is None:
        return Source(curves, to_space if matrix is None else matrix)
    return Source(curves, to_space @ matrix)


def _write_tiff(path: Path, header: bytes, photo: _Photo, develop: Pass, threads: int | None) -> None:
    """Every band goes to its place in the file as soon as it is finished."""
    with path.open("r+b") as file:
        _write_at(file.fileno(), 0, memoryview(header))

        def finish(top: int, pixels: NDArray[Any]) -> None:
            codes = np.empty((len(pixels), photo.size[1], 3), f"<u{develop.dtype.itemsize}")
            develop(pixels, top, codes)
            _write_at(file.fileno(), len(header) + top * codes.strides[0], codes.reshape(-1).view(np.uint8).data)

        photo.bands(finish, threads)


def _write_at(descriptor: int, offset: int, data: memoryview) -> None:
    while data:  # a disk may take a part of it before it says that it is full
        written = os.pwrite(descriptor, data, offset)
        offset, data = offset + written, data[written:]


def _in_memory(photo: _Photo, develop: Pass, threads: int | None) -> Codes:
    codes: Codes = np.empty((*photo.size, 3), develop.dtype)
    photo.bands(lambda top, pixels: develop(pixels, top, codes[top : top + len(pixels)]), threads)
    return codes
