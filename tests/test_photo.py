"""Photographs survive reading and writing: every format, colour space, orientation and accident."""

from __future__ import annotations

import errno
import io
import logging
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from exposure_gym.color import PROPHOTO_TO_SRGB, TO_SRGB, srgb_decode, srgb_encode
from exposure_gym.photo import (
    DisplayPhoto,
    LinearPhoto,
    Metadata,
    PhotoError,
    Space,
    list_photos,
    read_display,
    read_linear,
    to_square,
    write_display,
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


# Reading: formats


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_integer_tiff(tmp_path: Path, dtype: str, compression: str | None, byteorder: Any, planar: str) -> None:
    pixels = colours(dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    file = tiff(stored, compression=compression, byteorder=byteorder, planarconfig=planar)
    path = save(tmp_path / "a.tif", file)
    np.testing.assert_allclose(read_display(path).pixels, scaled(pixels), atol=1e-7)
    light = read_linear(path).pixels
    assert light.dtype == np.float32
    np.testing.assert_allclose(light, srgb_decode(scaled(pixels)), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("predictor", [False, True])
def test_float_tiff_is_linear_and_may_exceed_white(tmp_path: Path, dtype: str, byteorder: Any, predictor: bool) -> None:
    pixels = (colours("float64") * 5).astype(dtype)
    pixels[0, 0] = -0.25
    options = {"compression": "zlib", "predictor": True} if predictor else {}
    path = save(tmp_path / "a.tif", tiff(pixels, byteorder=byteorder, **options))
    expected = np.maximum(pixels.astype(np.float32), 0)
    np.testing.assert_array_equal(read_linear(path).pixels, expected)
    display = read_display(path).pixels
    assert display.min() == 0
    assert display.max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(display, srgb_encode(expected.clip(0, 1)), atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_grey_and_alpha_tiff(tmp_path: Path, dtype: str) -> None:
    rgb = colours(dtype)
    grey, alpha = rgb[..., 0], rgb[..., 1:2]
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    path = tmp_path / "a.tif"
    shades = np.repeat(grey[..., None], 3, axis=2)
    variants = [
        (tiff(grey), shades),
        (tiff(white - grey, photometric="miniswhite"), shades),
        (
            tiff(
                np.concatenate([grey[..., None], alpha], 2),
                photometric="minisblack",
                planarconfig="contig",
                extrasamples=["unassalpha"],
            ),
            shades,
        ),
        (tiff(np.concatenate([rgb, alpha], axis=2), extrasamples=["unassalpha"]), rgb),
        (
            tiff(
                np.moveaxis(np.concatenate([rgb, alpha], axis=2), -1, 0),
                planarconfig="separate",
                extrasamples=["assocalpha"],
            ),
            rgb,
        ),
        (tiff(rgb, tile=(16, 16), compression="zlib"), rgb),
        (tiff(rgb, rowsperstrip=4, compression="lzw", bigtiff=True), rgb),
    ]
    for data, expected in variants:
        light = read_linear(save(path, data)).pixels
        wanted = expected if dtype == "float32" else srgb_decode(scaled(expected))
        np.testing.assert_allclose(light, wanted, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "P"])
def test_bilevel_and_palette_tiff(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(colours()).quantize(16) if mode == "P" else None
    image = image or Image.fromarray(colours()[..., 0]).convert("1")
    path = save(tmp_path / "a.tif", pillow(image, "TIFF"))
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_allclose(read_display(path).pixels, scaled(expected), atol=1e-7)


def test_a_thumbnail_before_the_photograph_is_skipped(tmp_path: Path) -> None:
    pixels = colours()
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((4, 5, 3), np.uint8), photometric="rgb", subfiletype=1, metadata=None)
        writer.write(pixels, photometric="rgb", metadata=None)
    np.testing.assert_allclose(read_display(path).pixels, scaled(pixels), atol=1e-7)


def test_jpeg_in_colour_and_grey(tmp_path: Path) -> None:
    for pixels in (colours(), colours()[..., 0]):
        data = pillow(Image.fromarray(pixels), "JPEG", quality=98, subsampling=0)
        display = read_display(save(tmp_path / "a.jpg", data)).pixels
        assert display.shape == (21, 34, 3)
        expected = pixels if pixels.ndim == 3 else pixels[..., None]
        assert np.abs(display * 255 - expected).max() < 8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_8_bit_png(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(colours()).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(colours()[..., 1]))
    path = save(tmp_path / "a.png", pillow(image, "PNG"))
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_allclose(read_display(path).pixels, scaled(expected), atol=1e-7)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_16_bits(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, (9, 11, channels), dtype=np.uint16)
    path = save(tmp_path / "a.png", png(pixels if channels > 1 else pixels[..., 0]))
    colour = pixels[..., :3] if channels > 2 else np.repeat(pixels[..., :1], 3, axis=2)
    codes = np.rint(read_display(path).pixels.astype(np.float64) * 65535)
    np.testing.assert_array_equal(codes, colour)


@pytest.mark.parametrize("name", ["a.TIF", "a.jpg", "a.png", "a", "a.raw"])
def test_content_decides_not_the_extension(tmp_path: Path, name: str) -> None:
    pixels = colours("uint16")
    for data in (tiff(pixels), png(pixels)):
        display = read_display(save(tmp_path / name, data)).pixels
        np.testing.assert_allclose(display, scaled(pixels), atol=1e-7)


# Reading: colour


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


@pytest.mark.parametrize(
    ("primaries", "white", "gamma"),
    [
        (ADOBE_PRIMARIES, D65, 563 / 256),
        (P3_PRIMARIES, D65, 2.2),
        (PROPHOTO_PRIMARIES, D50, 1.8),
    ],
    ids=["adobe", "p3", "prophoto"],
)
def test_profiles_against_littlecms(tmp_path: Path, primaries: list[float], white: list[float], gamma: float) -> None:
    profile = rgb_profile(primaries, white, gamma)
    steps = np.linspace(0, 255, 8).astype(np.uint8)
    codes = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(16, 32, 3)
    expected = reference_light(codes, profile)
    wide = codes.astype(np.uint16) * 257
    files = {
        "a.tif": tiff(codes, iccprofile=profile),
        "b.tif": tiff(wide, iccprofile=profile),
        "c.tif": tiff((codes / 255).astype(np.float32), iccprofile=profile),
        "d.png": pillow(Image.fromarray(codes), "PNG", icc_profile=profile),
        "e.png": png_with(png(wide), b"iCCP", b"x\0\0" + zlib.compress(profile)),
    }
    for name, data in files.items():
        display = read_display(save(tmp_path / name, data)).pixels
        assert np.abs(display * 255 - expected).max() <= 1.001, name
    jpeg = pillow(Image.new("RGB", (16, 16), (40, 180, 90)), "JPEG", icc_profile=profile, quality=100)
    decoded = np.asarray(Image.open(io.BytesIO(jpeg)))
    display = read_display(save(tmp_path / "f.jpg", jpeg)).pixels
    assert np.abs(display * 255 - reference_light(decoded, profile)).max() <= 1.001


def test_prophoto_in_16_bits_against_the_definition(tmp_path: Path) -> None:
    profile = rgb_profile(PROPHOTO_PRIMARIES, D50, 1.8)
    codes = np.random.default_rng(2).integers(0, 65536, (150, 20, 3), dtype=np.uint16)
    path = save(tmp_path / "a.tif", tiff(codes, iccprofile=profile))
    # An ICC curve stores its exponent in 1/256ths or 1/65536ths, the matrix in 1/65536ths.
    prophoto = scaled(codes) ** 1.8
    light = read_linear(path, space="prophoto")
    assert light.space == "prophoto"
    np.testing.assert_allclose(light.pixels, prophoto, atol=5e-4)
    srgb = np.maximum(prophoto @ PROPHOTO_TO_SRGB.T, 0)
    np.testing.assert_allclose(read_linear(path).pixels, srgb, atol=1e-3)
    display = read_display(path).pixels
    np.testing.assert_allclose(display, srgb_encode(read_linear(path).pixels.clip(0, 1)), atol=1e-6)
    assert read_linear(path).pixels.min() == 0
    assert read_linear(path).pixels.max() > 1.5


def test_the_table_and_the_pixelwise_conversion_agree(tmp_path: Path) -> None:
    profile = rgb_profile(ADOBE_PRIMARIES, D65, 2.2)
    codes = np.random.default_rng(3).integers(0, 65536, (150, 20, 3), dtype=np.uint16)
    by_table = read_linear(save(tmp_path / "a.tif", tiff(codes, iccprofile=profile))).pixels
    floats = (codes / 65535).astype(np.float32)
    by_pixel = read_linear(save(tmp_path / "b.tif", tiff(floats, iccprofile=profile))).pixels
    np.testing.assert_allclose(by_table, by_pixel, atol=2e-6)


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


def test_a_profile_with_a_table_goes_through_littlecms(tmp_path: Path) -> None:
    profile = lut_profile()
    codes = np.random.default_rng(4).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    path = save(tmp_path / "a.tif", tiff(codes, iccprofile=profile))
    expected = reference_light(codes, profile)
    assert np.abs(read_display(path).pixels * 255 - expected).max() < 2.5


def test_grey_profile(tmp_path: Path) -> None:
    profile = bytes(imagecodecs.cms_profile("gray", gamma=1.8))
    for pixels in (colours("uint16")[..., 0], colours("float32")[..., 0]):
        path = save(tmp_path / "a.tif", tiff(pixels, iccprofile=profile))
        light = read_linear(path).pixels
        shade = pixels if pixels.dtype == np.float32 else scaled(pixels)
        np.testing.assert_allclose(light[..., 0], shade**1.8, atol=5e-4)
        np.testing.assert_array_equal(light[..., 0], light[..., 1])
        np.testing.assert_array_equal(light[..., 0], light[..., 2])
        np.testing.assert_allclose(read_display(path).pixels, srgb_encode(light), atol=1e-5)


def test_another_vendors_srgb_profile_changes_no_code(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    codes = np.arange(65536, dtype=np.uint16)[: 64 * 3 * 300].reshape(-1, 64, 3)
    path = save(tmp_path / "a.tif", tiff(codes, iccprofile=profile))
    np.testing.assert_array_equal(np.rint(read_display(path).pixels * 65535.0), codes)
    np.testing.assert_allclose(read_linear(path).pixels, srgb_decode(scaled(codes)), atol=1e-6)


@pytest.mark.parametrize("space", ["srgb", "prophoto", "rec2020"])
def test_white_stays_white_and_grey_stays_grey(tmp_path: Path, space: Any) -> None:
    shades = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    light = read_linear(save(tmp_path / "a.png", png(shades)), space=space).pixels
    np.testing.assert_allclose(light[0, 255], 1, atol=1e-5)
    np.testing.assert_allclose(light.max(axis=2), light.min(axis=2), atol=1e-5)


def test_linear_profile_keeps_values_over_white(tmp_path: Path) -> None:
    linear = rgb_profile([0.64, 0.33, 1.0, 0.30, 0.60, 1.0, 0.15, 0.06, 1.0], D65, 1.0)
    pixels = colours("float32") * 4
    path = save(tmp_path / "a.tif", tiff(pixels, iccprofile=linear))
    np.testing.assert_allclose(read_linear(path).pixels, pixels, atol=1e-4)


def test_raw_like_brightness(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", png(colours()))
    plain = read_linear(path).pixels
    dark = read_linear(path, brightness="raw-like").pixels
    np.testing.assert_allclose(dark, plain / (2 * plain.max()), rtol=1e-6)
    black = save(tmp_path / "b.png", png(np.zeros((4, 5, 3), np.uint8)))
    assert not read_linear(black, brightness="raw-like").pixels.any()
    faint = np.full((4, 5, 3), 1e-42, np.float32)
    faint_path = save(tmp_path / "c.tif", tiff(faint))
    assert np.isfinite(read_linear(faint_path, brightness="raw-like").pixels).all()


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", png(colours()))
    with pytest.raises(ValueError, match="brightness='dark'"):
        read_linear(path, brightness="dark")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="space='lab'"):
        read_linear(path, space="lab")  # type: ignore[arg-type]


# Reading: orientation and metadata


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_baked_in(tmp_path: Path, orientation: int) -> None:
    pixels = colours()
    stored = stored_as(pixels, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = exif.tobytes()[6:]
    tag = [(274, 3, 1, orientation, True)]
    image = Image.fromarray(stored)
    files = {
        "a.tif": tiff(stored, extratags=tag, byteorder=">"),
        "b.png": pillow(image, "PNG", exif=exif),
        "c.png": png_with(png(stored), b"eXIf", block, at_end=True),
        "d.png": png_with(png(stored.astype(np.uint16) * 257), b"eXIf", block, at_end=True),
        "e.jpg": pillow(image, "JPEG", exif=exif, quality=98, subsampling=0),
    }
    for name, data in files.items():
        photo = read_display(save(tmp_path / name, data))
        tolerance = 9 / 255 if name == "e.jpg" else 1e-6
        assert photo.pixels.flags.c_contiguous
        np.testing.assert_allclose(photo.pixels, scaled(pixels), atol=tolerance, err_msg=name)
        out = tmp_path / f"{name}.tif"
        write_display(out, photo)
        np.testing.assert_allclose(read_display(out).pixels, photo.pixels, atol=1e-5)
    pil_view = np.asarray(Image.open(tmp_path / "b.png").convert("RGB"))
    assert np.array_equal(pil_view, stored)


def sample_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Camera 1", 6
    exif[0x013B], exif[0x8298] = "A. Person", "mine"
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0xA001: 65535, 0xA002: 999, 0xA434: "50 mm"})
    exif.get_ifd(0x8825).update({1: "N", 2: (46.0, 30.0, 5.5)})
    return exif


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" xmp:Rating="4"/></x:xmpmeta>'


@pytest.mark.parametrize("source", ["jpg", "png", "tif"])
@pytest.mark.parametrize("target", ["jpg", "png", "tif"])
@pytest.mark.parametrize("big", [False, True])
def test_metadata_is_kept_and_upright(tmp_path: Path, source: str, target: str, big: bool) -> None:
    exif = sample_exif()
    if big:
        exif.get_ifd(0x8769)[0x927C] = bytes(60_000)  # maker notes
    image = Image.fromarray(colours())
    options: dict[str, Any] = {"exif": exif.tobytes(), "dpi": (240, 240)}
    if source == "tif":
        exif[700] = XMP
        data = pillow(image, "TIFF", exif=exif.tobytes(), dpi=(240, 240))
    elif source == "jpg":
        data = pillow(image, "JPEG", xmp=XMP, **options)
    else:
        data = pillow(image, "PNG", **options)
        data = png_with(data, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    photo = read_display(save(tmp_path / f"in.{source}", data))
    assert photo.pixels.shape == (34, 21, 3)
    out = tmp_path / f"out.{target}"
    write_display(out, photo)

    with Image.open(out) as written:
        assert written.size == (21, 34)
        found = written.getexif()
        assert found[0x0112] == 1
        assert (found[0x010F], found[0x0110]) == ("Maker", "Camera 1")
        assert (found[0x013B], found[0x8298]) == ("A. Person", "mine")
        detail = found.get_ifd(0x8769)
        assert float(detail[0x829A]) == pytest.approx(0.01)
        assert detail[0xA434] == "50 mm"
        assert detail[0xA001] == 1
        assert 0xA002 not in detail
        assert found.get_ifd(0x8825)[2] == pytest.approx((46.0, 30.0, 5.5))
        dpi = written.info["dpi"]
        assert (float(dpi[0]), float(dpi[1])) == pytest.approx((240, 240), abs=0.1)
        xmp = written.info["xmp"]
        assert b'xmp:Rating="4"' in xmp
        assert b'tiff:Orientation="1"' in xmp
        profile = ImageCms.ImageCmsProfile(io.BytesIO(written.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_exif_too_long_for_jpeg_loses_its_maker_notes_only(tmp_path: Path) -> None:
    exif = sample_exif()
    exif.get_ifd(0x8769)[0x927C] = bytes(70_000)
    photo = read_display(save(tmp_path / "a.tif", pillow(Image.fromarray(colours()), "TIFF", exif=exif.tobytes())))
    assert len(photo.metadata.exif) > 70_000
    large = Metadata(photo.metadata.exif, xmp=b"x" * 70_000)
    write_display(tmp_path / "b.jpg", DisplayPhoto(photo.pixels, metadata=large))
    with Image.open(tmp_path / "b.jpg") as written:
        assert written.getexif()[0x010F] == "Maker"
        assert 0x927C not in written.getexif().get_ifd(0x8769)
        assert "xmp" not in written.info


def test_damaged_exif_does_not_lose_the_photograph(tmp_path: Path) -> None:
    data = pillow(Image.fromarray(colours()), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    photo = read_display(save(tmp_path / "a.jpg", data))
    assert photo.metadata.exif == b""
    assert photo.pixels.shape == (21, 34, 3)


def test_a_photograph_without_metadata_gets_none(tmp_path: Path) -> None:
    photo = read_display(save(tmp_path / "a.png", png(colours())))
    assert photo.metadata == Metadata()
    for name in ("b.png", "b.jpg", "b.tif"):
        write_display(tmp_path / name, photo)
        assert read_display(tmp_path / name).metadata == Metadata()


# Reading: accidents


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


@pytest.mark.parametrize("name", truncatable())
def test_every_truncation_is_one_line(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = truncatable()[name]
    assert read_display(save(tmp_path / name, data)).pixels.size == 30 * 40 * 3
    cuts = {*np.linspace(1, len(data) - 1, 40).astype(int).tolist(), len(data) - 2, len(data) - 5}
    with caplog.at_level(logging.DEBUG, logger="tifffile"):
        for cut in sorted(cuts):
            refused(save(tmp_path / name, data[:cut]))
    assert capfd.readouterr() == ("", "")
    assert not [r for r in caplog.records if r.name == "tifffile" and r.levelno >= logging.WARNING]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(truncatable())),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=6),
)
def test_damage_is_read_or_refused_but_never_a_traceback(
    tmp_path: Path, name: str, places: list[tuple[float, int]]
) -> None:
    data = bytearray(truncatable()[name])
    for where, flip in places:
        data[int(where**2 * (len(data) - 1))] ^= flip  # headers more often
    path = save(tmp_path / name, bytes(data))
    try:
        photo = read_linear(path, max_megapixels=1.0)
    except PhotoError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
    else:
        assert np.isfinite(photo.pixels).all()
        assert photo.pixels.min() >= 0


def test_damaged_lzw_strips_do_not_crash_the_process(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    data = tiff(colours(height=60), compression="lzw")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start = file.pages.first.dataoffsets[0]
    refusals = 0
    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(start, len(data), 4):
            damaged[place] = rng.integers(256)
        try:
            read_display(save(tmp_path / "a.tif", bytes(damaged)))
        except PhotoError:
            refusals += 1
    assert refusals > 100


def test_tiff_compressions_that_are_not_decoded_are_named(tmp_path: Path) -> None:
    data = pillow(Image.fromarray(colours()), "TIFF", compression="jpeg")
    assert "compressed as JPEG" in refused(save(tmp_path / "a.tif", data))


def test_missing_empty_folder_and_unknown(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none.jpg")
    assert "is empty" in refused(save(tmp_path / "a.jpg", b""))
    assert "is a folder" in refused(tmp_path)
    assert "not a TIFF, JPEG, PNG" in refused(save(tmp_path / "a.tif", b"hello " * 99))
    assert "not a TIFF, JPEG, PNG" in refused(save(tmp_path / "a.png", pillow(Image.fromarray(colours()), "GIF")))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "not a regular file" in refused(tmp_path / "pipe.jpg")


def test_colour_models_other_than_rgb_and_grey(tmp_path: Path) -> None:
    cmyk = Image.fromarray(colours()).convert("CMYK")
    assert "CMYK" in refused(save(tmp_path / "a.jpg", pillow(cmyk, "JPEG")))
    assert "SEPARATED" in refused(save(tmp_path / "a.tif", pillow(cmyk, "TIFF")))
    lab = tiff(colours(), photometric="cielab")
    assert "CIELAB" in refused(save(tmp_path / "b.tif", lab))


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "tile"])
def test_huge_pictures_are_refused_from_their_header(tmp_path: Path, kind: str) -> None:
    if kind == "jpg":
        data = bytearray(pillow(Image.fromarray(colours()), "JPEG"))
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">2H", 60_000, 60_000)
    elif kind == "png":
        data = bytearray(png(colours()))
        data[16:24] = struct.pack(">2I", 60_000, 60_000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        data = bytearray(tiff(colours(), tile=(16, 16) if kind == "tile" else None))
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tags = file.pages.first.tags
            for code in (256, 257) if kind == "tif" else (322, 323):
                struct.pack_into("<2HII", data, tags[code].offset, code, 4, 1, 60_000)
    path = save(tmp_path / f"a.{kind}", bytes(data))
    message = refused(path)
    assert "3,600 megapixels" in message
    assert "limit of 200" in message
    small = save(tmp_path / "b.png", png(colours()))
    assert "limit of 0.0005" in refused(small, max_megapixels=0.0005)
    assert read_linear(small, max_megapixels=0.001).pixels.shape == (21, 34, 3)


def test_pixels_that_are_no_numbers(tmp_path: Path) -> None:
    for value in (np.nan, np.inf, 1e300):
        pixels = colours("float64")
        pixels[3, 4, 1] = value
        assert "NaN or infinite" in refused(save(tmp_path / "a.tif", tiff(pixels)))


def test_damaged_and_foreign_profiles(tmp_path: Path) -> None:
    good = rgb_profile(ADOBE_PRIMARIES, D65, 2.2)
    grey = bytes(imagecodecs.cms_profile("gray", gamma=2.2))
    for profile in (b"nonsense" * 40, good[:200], good[:128] + b"\xff" * 300):
        message = refused(save(tmp_path / "a.tif", tiff(colours(), iccprofile=profile)))
        assert "colour profile is damaged" in message
    assert "GRAY" in refused(save(tmp_path / "a.tif", tiff(colours(), iccprofile=grey)))


def test_photo_errors_travel_between_processes() -> None:
    error = PhotoError("a\nb.tif", "is damaged", "save it again")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "a b.tif: is damaged; save it again"
    assert isinstance(copy, ValueError)


# Writing


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    form=st.sampled_from([("png", 8), ("png", 16), ("tif", 8), ("tif", 16)]),
)
def test_lossless_round_trips_are_exact(
    tmp_path: Path, height: int, width: int, seed: int, form: tuple[str, Any]
) -> None:
    suffix, bits = form
    limit = 2**bits - 1
    codes = np.random.default_rng(seed).integers(0, limit + 1, (height, width, 3))
    path = tmp_path / f"a.{suffix}"
    display = (codes / limit).astype(np.float32)
    write_display(path, DisplayPhoto(display), bits=bits)
    np.testing.assert_array_equal(read_display(path).pixels, display)
    by_opencv = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert by_opencv is not None
    np.testing.assert_array_equal(by_opencv[..., ::-1], codes)
    np.testing.assert_allclose(read_linear(path).pixels, srgb_decode(display.astype(np.float64)), atol=1e-6)


def test_default_depths_and_other_readers(tmp_path: Path) -> None:
    photo = DisplayPhoto(colours("float32"))
    for name, dtype in (("a.tif", "uint16"), ("b.TIFF", "uint16"), ("c.png", "uint8")):
        write_display(tmp_path / name, photo)
        stored = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        assert stored.dtype == dtype
        limit = np.iinfo(dtype).max
        np.testing.assert_array_equal(stored[..., ::-1], np.rint(photo.pixels * np.float32(limit)))
    write_display(tmp_path / "d.JPG", photo, quality=98)
    with Image.open(tmp_path / "d.JPG") as written:
        assert written.format == "JPEG"
        assert np.abs(np.asarray(written) / 255 - photo.pixels).max() < 6 / 255
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), np.rint(photo.pixels * np.float32(65535)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "b.TIFF", "c.png", "d.JPG"]


def test_rounding_and_clipping(tmp_path: Path) -> None:
    values = np.array([-1, 0, 0.4 / 255, 0.6 / 255, 1, 1.7, np.inf, -np.inf], np.float32)
    path = tmp_path / "a.png"
    write_display(path, DisplayPhoto(np.repeat(values[None, :, None], 3, axis=2)))
    stored = np.asarray(Image.open(path))[0, :, 0]
    assert stored.tolist() == [0, 0, 0, 1, 255, 255, 255, 0]


def test_writing_is_repeatable(tmp_path: Path) -> None:
    photo = DisplayPhoto(colours("float32"))
    for suffix in ("png", "jpg", "tif"):
        write_display(tmp_path / f"a.{suffix}", photo)
        write_display(tmp_path / f"b.{suffix}", photo)
        first, second = ((tmp_path / f"{n}.{suffix}").read_bytes() for n in "ab")
        assert first == second
    with Image.open(tmp_path / "a.tif") as written:  # no time of day, as LittleCMS would put in
        assert written.info["icc_profile"][24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)


@pytest.mark.parametrize("space", ["prophoto", "rec2020"])
def test_edits_in_wide_spaces_are_written_with_right_colours(tmp_path: Path, space: Space) -> None:
    light = np.random.default_rng(6).uniform(0.2, 0.6, (6, 7, 3))
    wide = np.linalg.solve(TO_SRGB[space], light[..., None])[..., 0]
    assert wide.min() > 0
    path = tmp_path / "a.tif"
    write_display(path, DisplayPhoto(srgb_encode(wide).astype(np.float32), space=space))
    np.testing.assert_allclose(read_linear(path).pixels, light, atol=5e-5)
    np.testing.assert_allclose(read_linear(path, space=space).pixels, wide, atol=5e-5)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    photo = DisplayPhoto(colours("float32"))
    cases: list[tuple[str, DisplayPhoto, dict[str, Any], str]] = [
        ("a.webp", photo, {}, "unknown extension"),
        ("a", photo, {}, "unknown extension"),
        ("a.jpg", photo, {"bits": 16}, "cannot hold 16 bits"),
        ("a.png", photo, {"bits": 12}, "cannot hold 12 bits"),
        ("none/a.png", photo, {}, "No such file"),
        ("a.png", DisplayPhoto(photo.pixels[..., 0]), {}, "shape"),
        ("a.png", DisplayPhoto(photo.pixels[:0]), {}, "shape"),
        ("a.png", DisplayPhoto(photo.pixels * np.float32(np.nan)), {}, "NaN"),
        ("wide.jpg", DisplayPhoto(np.zeros((1, 65_600, 3), np.float32)), {}, "no JPEG has an edge"),
    ]
    for name, given_photo, options, reason in cases:
        with pytest.raises(PhotoError, match=reason) as error:
            write_display(tmp_path / name, given_photo, **options)
        one_line(error, tmp_path / name)
    with pytest.raises(TypeError, match="LinearPhoto"):
        write_display(tmp_path / "a.png", LinearPhoto(photo.pixels))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="quality=0"):
        write_display(tmp_path / "a.jpg", photo, quality=0)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PhotoError, match="cannot be written"):
        write_display(tmp_path / "folder.png", photo)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_full_disk_leaves_nothing_new_and_nothing_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    write_display(path, DisplayPhoto(colours("float32")))
    before = path.read_bytes()

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, no_space)
    for target in (path, tmp_path / f"new.{suffix}"):
        with pytest.raises(PhotoError, match="No space left") as error:
            write_display(target, DisplayPhoto(colours("float32") * 0))
        one_line(error, target)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_display(tmp_path / "a.png", DisplayPhoto(colours("float32")))
    assert list(tmp_path.iterdir()) == []


