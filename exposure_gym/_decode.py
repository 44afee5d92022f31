"""Photograph files to codes: one decoder for each format, each guarded against silent damage.

Which library reads what, and why. Pillow reads JPEG and 8-bit PNG, because it raises on every
truncated file where OpenCV returns half a picture; it also finds their metadata. Pillow would cut
16-bit PNG to 8 bits, so libpng (imagecodecs) decodes those, after Pillow has checked every chunk.
tifffile reads the tags of a TIFF and tells where its strips and tiles lie, which are checked here;
libtiff (imagecodecs) decodes them, because the LZW decoder that tifffile uses can crash the whole
process on a damaged file. Camera RAW files are told here and developed elsewhere. Sizes are checked in
the header, before any pixel is decoded.
"""

from __future__ import annotations

import io
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, cast

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from exposure_gym._silence import silenced

RAW_EXTENSIONS = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srw", ".x3f"),
)
HEIF_EXTENSIONS = (".avif", ".heic", ".heif")
_RAW_MAGIC = re.compile(rb"IIRO|IIRS|MMOR|IIU\0|FUJIFILMCCD-RAW|FOVb|\0MRM|.{4}ftypcrx", re.DOTALL)
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DNG_VERSION = 50706
RAW_PHOTOMETRICS = (32803, 34892)
"""What a TIFF calls the pixels of a sensor: a colour filter array, or linear RAW."""

_COMPRESSIONS = (1, 5, 8, 32773, 32946)  # none, LZW, Deflate, PackBits, an older Deflate

_PNG_WARNING = re.compile(rb"PNG warning: .*\r?\n")

_SAVE_AGAIN = "save it again from the original"
_AS_RGB = "save it as RGB or grey first"

ORIENTATION, EXIF_IFD, _GPS_IFD, XMP, ICC = 0x0112, 0x8769, 0x8825, 700, 34675
# Description, make, model, resolution, software, date, artist, rating, copyright: what says
# something about the photograph, not about the layout of the file it came in.
_KEPT_TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 0x4746, 0x4749, 0x8298)
# Width and height in pixels and the Adobe RGB mark, which are no longer true of what is written.
_STALE_EXIF_TAGS = (0xA002, 0xA003, 0xA005)


class Unreadable(Exception):
    """Why a file cannot be read, and what would help; the caller knows the file's name."""

    def __init__(self, reason: str, remedy: str = _SAVE_AGAIN) -> None:
        super().__init__(reason, remedy)
        self.reason, self.remedy = reason, remedy


@dataclass(frozen=True)
class Metadata:
    """What travels with a photograph from the file it was read from to the file that is written.

    Attributes:
        exif: a TIFF-structured EXIF block without its orientation, which is baked in; or empty.
        xmp: an XMP packet; or empty.
        dpi: horizontal and vertical resolution in dots per inch, or None.
    """

    exif: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Decoded:
    """``(H, W)`` or ``(H, W, 3)`` codes, upright: full-range uint8 or uint16, or finite float32.

    A RAW file that was developed has no codes but linear light, ``(H, W, 3)`` float32.
    """

    pixels: NDArray[Any]
    profile: bytes
    metadata: Metadata
    developed: bool = False


Develop = Callable[[BinaryIO], Decoded]
"""Makes a picture of a camera RAW file."""


def decode(
    file: BinaryIO, suffix: str, max_megapixels: float, develop: Develop, short_edge: int | None = None
) -> Decoded:
    """Decode the first picture of an open file, told by its first bytes and not by its name.

    That name decides only whether a TIFF is a RAW file whose first picture is a preview. Where there is a
    ``short_edge``, a JPEG may come out at a half, a quarter or an eighth of its size, which is decoded faster, but not
    below that edge.

    Raises:
        Unreadable: with the reason. Decoders may raise anything else on damaged files.
    """
    magic = file.read(16)
    file.seek(0)
    if not magic:
        raise Unreadable("is empty", "copy or download it again")
    is_tiff = magic.startswith(_TIFF_MAGIC)
    if _RAW_MAGIC.match(magic) or (is_tiff and suffix.lower() in RAW_EXTENSIONS):
        return develop(file)
    if magic.startswith(b"\xff\xd8\xff"):
        return _decode_jpeg(file, max_megapixels, short_edge)
    if magic.startswith(b"\x89PNG\r\n\x1a\n"):
        return _decode_png(file, max_megapixels)
    if is_tiff:
        return _decode_tiff(file, max_megapixels, develop)
    if magic[4:8] == b"ftyp":
        from exposure_gym._heif import decode_heif

        return decode_heif(file, max_megapixels)
    raise Unreadable("is not a TIFF, JPEG, PNG, RAW, HEIC or AVIF photograph", "convert it to one of these")


