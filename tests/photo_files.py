"""Photographs' files, made here byte by byte, and what is asked of every reader."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from exposure_gym.photo import (
    PhotoError,
    read_display,
    read_linear,
)

Array = NDArray[Any]


D50, D65 = [0.3457, 0.3585, 1.0], [0.3127, 0.3290, 1.0]


ADOBE_PRIMARIES = [0.64, 0.33, 1.0, 0.21, 0.71, 1.0, 0.15, 0.06, 1.0]


P3_PRIMARIES = [0.68, 0.32, 1.0, 0.265, 0.69, 1.0, 0.15, 0.06, 1.0]


PROPHOTO_PRIMARIES = [0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0]


def rgb_profile(primaries: list[float], white: list[float], gamma: float) -> bytes:
    return bytes(imagecodecs.cms_profile("rgb", whitepoint=white, primaries=primaries, gamma=gamma))


def colours(dtype: str = "uint8", height: int = 21, width: int = 34) -> Array:
    """A smooth picture that no rotation, mirror image or exchange of channels leaves as it was."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    picture = np.stack([0.1 + 0.8 * x, 0.9 - 0.7 * y, 0.2 + 0.5 * x * y], axis=-1)
    if dtype.startswith("f"):
        return picture.astype(dtype)
    codes: Array = np.rint(picture * np.iinfo(dtype).max)
    return codes.astype(dtype)


def png(pixels: Array) -> bytes:
    return bytes(imagecodecs.png_encode(pixels))


def png_with(data: bytes, kind: bytes, payload: bytes, *, at_end: bool = False) -> bytes:
    chunk = struct.pack(">I", len(payload)) + kind + payload
    chunk += struct.pack(">I", zlib.crc32(kind + payload))
    place = len(data) - 12 if at_end else 33
    return data[:place] + chunk + data[place:]


def pillow(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: Array, **options: Any) -> bytes:
    buffer = io.BytesIO()
    options.setdefault("photometric", "rgb" if pixels.ndim == 3 else "minisblack")
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def scaled(pixels: Array) -> Array:
    """Display values of integer codes."""
    return pixels / np.iinfo(pixels.dtype).max


def reference_light(codes: Array, profile: bytes) -> Array:
    """LittleCMS pixel by pixel, through Pillow's own copy of it, to 8-bit sRGB."""
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        "RGB",
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.NOOPTIMIZE,
    )
    converted = ImageCms.applyTransform(Image.fromarray(codes), transform)
    assert converted is not None
    return np.asarray(converted)


def lut_profile() -> bytes:
    """An RGB profile whose table mixes channels as no curves and matrix can."""

    def tag(kind: bytes, body: bytes) -> bytes:
        return kind + bytes(4) + body + bytes(-len(body) % 4)

    grid = 2
    nodes = [(b * 0.5, g * 0.5 + 0.2 * r * b, r * 0.5) for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    table = struct.pack(">24H", *[round(min(v, 1) * 32768) for node in nodes for v in node])
    ramp = struct.pack(">2H", 0, 65535)
    identity = struct.pack(">9i", *[65536 if i % 4 == 0 else 0 for i in range(9)])
    body = bytes([3, 3, grid, 0]) + identity + struct.pack(">2H", 2, 2) + ramp * 3 + table + ramp * 3
    a2b = tag(b"mft2", body)
    text = tag(b"desc", struct.pack(">I", 4) + b"lut\0" + bytes(78))
    white = tag(b"XYZ ", struct.pack(">3i", 63190, 65536, 54061))
    blocks = [(b"desc", text), (b"wtpt", white), (b"A2B0", a2b), (b"cprt", tag(b"text", b"none\0"))]
    offset = 128 + 4 + 12 * len(blocks)
    table_of_tags = struct.pack(">I", len(blocks))
    for name, block in blocks:
        table_of_tags += name + struct.pack(">2I", offset, len(block))
        offset += len(block)
    header = struct.pack(">I4s", offset, bytes(4)) + bytes.fromhex("02400000") + b"mntrRGB XYZ "
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table_of_tags + b"".join(block for _, block in blocks)


def stored_as(pixels: Array, orientation: int) -> Array:
    """What a camera stores so that this orientation shows `pixels`: the definition, inverted."""
    inverse: dict[int, Callable[[Array], Array]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: np.rot90(a, 2),
        4: lambda a: a[::-1],
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(inverse[orientation](pixels))


def sample_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Camera 1", 6
    exif[0x013B], exif[0x8298] = "A. Person", "mine"
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0xA001: 65535, 0xA002: 999, 0xA434: "50 mm"})
    exif.get_ifd(0x8825).update({1: "N", 2: (46.0, 30.0, 5.5)})
    return exif


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" xmp:Rating="4"/></x:xmpmeta>'


def one_line(error: pytest.ExceptionInfo[PhotoError], path: Path) -> str:
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "; " in message
    assert "\n" not in message
    return message


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(PhotoError) as linear:
        read_linear(path, **options)
    with pytest.raises(PhotoError) as display:
        read_display(path, **options)
    assert str(linear.value) == str(display.value)
    return one_line(linear, path)


def truncatable() -> dict[str, bytes]:
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 65536, (30, 40, 3), dtype=np.uint16)
    noise8 = (noise >> 8).astype(np.uint8)
    image = Image.fromarray(noise8)
    profile = rgb_profile(ADOBE_PRIMARIES, D65, 2.2)
    exif = sample_exif()
    return {
        "baseline.jpg": pillow(image, "JPEG", icc_profile=profile, exif=exif),
        "progressive.jpg": pillow(image, "JPEG", progressive=True),
        "eight.png": pillow(image, "PNG", icc_profile=profile, exif=exif),
        "palette.png": pillow(image.quantize(16), "PNG"),
        "sixteen.png": png(noise),
        "plain.tif": tiff(noise, iccprofile=profile),
        "lzw.tif": tiff(noise, compression="lzw", rowsperstrip=7),
        "deflate.tif": tiff(noise8, compression="zlib", predictor=True),
        "tiled.tif": tiff(noise8, compression="packbits", tile=(16, 16)),
        "directory_last.tif": pillow(image, "TIFF", compression="tiff_lzw", icc_profile=profile),
        "bigtiff.tif": tiff(noise, bigtiff=True, byteorder=">"),
    }
