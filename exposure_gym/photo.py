"""Read photographs, TIFF, JPEG, PNG and camera RAW, and write them, colour-managed.

There are two readings, with two types, because the game needs both and must never confuse them.
:func:`read_linear` gives a :class:`LinearPhoto`, proportional to the light of the scene: what an
edit starts from. :func:`read_display` gives a :class:`DisplayPhoto`, sRGB codes / 255: what a
finished photograph stores, what an edit ends in, and all that :func:`write_display` writes.

The embedded ICC profile says what the codes mean, RGB or grey, matrix or LUT. Without one, integers
are sRGB and floats are linear light in sRGB primaries. An alpha channel is dropped, not blended;
the EXIF orientation is baked in. Of a file with several pictures the first is read.

RAW files of all cameras that LibRaw knows are read where rawpy is installed, the ``raw`` extra. They
hold light and no display values: :func:`read_linear` alone reads them.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn, cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from exposure_gym._decode import HEIF_EXTENSIONS, RAW_EXTENSIONS, Decoded, Develop, Metadata, Unreadable, decode
from exposure_gym._encode import Codes, encode_jpeg, encode_png, encode_tiff
from exposure_gym._icc import ProfileError, is_srgb, to_linear_srgb
from exposure_gym._raw import Development, Highlights, WhiteBalance, develop
from exposure_gym.color import FROM_SRGB, SPACE_NAMES, TO_SRGB, Space, srgb_decode, srgb_encode
from exposure_gym.files import replacing

__all__ = [
    "EXTENSIONS",
    "HEIF_EXTENSIONS",
    "RAW_EXTENSIONS",
    "DisplayPhoto",
    "LinearPhoto",
    "Metadata",
    "PhotoError",
    "Reading",
    "Space",
    "list_photos",
    "read_display",
    "read_input",
    "read_linear",
    "to_square",
    "write_display",
]

EXTENSIONS = (".jpeg", ".jpg", ".png", ".tif", ".tiff")
"""The extensions, in lower case, that :func:`write_display` knows."""
KNOWN_EXTENSIONS = EXTENSIONS + RAW_EXTENSIONS + HEIF_EXTENSIONS
"""Those of the files that :func:`list_photos` looks for."""

_JPEG_EDGE = 65_500  # libjpeg's limit

ROWS = 64
"""Rows of a photograph that are worked on at a time: temporaries then stay in the cache."""

Reading = Literal["linear", "raw-like", "display"]
"""How the photographs that a model starts from are read: as they are, darkened, or not linearised (`read_input`)."""
Image3 = NDArray[np.float32]
_NO_METADATA = Metadata()


class PhotoError(ValueError):
    """A photograph cannot be read or written; one line, ``<file>: <reason>; <remedy>``."""

    def __init__(self, path: str | os.PathLike[str], reason: str, remedy: str) -> None:
        super().__init__(os.fspath(path), reason, remedy)
        self.path, self.reason, self.remedy = Path(path), reason, remedy

    def __str__(self) -> str:
        line = " ".join(f"{self.path}: {self.reason}; {self.remedy}".split())
        return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


@dataclass(frozen=True, eq=False)
class LinearPhoto:
    """A photograph in linear light.

    Attributes:
        pixels: ``(H, W, 3)`` float32, at least 0; white is 1.0, which float files may exceed.
        space: the primaries, ``"srgb"``, ``"rec2020"`` (both D65) or ``"prophoto"`` (D50).
        metadata: EXIF, XMP and resolution of the file.
        path: the file it was read from.
    """

    pixels: Image3
    space: Space = "srgb"
    metadata: Metadata = _NO_METADATA
    path: Path | None = None


@dataclass(frozen=True, eq=False)
class DisplayPhoto:
    """A finished photograph in display values: sRGB codes / 255.

    Attributes:
        pixels: ``(H, W, 3)`` float32 in [0, 1].
        space: the primaries. ``"srgb"``, or the working space of an edit that was made in another
            one, whose values carry the sRGB curve all the same.
        metadata: EXIF, XMP and resolution, which :func:`write_display` keeps.
        path: the file it was read from, if it was.
    """

    pixels: Image3
    space: Space = "srgb"
    metadata: Metadata = _NO_METADATA
    path: Path | None = None


def read_linear(
    path: str | os.PathLike[str],
    *,
    brightness: Literal["as-is", "raw-like"] = "as-is",
    space: Space = "srgb",
    white_balance: WhiteBalance = "daylight",
    highlights: Highlights = "clip",
    half_size: bool = False,
    max_megapixels: float = 200.0,
) -> LinearPhoto:
    """Read a photograph into linear light.

    Args:
        path: a TIFF, JPEG, PNG or RAW file; its content decides, not its extension.
        brightness: ``"as-is"``, or ``"raw-like"``, which divides by twice the largest value, as the
            published code does to give finished photographs the darkness of a RAW; black stays
            black.
        space: primaries of the result. Negative components, of colours outside them, become 0.
        white_balance: RAW only: LibRaw's ``"daylight"``, light of 6500 K by the camera's colour matrix,
            which the models here learned from; or ``"camera"``, what the camera chose, and daylight
            where the file does not tell.
        highlights: RAW only: ``"clip"`` cuts all channels where the first one clips, at 1.0;
            ``"blend"`` and ``"reconstruct"`` guess from the channels that clip later, and may exceed it.
        half_size: RAW only: make one pixel of every 2 × 2 of the sensor instead of interpolating
            colours: much faster, for previews and photographs that are made smaller anyway.
        max_megapixels: larger photographs are refused from their header, before they are decoded.

    Raises:
        PhotoError: the file is missing, damaged, too large or of an unknown kind; one line.
    """
    if brightness not in ("as-is", "raw-like"):
        raise ValueError(f"brightness={brightness!r}; use 'as-is' or 'raw-like'")
    if space not in SPACE_NAMES:
        raise ValueError(f"space={space!r}; use 'srgb', 'prophoto' or 'rec2020'")
    if white_balance not in get_args(WhiteBalance):
        raise ValueError(f"white_balance={white_balance!r}; use 'daylight' or 'camera'")
    if highlights not in get_args(Highlights):
        raise ValueError(f"highlights={highlights!r}; use 'clip', 'blend' or 'reconstruct'")
    path = Path(path)
    how = Development(space, white_balance, highlights, half_size)
    decoded = _decode_file(path, max_megapixels, partial(develop, how=how, max_megapixels=max_megapixels))
    light = light_of(path, decoded, space)
    if brightness == "raw-like":
        peak = float(light.max())
        if peak > 0.0:
            light *= 0.5
            light /= peak
    return LinearPhoto(light, space, decoded.metadata, path)


def read_display(path: str | os.PathLike[str], *, max_megapixels: float = 200.0) -> DisplayPhoto:
    """Read a finished photograph into display values, sRGB codes / 255, never linearised.

    Files in other colour spaces, linear floats among them, are converted to sRGB and clipped to it.

    Args:
        path: a TIFF, JPEG or PNG file; its content decides, not its extension.
        max_megapixels: larger photographs are refused from their header, before they are decoded.

    Raises:
        PhotoError: the file is missing, damaged, too large, a RAW file or of an unknown kind; one line.
    """
    path = Path(path)
    decoded = _decode_file(path, max_megapixels, refuse_raw)
    return DisplayPhoto(display_of(path, decoded), "srgb", decoded.metadata, path)


def read_input(
    path: str | os.PathLike[str],
    reading: Reading = "linear",
    *,
    space: Space = "srgb",
    white_balance: WhiteBalance = "daylight",
    highlights: Highlights = "clip",
    half_size: bool = False,
    max_megapixels: float = 200.0,
) -> LinearPhoto | DisplayPhoto:
    """Read a photograph to edit the way a model was taught to start, see ``ExposureAgent.reading``.

    Args:
        path: of the photograph.
        reading: ``"linear"`` is :func:`read_linear`, and ``"raw-like"`` the same with that brightness;
            ``"display"`` is :func:`read_display`: the edit starts from display values, as in the
            published Sintel example.
        space: as for :func:`read_linear`; display values are always ``"srgb"``.
        white_balance: as for :func:`read_linear`, and so are the next two.
        highlights: see there.
        half_size: see there.
        max_megapixels: larger photographs are refused from their header, before they are decoded.

    Raises:
        PhotoError: the file is missing, damaged, too large or of an unknown kind; one line.
    """
    if reading not in get_args(Reading):
        raise ValueError(f"reading={reading!r}; use 'linear', 'raw-like' or 'display'")
    if reading == "display":
        if space != "srgb":
            raise ValueError(f"display values are sRGB: space={space!r} is for linear light")
        return read_display(path, max_megapixels=max_megapixels)
    return read_linear(
        path,
        brightness="raw-like" if reading == "raw-like" else "as-is",
        space=space,
        white_balance=white_balance,
        highlights=highlights,
        half_size=half_size,
        max_megapixels=max_megapixels,
    )


def write_display(
    path: str | os.PathLike[str],
    photo: DisplayPhoto,
    *,
    bits: Literal[8, 16] | None = None,
    quality: int = 95,
) -> None:
    """Write a finished photograph, in sRGB with its profile, keeping EXIF, XMP and resolution.

    The file appears whole or not at all: it is written beside, flushed to the disk, then renamed.

    Args:
        path: the extension decides: ``.jpg``, ``.jpeg``, ``.png``, ``.tif``, ``.tiff``.
        photo: values outside [0, 1] are clipped; one in other primaries is converted to sRGB.
        bits: 8, or 16 for PNG and TIFF; by default 16 for TIFF and 8 for the others.
        quality: of a JPEG, 1 to 100. It loses EXIF or XMP of over 64 kB, its format's limit.

    Raises:
        PhotoError: the file cannot be written, or not in this format; no partial file is left.
        TypeError: ``photo`` is a :class:`LinearPhoto`, which is not finished.
    """
    if not isinstance(photo, DisplayPhoto):
        raise TypeError(f"write_display writes a DisplayPhoto, not a {type(photo).__name__}")
    path = Path(path)
    kind, bits = output_kind(path, bits, quality)
    codes = _codes(path, photo, bits)
    try:
        with writing(path) as temporary:
            temporary.write_bytes(encode(kind, codes, photo.metadata, quality))
    except OverflowError as error:
        raise PhotoError(path, str(error), "write a PNG or make it smaller") from None


def output_kind(path: Path, bits: Literal[8, 16] | None, quality: int) -> tuple[str, Literal[8, 16]]:
    """The extension of a file to be written, in lower case, and its bits; errors as :func:`write_display` has them."""
    if not 1 <= quality <= 100:
        raise ValueError(f"quality={quality}; use 1 to 100")
    kind = path.suffix.lower()
    if kind not in EXTENSIONS:
        known = ", ".join(EXTENSIONS)
        raise PhotoError(path, f"unknown extension {path.suffix!r}", f"use one of {known}")
    bits = bits or (16 if kind in (".tif", ".tiff") else 8)
    if bits not in (8, 16) or (bits == 16 and kind in (".jpg", ".jpeg")):
        raise PhotoError(path, f"{kind} cannot hold {bits} bits", "use 8, or 16 with .png or .tif")
    return kind, bits


def encode(kind: str, codes: Codes, metadata: Metadata, quality: int, profile: bytes | None = None) -> bytes:
    """A finished photograph's file; ``profile`` None stands for sRGB."""
    if kind == ".png":
        return encode_png(codes, metadata, profile)
    if kind in (".tif", ".tiff"):
        return encode_tiff(codes, metadata, profile)
    if max(codes.shape) > _JPEG_EDGE:
        raise OverflowError(f"no JPEG has an edge of more than {_JPEG_EDGE:,} pixels")
    return encode_jpeg(codes, metadata, quality, profile)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes its place when all is written; what the disk refuses becomes a PhotoError."""
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        reason = f"cannot be written ({error.strerror or error})"
        raise PhotoError(path, reason, "check the folder, its permissions and free space") from None


def list_photos(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Files as given, whatever their names; folders as the photographs in them, RAW files too, sorted by name.

    A path that does not exist is listed too, so that reading it says so and the others go on.

    Raises:
        PhotoError: a folder cannot be looked into.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        try:
            inside = sorted(path.iterdir())
        except OSError as error:
            reason = f"cannot be listed ({error.strerror})"
            raise PhotoError(path, reason, "check its permissions") from None
        found += [
            file
            for file in inside
            if file.suffix.lower() in KNOWN_EXTENSIONS and file.name[0] != "." and not file.is_dir()
        ]
    return found


def to_square(pixels: Image3, size: int = 64) -> Image3:
    """The agent's view of a photograph: its centre square, averaged down to a size.

    A square smaller than that is enlarged bilinearly.

    Args:
        pixels: ``(H, W, 3)`` of any range; linear light and display values stay what they are.
        size: edge of the result in pixels.

    Returns:
        ``(size, size, 3)`` float32.
    """
    height, width = pixels.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    square = np.asarray(pixels[top : top + edge, left : left + edge], np.float32)
    method = cv2.INTER_AREA if edge >= size else cv2.INTER_LINEAR
    return cast(Image3, cv2.resize(square, (size, size), interpolation=method))


def refuse_raw(file: BinaryIO) -> NoReturn:
    """How display values are read from a RAW file: not at all."""
    raise Unreadable(
        "is a camera RAW file, which holds light and no finished picture",
        "finish it first, for example with exposure-gym retouch",
    )


def _decode_file(path: Path, max_megapixels: float, develop: Develop) -> Decoded:
    with reading(path):
        refuse_no_file(path)
        with path.open("rb") as file:
            return decode(file, path.suffix, max_megapixels, develop)


def refuse_no_file(path: Path) -> None:
    """Opening these would wait for ever, or fail without a reason.

    Raises:
        Unreadable: a folder, a pipe or a device.
    """
    if path.is_dir():
        raise Unreadable("is a folder", "name the photographs in it")
    if path.exists() and not path.is_file():
        raise Unreadable("is not a regular file", "copy it to one")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong within, on the disk or in a decoder, becomes a PhotoError; warnings are not shown."""
    try:
        with _quiet:
            yield
    except Unreadable as error:
        raise PhotoError(path, error.reason, error.remedy) from None
    except FileNotFoundError:
        raise PhotoError(path, "does not exist", "check the name") from None
    except PermissionError:
        raise PhotoError(path, "may not be read", "check its permissions") from None
    except MemoryError:
        raise PhotoError(path, "does not fit in memory", "make it smaller") from None
    except Exception as error:  # decoders raise whatever they stumble on
        stumbled = isinstance(error, (TypeError, LookupError, AttributeError)) or not str(error)
        reason = "is damaged" if stumbled else f"is damaged ({str(error)[:100]})"
        raise PhotoError(path, reason, "save it again from the original") from None