# Lists and squares


def test_list_photos(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub.jpg").mkdir(parents=True)
    for name in ("b.JPG", "a.tiff", "c.png", ".hidden.png", "notes.txt", "d.Tif", "e.jpeg"):
        (folder / name).touch()
    single, missing = tmp_path / "x.bin", tmp_path / "missing.tif"
    single.touch()
    listed = list_photos([str(single), folder, missing])
    inside = ["a.tiff", "b.JPG", "c.png", "d.Tif", "e.jpeg"]
    assert listed == [single, *(folder / name for name in inside), missing]
    assert list_photos([]) == []


@pytest.mark.parametrize("shape", [(130, 201), (201, 130), (64, 64), (640, 64), (7, 9), (1, 1)])
def test_to_square(shape: tuple[int, int]) -> None:
    flat = np.full((*shape, 3), [0.1, 2.5, 0.7], np.float32)
    square = to_square(flat)
    assert square.shape == (64, 64, 3)
    assert square.dtype == np.float32
    np.testing.assert_allclose(square, np.broadcast_to(flat[0, 0], square.shape), rtol=1e-5)


def test_to_square_is_the_mean_over_the_centre() -> None:
    picture = np.random.default_rng(7).random((8, 14, 3)).astype(np.float32)
    expected = picture[:, 3:11].reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(to_square(picture, 4), expected, rtol=1e-5)
    np.testing.assert_array_equal(to_square(picture, 8), picture[:, 3:11])