def refuse_huge(width: int, height: int, max_megapixels: float) -> None:
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise Unreadable(
            f"has {megapixels:,.4g} megapixels, over the limit of {max_megapixels:,.4g}",
            "make it smaller or raise max_megapixels",
        )
    if megapixels <= 0:
        raise Unreadable("has no pixels")


def _decode_jpeg(file: BinaryIO, max_megapixels: float, short_edge: int | None) -> Decoded:
    image = JpegImageFile(file)
    refuse_huge(*image.size, max_megapixels)
    if image.mode not in ("L", "RGB"):
        raise Unreadable(f"is a {image.mode} JPEG", _AS_RGB)
    if short_edge is not None:
        image.draft(None, (short_edge, short_edge))
    image.load()
    return with_pillow_metadata(np.asarray(image), image)


def _decode_png(file: BinaryIO, max_megapixels: float) -> Decoded:
    checked = PngImageFile(file)
    refuse_huge(*checked.size, max_megapixels)
    checked.verify()  # every chunk is whole and has its checksum ...
    if file.read(4) != b"\xae\x42\x60\x82":  # ... and so has the last one, which verify leaves
        raise Unreadable("is cut short")
    file.seek(24)
    sixteen_bit = file.read(1) == b"\x10"
    file.seek(0)
    image = PngImageFile(file)
    if sixteen_bit:
        image.getexif()  # may stand behind the pixels: look for it while the file is Pillow's
        file.seek(0)
        with silenced(_PNG_WARNING):
            pixels = _drop_alpha(imagecodecs.png_decode(file.read()))
    else:
        grey = image.mode in ("1", "L", "LA")
        pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return with_pillow_metadata(pixels, image)


def with_pillow_metadata(pixels: NDArray[Any], image: Image.Image) -> Decoded:
    profile = image.info.get("icc_profile", b"")
    if profile is None:  # how Pillow says that a part of it is missing
        raise Unreadable("has a damaged colour profile", "save it again with an sRGB profile")
    xmp = image.info.get("xmp", b"")
    dpi = image.info.get("dpi")
    exif, orientation = clean_exif(image.getexif)
    metadata = Metadata(exif, xmp if isinstance(xmp, bytes) else b"", _valid_dpi(dpi))
    return Decoded(_upright(pixels, orientation), profile, metadata)


class TiffHead(NamedTuple):
    """What a TIFF says of its photograph, checked, before a pixel is decoded."""

    page: tifffile.TiffPage
    profile: bytes
    metadata: Metadata
    orientation: int


def _decode_tiff(file: BinaryIO, max_megapixels: float, develop: Develop) -> Decoded:
    head = _tiff_head(file, max_megapixels)
    if head is None:
        return develop(file)
    return Decoded(_upright(tiff_pixels(head.page, file), head.orientation), head.profile, head.metadata)


def tiff_head(file: BinaryIO, suffix: str, max_megapixels: float) -> TiffHead | None:
    """Read the head of a file that :func:`decode` would decode as a TIFF; None for any other.

    Raises:
        Unreadable: as :func:`decode`, if the head already tells.
    """
    is_tiff = file.read(4) in _TIFF_MAGIC and suffix.lower() not in RAW_EXTENSIONS
    file.seek(0)
    head = _tiff_head(file, max_megapixels) if is_tiff else None
    file.seek(0)
    return head


