"""Camera RAW files to linear light, through rawpy (LibRaw), which comes with the ``raw`` extra."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from exposure_gym._decode import (
    EXIF_IFD,
    RAW_PHOTOMETRICS,
    Decoded,
    Metadata,
    Unreadable,
    clean_exif,
    first_pages,
    refuse_huge,
    tifffile_complaints,
)
from exposure_gym._silence import silenced
from exposure_gym.color import Space

if TYPE_CHECKING:
    import rawpy

WhiteBalance = Literal["daylight", "camera"]
Highlights = Literal["clip", "blend", "reconstruct"]

REMEDY = "RAW files need rawpy: pip install 'exposure-gym[raw]'"
_AGAIN = "copy it from the camera again"
_MAKER_NOTE = 0x927C  # its offsets count from the start of the RAW file: useless in another one
_COMPLAINT = re.compile(rb"unknown file: (data corrupted at -?\d+|Unexpected end of file)\r?\n")
_EXPOSURE_TIME, _F_NUMBER, _ISO, _TAKEN, _FOCAL_LENGTH = 0x829A, 0x829D, 0x8827, 0x9003, 0x920A


@dataclass(frozen=True)
class Development:
    """How a RAW file becomes a picture; the fields are arguments of `exposure_gym.photo.read_linear`."""

    space: Space
    white_balance: WhiteBalance
    highlights: Highlights
    half_size: bool


def available() -> bool:
    """Whether rawpy is installed."""
    return find_spec("rawpy") is not None


def develop(file: BinaryIO, how: Development, max_megapixels: float) -> Decoded:
    """Decode a RAW file: no curve, and nothing that depends on what the picture shows.

    Returns:
        Upright linear light, ``(H, W, 3)`` float32. A neutral colour that is 1 lets the least amplified channel of
        the sensor clip. With clipped highlights nothing exceeds 1; otherwise what the other channels, which clip
        later, have to tell about a highlight goes above it.

    Raises:
        Unreadable: rawpy is not installed, or the file is damaged, too large or of an unknown kind.
    """
    if not available():
        raise Unreadable("is a camera RAW file", REMEDY)
    import rawpy

    try:
        _check_extents(file)
        file.seek(0)
        with silenced(_COMPLAINT):  # it raises them, too
            raw = rawpy.imread(file)
            refuse_huge(raw.sizes.raw_width, raw.sizes.raw_height, max_megapixels)
            raw.unpack()
        with raw:
            pixels = _develop(raw, how)
            metadata = Metadata(_exif(file, raw))
    except rawpy.LibRawUnsufficientMemoryError:
        raise MemoryError from None
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise Unreadable(f"is a damaged RAW file, or one that LibRaw does not know ({_words(error)})", _AGAIN) from None
    return Decoded(pixels, b"", metadata, developed=True)


def _check_extents(file: BinaryIO) -> None:
    """Refuse a TIFF-like RAW whose pixels reach past its end: LibRaw gives half a picture for most of these."""
    file.seek(0)
    if file.read(4) not in (b"II*\0", b"MM\0*"):
        return
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    cut_short = False
    # Cameras write odd tags: whether a file is sound is LibRaw's to say.
    with suppress(Exception), tifffile_complaints(), tifffile.TiffFile(file, name="photo") as tiff:
        for page in _pages(tiff):
            extents = zip(page.dataoffsets, page.databytecounts, strict=False)
            if page.photometric in RAW_PHOTOMETRICS:
                cut_short |= any(offset + count > end for offset, count in extents)
    if cut_short:
        raise Unreadable("is cut short", _AGAIN)


def _pages(tiff: tifffile.TiffFile) -> Iterator[Any]:
    """The directories of a RAW file that may hold pixels."""
    for page in first_pages(tiff.pages):
        yield page
        if page.subifds:
            yield from first_pages(page.pages)


def _develop(raw: rawpy.RawPy, how: Development) -> NDArray[np.float32]:
    import rawpy

    gains = _gains(raw.camera_whitebalance) if how.white_balance == "camera" else None
    gains = gains or _gains(raw.daylight_whitebalance)
    modes = {
        "clip": rawpy.HighlightMode.Clip,
        "blend": rawpy.HighlightMode.Blend,
        "reconstruct": rawpy.HighlightMode.ReconstructDefault,
    }
    spaces: dict[Space, rawpy.ColorSpace] = {
        "srgb": rawpy.ColorSpace.sRGB,
        "prophoto": rawpy.ColorSpace.ProPhoto,
        "rec2020": rawpy.ColorSpace.Rec2020,
    }
    codes = raw.postprocess(
        user_wb=gains,
        output_color=spaces[how.space],
        output_bps=16,
        gamma=(1, 1),
        no_auto_bright=True,
        adjust_maximum_thr=0.0,  # white stays that of the sensor, whatever the brightest pixel is
        highlight_mode=modes[how.highlights],
        half_size=how.half_size,
    )
    if codes.ndim == 2 or codes.shape[2] == 1:  # a sensor without colour
        codes = np.repeat(codes.reshape(*codes.shape[:2], 1), 3, axis=2)
    white = 65535.0
    if how.highlights != "clip" and gains:  # LibRaw makes room for the most amplified channel
        white *= min(gains[:3]) / max(gains[:3])
    return cast("NDArray[np.float32]", codes.astype(np.float32) / np.float32(white))


def _gains(found: list[float]) -> list[float] | None:
    """The gains of a white balance for R, G, B and the second green; None where the file has none."""
    gains = [float(gain) for gain in found]
    sound = len(gains) == 4 and all(np.isfinite(gains)) and all(gain > 0.0 for gain in gains[:3])
    return gains if sound else None  # a second green of 0 means that it is like the first


def _exif(file: BinaryIO, raw: rawpy.RawPy) -> bytes:
    """The EXIF block of a RAW file.

    Most are TIFF files, some with another number at their start. Of the others LibRaw tells a few values.
    XMP is left behind: it holds the settings of RAW converters, which would be applied to the result once more.
    """

    def load() -> Image.Exif:
        file.seek(0)
        order = {b"II": b"II*\0", b"MM": b"MM\0*"}.get(file.read(4)[:2])
        exif = Image.Exif()
        if order is None:
            return _told(raw.other, exif)
        exif.load_from_fp(io.BytesIO(order + file.read()))
        exif.get_ifd(EXIF_IFD).pop(_MAKER_NOTE, None)
        return exif

    return clean_exif(load)[0]


def _told(other: Any, exif: Image.Exif) -> Image.Exif:
    """Put what LibRaw says about an exposure into an EXIF block; 0 is its word for unknown."""
    block = exif.get_ifd(EXIF_IFD)
    for tag, value in (
        (_EXPOSURE_TIME, other.shutter_speed),
        (_F_NUMBER, other.aperture),
        (_FOCAL_LENGTH, other.focal_length),
    ):
        if value > 0.0:
            block[tag] = float(value)
    if other.iso_speed > 0.0:
        block[_ISO] = round(other.iso_speed)
    if other.timestamp.year > 1970:
        block[_TAKEN] = other.timestamp.strftime("%Y:%m:%d %H:%M:%S")
    return exif


def _words(error: Exception) -> str:
    """What LibRaw says, which rawpy hands on as bytes."""
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