class _Quiet:
    """Keeps warnings from being shown while any thread is within: Python's own way out of it knows one thread only.

    Decoders warn about oddities that do not matter here; what matters is raised.
    """

    def __init__(self) -> None:
        self._lock, self._within = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._within == 0:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0:
                self._saved.__exit__(None, None, None)


_quiet = _Quiet()


def light_of(path: Path, decoded: Decoded, space: Space) -> Image3:
    """What was decoded, or a part of it, as :func:`read_linear` gives it: ``(H, W, 3)`` float32, at least 0."""
    light = decoded.pixels if decoded.developed else _linear(path, decoded)
    if space != "srgb" and not decoded.developed:
        light = cast(Image3, cv2.transform(light, FROM_SRGB[space]))
    return np.maximum(light, 0.0, out=light)


def display_of(path: Path, decoded: Decoded) -> Image3:
    """What was decoded, or a part of it, as :func:`read_display` gives it: ``(H, W, 3)`` float32 in [0, 1]."""
    codes = decoded.pixels
    try:
        as_stored = codes.dtype.kind == "u" and (not decoded.profile or is_srgb(decoded.profile))
    except ProfileError as error:
        raise _profile_error(path, error) from None
    if not as_stored:
        return _encode_in_place(_linear(path, decoded))
    display = codes.astype(np.float32) / np.float32(np.iinfo(codes.dtype).max)
    return np.repeat(display[..., None], 3, axis=2) if display.ndim == 2 else display