def _tiff_head(file: BinaryIO, max_megapixels: float) -> TiffHead | None:
    """The head of a TIFF; None for a camera RAW file."""
    with tifffile_complaints() as complaints, tifffile.TiffFile(file, name="photo") as tiff:
        page = tiff.pages.first
        for candidate in first_pages(tiff.pages) if page.is_reduced else ():
            if not candidate.is_reduced:  # a thumbnail may stand before the photograph
                page = cast(tifffile.TiffPage, candidate)
                break
        if _DNG_VERSION in page.tags or page.photometric in RAW_PHOTOMETRICS:
            return None
        _check_tiff_layout(page, file, max_megapixels)
        tags = {code: page.tags.valueof(code) for code in (ORIENTATION, XMP, ICC)}
        if complaints:
            raise Unreadable("is a damaged TIFF")
        dpi = _tiff_dpi(page)

    def load_exif() -> Image.Exif:
        exif = Image.Exif()
        file.seek(0)
        exif.load_from_fp(file)
        return exif

    exif, _ = clean_exif(load_exif)
    xmp = tags[XMP] if isinstance(tags[XMP], bytes) else b""
    metadata = Metadata(exif, xmp.rstrip(b"\0"), dpi)
    return TiffHead(page, bytes(tags[ICC] or b""), metadata, int(tags[ORIENTATION] or 1))


def first_pages(pages: tifffile.TiffPages) -> Iterator[Any]:
    """The first eight pages, one by one: a slice would look for all, and in a damaged file they may have no end."""
    for index in range(8):
        try:
            yield pages[index]
        except IndexError:
            return


@contextmanager
def tifffile_complaints() -> Iterator[list[str]]:
    """Collects what tifffile would log as errors on this thread, and keeps it off the terminal."""
    complaints: list[str] = []
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        if record.levelno >= logging.ERROR:
            complaints.append(record.getMessage())
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(collect)
    try:
        yield complaints
    finally:
        logger.removeFilter(collect)


def _check_tiff_layout(page: tifffile.TiffPage, file: BinaryIO, max_megapixels: float) -> None:
    """Refuse what is no photograph, and strips or tiles that are missing or reach past the end."""
    size = (page.imagewidth, page.imagelength, page.imagedepth, page.tilewidth, page.tilelength)
    depth = (page.samplesperpixel, page.bitspersample)
    if not all(isinstance(number, int) for number in size + depth):
        raise Unreadable("is a damaged TIFF")
    refuse_huge(page.imagewidth, page.imagelength, max_megapixels)
    if page.photometric not in (0, 1, 2, 3):  # white is zero, black is zero, RGB, palette
        raise Unreadable(f"holds {_tag_name(page.photometric)} pixels", _AS_RGB)
    if page.compression not in _COMPRESSIONS:
        compression = f"is compressed as {_tag_name(page.compression)}"
        raise Unreadable(compression, "save it uncompressed, or with LZW, ZIP or PackBits")
    if page.samplesperpixel > 8 or page.imagedepth != 1:
        channels = f"{page.samplesperpixel} channels in {page.imagedepth} layers"
        raise Unreadable(f"has {channels}", _AS_RGB)
    if page.planarconfig not in (1, 2):
        raise Unreadable("is a damaged TIFF")
    if page.is_tiled:
        refuse_huge(page.tilewidth, page.tilelength, max_megapixels)
    file.seek(page.offset)
    layout = page.parent.tiff
    tags = int.from_bytes(file.read(layout.tagnosize), "little" if layout.byteorder == "<" else "big")
    directory_end = page.offset + layout.tagnosize + tags * layout.tagsize + layout.offsetsize
    end = file.seek(0, io.SEEK_END)
    extents = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if (
        not extents
        or directory_end > end
        or len(page.dataoffsets) != len(page.databytecounts)
        or len(extents) < int(np.prod(page.chunked))
        or any(offset <= 0 or count <= 0 or offset + count > end for offset, count in extents)
    ):
        raise Unreadable("is cut short or damaged")
    if page.compression == 1 and sum(page.databytecounts) * 8 < (
        page.imagewidth * page.imagelength * page.samplesperpixel * page.bitspersample
    ):
        raise Unreadable("is cut short or damaged")


def _tag_name(value: int) -> str:
    return str(getattr(value, "name", value))


