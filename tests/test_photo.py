"""Photographs survive reading and writing: every format, colour space, orientation and accident."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from photo_files import (
    ADOBE_PRIMARIES,
    D50,
    D65,
    P3_PRIMARIES,
    PROPHOTO_PRIMARIES,
    XMP,
    colours,
    lut_profile,
    pillow,
    png,
    png_with,
    reference_light,
    rgb_profile,
    sample_exif,
    save,
    scaled,
    stored_as,
    tiff,
)
from PIL import Image, ImageCms

from exposure_gym.color import PROPHOTO_TO_SRGB, srgb_decode, srgb_encode
from exposure_gym.photo import (
    DisplayPhoto,
    Metadata,
    read_display,
    read_linear,
    write_display,
)

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