def _linear(path: Path, decoded: Decoded) -> Image3:
    try:
        return to_linear_srgb(decoded.pixels, decoded.profile)
    except ProfileError as error:
        raise _profile_error(path, error) from None


def _encode_in_place(light: Image3) -> Image3:
    """Linear light to display values, clipped."""
    for top in range(0, len(light), ROWS):
        rows = light[top : top + ROWS]
        rows[:] = srgb_encode(rows.clip(0.0, 1.0))
    return light


def _profile_error(path: Path, error: ProfileError) -> PhotoError:
    return PhotoError(path, str(error), "save it again with an sRGB profile")


def _codes(path: Path, photo: DisplayPhoto, bits: int) -> Codes:
    """The rounded sRGB codes of a photograph, ``(H, W, 3)``."""
    display = np.asarray(photo.pixels, np.float32)
    if display.ndim != 3 or display.shape[2] != 3 or display.size == 0:
        raise PhotoError(path, f"pixels have the shape {display.shape}", "give (height, width, 3)")
    if photo.space != "srgb":
        light = cv2.transform(srgb_decode(display.clip(0.0, 1.0)), TO_SRGB[photo.space])
        display = _encode_in_place(cast(Image3, light))
    codes = np.empty(display.shape, np.uint8 if bits == 8 else np.uint16)
    for top in range(0, len(display), ROWS):
        rows = display[top : top + ROWS].clip(0.0, 1.0) * np.float32(2**bits - 1)
        if np.isnan(rows).any():
            raise PhotoError(path, "some pixels are NaN", "check the edit that made them")
        codes[top : top + ROWS] = np.rint(rows, out=rows)
    return codes