def tiff_pixels(page: tifffile.TiffPage, file: BinaryIO) -> NDArray[Any]:
    """All pixels of a TIFF, as they are stored: ``(H, W)`` or ``(H, W, 3)``, see :class:`Decoded`."""
    file.seek(0)
    pixels: NDArray[Any] = imagecodecs.tiff_decode(file.read(), index=page.index)
    if page.samplesperpixel > 1 and page.planarconfig == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    return tiff_codes(page, pixels.reshape(page.imagelength, page.imagewidth, -1))


def tiff_codes(page: tifffile.TiffPage, pixels: NDArray[Any]) -> NDArray[Any]:
    """What the samples of a TIFF mean: ``(h, w, samples)`` to codes or floats as in :class:`Decoded`."""
    if page.photometric == 3:
        # (3, 2 ** bits); 16 bits by the standard, of which some writers fill only the upper 8.
        colormap = (np.asarray(page.colormap, np.uint16) >> 8).astype(np.uint8)
        return np.ascontiguousarray(colormap.T[pixels[..., 0]])
    pixels = _drop_alpha(pixels)
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            pixels = pixels.astype(np.float32)
        if not np.isfinite(pixels).all():
            raise Unreadable("has pixels that are NaN or infinite", "export it again")
    elif pixels.dtype.kind in "ub":
        pixels = _full_range(pixels, page.bitspersample)
    else:
        raise Unreadable(f"holds {pixels.dtype} pixels", "save it as 8, 16 or float")
    if page.photometric == 0:
        pixels = (1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max) - pixels
    return pixels


def _full_range(codes: NDArray[Any], bits: int) -> NDArray[Any]:
    """Codes of an unusual depth (1 to 32 bits), stretched to the whole of uint8 or uint16."""
    if bits in (8, 16) and codes.dtype.itemsize * 8 == bits:
        return codes
    limit = 255 if bits < 8 else 65535
    scaled: NDArray[Any] = np.rint(codes.astype(np.float64) * (limit / (2**bits - 1)))
    return scaled.astype(np.uint8 if bits < 8 else np.uint16)


def _drop_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """The colour channels: one of (grey, alpha, ...), three of (red, green, blue, alpha, ...)."""
    if pixels.ndim == 2:
        return pixels
    return pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3]


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    return np.ascontiguousarray(upright_view(pixels, orientation))


def upright_view(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror as EXIF 2.32, tag 0x0112, says; anything but 2 to 8 leaves it as it is. A view, not a copy."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def clean_exif(load: Callable[[], Image.Exif]) -> tuple[bytes, int]:
    """The EXIF block worth keeping, and the orientation; damaged EXIF is dropped, no more."""
    try:
        source = load()
        orientation = int(source.get(ORIENTATION, 1))
    except Exception:  # Pillow raises whatever it stumbles on
        return b"", 1
    try:
        kept = Image.Exif()
        kept.endian = "<"
        for tag in _KEPT_TAGS:
            if tag in source:
                kept[tag] = source[tag]
        for ifd in (EXIF_IFD, _GPS_IFD):
            block = {k: v for k, v in source.get_ifd(ifd).items() if k not in _STALE_EXIF_TAGS}
            if block:
                kept.get_ifd(ifd).update(block)
        empty = not dict(kept) and not any(kept.get_ifd(ifd) for ifd in (EXIF_IFD, _GPS_IFD))
        return (b"" if empty else kept.tobytes().removeprefix(b"Exif\0\0")), orientation
    except Exception:
        return b"", orientation


def _tiff_dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    per_inch = {2: 1.0, 3: 2.54}.get(int(page.tags.valueof(296) or 2))
    values = page.tags.valueof(282), page.tags.valueof(283)
    if per_inch is None or not all(isinstance(v, tuple) and len(v) == 2 and v[1] for v in values):
        return None
    return _valid_dpi([v[0] / v[1] * per_inch for v in values])


def _valid_dpi(dpi: Any) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in dpi)
    except (TypeError, ValueError):
        return None
    return (x, y) if 1.0 <= x <= 65535.0 and 1.0 <= y <= 65535.0 else None
