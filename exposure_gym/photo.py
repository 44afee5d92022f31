"""Read and write photographs, colour-managed: TIFF, JPEG and PNG.

There are two readings, with two types, because the game needs both and must never confuse them.
:func:`read_linear` gives a :class:`LinearPhoto`, proportional to the light of the scene: what an
edit starts from. :func:`read_display` gives a :class:`DisplayPhoto`, sRGB codes / 255: what a
finished photograph stores, what an edit ends in, and all that :func:`write_display` writes.

The embedded ICC profile says what the codes mean, RGB or grey, matrix or LUT. Without one, integers
are sRGB and floats are linear light in sRGB primaries. An alpha channel is dropped, not blended;
the EXIF orientation is baked in. Of a file with several pictures the first is read.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from exposure_gym._decode import Decoded, Metadata, Unreadable, decode
from exposure_gym._encode import Codes, encode_jpeg, encode_png, encode_tiff
from exposure_gym._icc import ProfileError, is_srgb, to_linear_srgb
from exposure_gym.color import PROPHOTO_TO_SRGB, SRGB_TO_PROPHOTO, srgb_decode, srgb_encode
from exposure_gym.files import replacing

__all__ = [
    "EXTENSIONS",
    "DisplayPhoto",
    "LinearPhoto",
    "Metadata",
    "PhotoError",
    "list_photos",
    "read_display",
    "read_linear",
    "to_square",
    "write_display",
]

EXTENSIONS = (".jpeg", ".jpg", ".png", ".tif", ".tiff")
"""The extensions, in lower case, that :func:`list_photos` and :func:`write_display` know."""

ROWS = 64
"""Rows of a photograph that are worked on at a time: temporaries then stay in the cache."""

Space = Literal["srgb", "prophoto"]
Image3 = NDArray[np.float32]
_NO_METADATA = Metadata()


class PhotoError(ValueError):
    """A photograph cannot be read or written; one line, ``<file>: <reason>; <remedy>``."""

    def __init__(self, path: str | os.PathLike[str], reason: str, remedy: str) -> None:
        super().__init__(os.fspath(path), reason, remedy)
        self.path, self.reason, self.remedy = Path(path), reason, remedy

    def __str__(self) -> str:
        return " ".join(f"{self.path}: {self.reason}; {self.remedy}".split())


@dataclass(frozen=True, eq=False)
class LinearPhoto:
    """A photograph in linear light.

    Attributes:
        pixels: ``(H, W, 3)`` float32, at least 0; white is 1.0, which float files may exceed.
        space: the primaries, ``"srgb"`` (D65) or ``"prophoto"`` (D50).
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
        space: the primaries. ``"srgb"``, or ``"prophoto"`` for an edit made in ProPhoto primaries,
            whose values carry the sRGB curve all the same.
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
    max_megapixels: float = 200.0,
) -> LinearPhoto:
    """Read a photograph into linear light.

    Args:
        path: a TIFF, JPEG or PNG file; its content decides, not its extension.
        brightness: ``"as-is"``, or ``"raw-like"``, which divides by twice the largest value, as the
            published code does to give finished photographs the darkness of a RAW; black stays
            black.
        space: primaries of the result. Negative components, of colours outside them, become 0.
        max_megapixels: larger photographs are refused from their header, before they are decoded.

    Raises:
        PhotoError: the file is missing, damaged, too large or of an unknown kind; one line.
    """
    if brightness not in ("as-is", "raw-like"):
        raise ValueError(f"brightness={brightness!r}; use 'as-is' or 'raw-like'")
    if space not in ("srgb", "prophoto"):
        raise ValueError(f"space={space!r}; use 'srgb' or 'prophoto'")
    path = Path(path)
    decoded = _decode_file(path, max_megapixels)
    light = _linear(path, decoded)
    if space == "prophoto":
        light = cast(Image3, cv2.transform(light, SRGB_TO_PROPHOTO))
    np.maximum(light, 0.0, out=light)
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
        PhotoError: the file is missing, damaged, too large or of an unknown kind; one line.
    """
    path = Path(path)
    decoded = _decode_file(path, max_megapixels)
    codes = decoded.pixels
    try:
        as_stored = codes.dtype.kind == "u" and (not decoded.profile or is_srgb(decoded.profile))
    except ProfileError as error:
        raise _profile_error(path, error) from None
    if as_stored:
        display = codes.astype(np.float32) / np.float32(np.iinfo(codes.dtype).max)
        if display.ndim == 2:
            display = np.repeat(display[..., None], 3, axis=2)
    else:
        display = _encode_in_place(_linear(path, decoded))
    return DisplayPhoto(display, "srgb", decoded.metadata, path)


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
        photo: values outside [0, 1] are clipped; one in ProPhoto primaries is converted to sRGB.
        bits: 8, or 16 for PNG and TIFF; by default 16 for TIFF and 8 for the others.
        quality: of a JPEG, 1 to 100. It loses EXIF or XMP of over 64 kB, its format's limit.

    Raises:
        PhotoError: the file cannot be written, or not in this format; no partial file is left.
        TypeError: ``photo`` is a :class:`LinearPhoto`, which is not finished.
    """
    if not isinstance(photo, DisplayPhoto):
        raise TypeError(f"write_display writes a DisplayPhoto, not a {type(photo).__name__}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality={quality}; use 1 to 100")
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in EXTENSIONS:
        known = ", ".join(EXTENSIONS)
        raise PhotoError(path, f"unknown extension {path.suffix!r}", f"use one of {known}")
    bits = bits or (16 if kind in (".tif", ".tiff") else 8)
    if bits not in (8, 16) or (bits == 16 and kind in (".jpg", ".jpeg")):
        raise PhotoError(path, f"{kind} cannot hold {bits} bits", "use 8, or 16 with .png or .tif")
    codes = _codes(path, photo, bits)
    try:
        if kind == ".png":
            data = encode_png(codes, photo.metadata)
        elif kind in (".tif", ".tiff"):
            data = encode_tiff(codes, photo.metadata)
        else:
            data = encode_jpeg(codes, photo.metadata, quality)
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        reason = f"cannot be written ({error.strerror or error})"
        raise PhotoError(path, reason, "check the folder, its permissions and free space") from None


def list_photos(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Files as given, whatever their names; folders as the photographs in them, sorted by name.

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
            file for file in inside if file.suffix.lower() in EXTENSIONS and file.name[0] != "." and not file.is_dir()
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


def _decode_file(path: Path, max_megapixels: float) -> Decoded:
    """Decode a file; whatever goes wrong, on the disk or in a decoder, becomes a PhotoError."""
    try:
        if path.is_dir():
            raise Unreadable("is a folder", "name the photographs in it")
        if path.exists() and not path.is_file():
            raise Unreadable("is not a regular file", "copy it to one")
        # Decoders warn about oddities that do not matter here; what matters is raised.
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            return decode(file, path.suffix, max_megapixels)
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
    if photo.space == "prophoto":
        light = cv2.transform(srgb_decode(display.clip(0.0, 1.0)), PROPHOTO_TO_SRGB)
        display = _encode_in_place(cast(Image3, light))
    codes = np.empty(display.shape, np.uint8 if bits == 8 else np.uint16)
    for top in range(0, len(display), ROWS):
        rows = display[top : top + ROWS].clip(0.0, 1.0) * np.float32(2**bits - 1)
        if np.isnan(rows).any():
            raise PhotoError(path, "some pixels are NaN", "check the edit that made them")
        codes[top : top + ROWS] = np.rint(rows, out=rows)
    return codes
