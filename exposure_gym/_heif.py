"""HEIC files through pillow-heif (libheif), which comes with the ``heif`` extra, and AVIF files through Pillow."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exposure_gym._decode import Decoded, Metadata, Unreadable, clean_exif, refuse_huge, with_pillow_metadata

REMEDY = "HEIC files need pillow-heif: pip install 'exposure-gym[heif]'"
_BT709, _UNSPECIFIED, _DISPLAY_P3 = 1, 2, 12  # colour primaries of ISO/IEC 23091-2
_PQ, _HLG = 16, 18  # transfer characteristics of HDR


def available() -> bool:
    """Whether pillow-heif is installed."""
    return find_spec("pillow_heif") is not None


def decode_heif(file: BinaryIO, max_megapixels: float) -> Decoded:
    """Decode the main picture of a HEIC or AVIF file, upright.

    HEIC of 10 or 12 bits fills 16; of AVIF Pillow gives 8. The profile is the embedded one, or that of the primaries
    that a HEIC file names; there is none for sRGB, nor for an AVIF file without an embedded one.

    Raises:
        Unreadable: pillow-heif is not installed, or the file is damaged, too large, HDR, or neither HEIC nor AVIF.
    """
    data = file.read()
    if b"avif" in data[8:64] or b"avis" in data[8:64]:
        return _decode_avif(data, max_megapixels)
    if not available():
        raise Unreadable("is a HEIC photograph", REMEDY)
    import pillow_heif

    try:
        image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
        width, height = image.size
        refuse_huge(width, height, max_megapixels)
        profile = _profile(image.info)
        pixels = _full_range(np.asarray(image), image.mode, int(image.info["bit_depth"]))
    except (ValueError, SyntaxError, EOFError, RuntimeError, OSError, IndexError) as error:
        raise Unreadable(f"is damaged, or no HEIC photograph ({error})") from None

    def load_exif() -> Image.Exif:
        exif = Image.Exif()
        exif.load(image.info["exif"] or b"")
        return exif

    exif, _ = clean_exif(load_exif)  # libheif has turned the picture already
    xmp = image.info.get("xmp") or b""
    return Decoded(pixels, profile, Metadata(exif, bytes(xmp).rstrip(b"\0")))


def _decode_avif(data: bytes, max_megapixels: float) -> Decoded:
    from PIL.AvifImagePlugin import AvifImageFile

    image = AvifImageFile(io.BytesIO(data))
    refuse_huge(*image.size, max_megapixels)
    image.load()
    return with_pillow_metadata(np.asarray(image.convert("RGB")), image)


def _profile(info: dict[str, Any]) -> bytes:
    """What the codes mean, as an ICC profile; empty for sRGB."""
    if info.get("icc_profile"):
        return bytes(info["icc_profile"])
    named = info.get("nclx_profile") or {}
    if named.get("transfer_characteristics") in (_PQ, _HLG):
        raise Unreadable("is an HDR photograph", "export it with a standard range")
    primaries = named.get("color_primaries", _UNSPECIFIED)
    if primaries == _DISPLAY_P3:
        from exposure_gym._output_profiles import icc

        return icc("display-p3")
    if primaries not in (_BT709, _UNSPECIFIED):
        raise Unreadable(f"has primaries that are not known here (number {int(primaries)})", "export it as sRGB")
    return b""


def _full_range(pixels: NDArray[Any], mode: str, bits: int) -> NDArray[Any]:
    """Codes without alpha; libheif's of 10 or 12 bits are shifted up to 16, where white is not quite 65535."""
    if mode.startswith(("RGB", "BGR")):
        pixels = pixels[..., :3]
    elif pixels.ndim == 3:
        pixels = pixels[..., 0]
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    limit = 65535 - 65535 // 2**bits
    return np.ascontiguousarray((pixels.astype(np.uint32) * 65535 + limit // 2) // limit).astype(np.uint16)
