"""Codes to photograph files: colour profile embedded, metadata kept, EXIF upright.

Pillow writes JPEG. PNG is compressed by libpng (imagecodecs), which knows 16 bits, and its metadata
chunks are put in here. TIFF needs no encoder: an EXIF block is a TIFF without a picture, so the
picture's tags and its pixels are added to it.
"""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exposure_gym._decode import EXIF_IFD, ICC, ORIENTATION, XMP, Metadata
from exposure_gym._icc import srgb_profile

Codes = NDArray[Any]  # (H, W, 3), uint8 or uint16
_COLOR_SPACE, _MAKER_NOTE = 0xA001, 0x927C
_SRGB, _UNCALIBRATED = 1, 65535
_JPEG_SEGMENT = 65_000  # bytes of EXIF or XMP that one JPEG segment holds, names included


def encode_jpeg(codes: Codes, metadata: Metadata, quality: int, profile: bytes | None = None) -> bytes:
    """Full colour resolution (4:4:4); EXIF and XMP that don't fit a segment are left out."""
    exif = _upright_exif(metadata, profile)
    if len(exif.tobytes()) > _JPEG_SEGMENT:
        exif.get_ifd(EXIF_IFD).pop(_MAKER_NOTE, None)
    block, xmp = exif.tobytes(), _upright_xmp(metadata)
    options: dict[str, Any] = {}
    if metadata.exif and len(block) <= _JPEG_SEGMENT:
        options["exif"] = block
    if 0 < len(xmp) <= _JPEG_SEGMENT:
        options["xmp"] = xmp
    if metadata.dpi:
        options["dpi"] = metadata.dpi
    buffer = BytesIO()
    options["icc_profile"] = profile or srgb_profile()
    Image.fromarray(codes).save(buffer, "JPEG", quality=quality, subsampling=0, **options)
    return buffer.getvalue()


def encode_png(codes: Codes, metadata: Metadata, profile: bytes | None = None) -> bytes:
    """8 or 16 bits, as the codes are."""
    name = b"ICC" if profile else b"sRGB"
    chunks = _png_chunk(b"iCCP", name + b"\0\0" + zlib.compress(profile or srgb_profile()))
    if metadata.dpi:
        per_metre = [round(value / 0.0254) for value in metadata.dpi]
        chunks += _png_chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
    if metadata.exif:
        block = _upright_exif(metadata, profile).tobytes().removeprefix(b"Exif\0\0")
        chunks += _png_chunk(b"eXIf", block)
    if metadata.xmp:
        chunks += _png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _upright_xmp(metadata))
    plain = bytes(imagecodecs.png_encode(codes, level=1))
    behind_header = 8 + 25  # the signature and the IHDR chunk
    return plain[:behind_header] + chunks + plain[behind_header:]


def encode_tiff(codes: Codes, metadata: Metadata, profile: bytes | None = None) -> bytes:
    """8 or 16 bits, as the codes are; one uncompressed strip, little-endian."""
    pixels = np.ascontiguousarray(codes).astype(codes.dtype.newbyteorder("<"), copy=False)
    height, width = codes.shape[:2]
    return tiff_header(height, width, codes.dtype.itemsize * 8, metadata, profile) + pixels.tobytes()


def tiff_header(height: int, width: int, bits: int, metadata: Metadata, profile: bytes | None = None) -> bytes:
    """Everything of a TIFF but its pixels, which follow as one uncompressed little-endian strip of RGB.

    Raises:
        OverflowError: the file would have 4 GiB or more, which its format cannot say.
    """
    size = height * width * 3 * bits // 8
    if size > 2**32 - 2**26:  # less what its metadata may take
        raise OverflowError("a TIFF cannot have 4 GiB")
    tiff = _upright_exif(metadata, profile)
    uncompressed, rgb, contiguous, inch = 1, 2, 1, 2
    # ImageWidth, ImageLength, BitsPerSample, Compression, PhotometricInterpretation, StripOffsets
    # (which Pillow counts from the end of the tags), Orientation, SamplesPerPixel, RowsPerStrip,
    # StripByteCounts, PlanarConfiguration
    tiff.update({256: width, 257: height, 258: (bits,) * 3, 259: uncompressed, 262: rgb, 273: 0})
    tiff.update({ORIENTATION: 1, 277: 3, 278: height, 279: size, 284: contiguous})
    tiff[ICC] = profile or srgb_profile()
    if metadata.xmp:
        tiff[XMP] = _upright_xmp(metadata)
    if metadata.dpi:
        tiff.update({282: metadata.dpi[0], 283: metadata.dpi[1], 296: inch})
    return tiff.tobytes().removeprefix(b"Exif\0\0")


def _upright_exif(metadata: Metadata, profile: bytes | None) -> Image.Exif:
    """The EXIF of what is written: orientation 1, colour space sRGB or that of a profile; empty if there was none."""
    exif = Image.Exif()
    if metadata.exif:
        exif.load(metadata.exif)
        exif[ORIENTATION] = 1
        exif.get_ifd(EXIF_IFD)[_COLOR_SPACE] = _UNCALIBRATED if profile else _SRGB
    exif.endian = "<"
    return exif


def _upright_xmp(metadata: Metadata) -> bytes:
    return re.sub(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)[2-8]""", rb"\g<1>1", metadata.xmp)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
