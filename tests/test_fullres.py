"""Full-size photographs from file to file: the same picture as the float path gives."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from fullres_tools import AS_IT_IS, RECIPE, Array, assert_same, difference, stored
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
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
    rgb_profile,
    sample_exif,
    save,
    stored_as,
    tiff,
)
from PIL import Image, ImageCms

from exposure_gym import fused, kernels
from exposure_gym._icc import srgb_profile
from exposure_gym.color import srgb_decode
from exposure_gym.filters import ALL_FILTERS
from exposure_gym.fullres import PROFILES, develop_file
from exposure_gym.fused import Pass, Source, Target
from exposure_gym.photo import DisplayPhoto, PhotoError, read_display, read_linear, write_display
from exposure_gym.recipe import Edit, Recipe


@pytest.fixture(autouse=True)
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many bands, and threads, even for a small picture."""
    monkeypatch.setattr(fused, "BAND", 100)


ACTION = st.floats(-0.875, 0.875, width=32)  # at a level's extremes the least rounding becomes anything


@st.composite
def edits(draw: st.DrawFn) -> Edit:
    name = draw(st.sampled_from(sorted(ALL_FILTERS)))
    count = ALL_FILTERS[name].num_actions
    action = draw(st.lists(ACTION, min_size=count, max_size=count))
    return Edit.from_action(name, action, draw(st.none() | st.lists(ACTION, min_size=6, max_size=6)))


RGB_PROFILES = {
    "none": None,
    "srgb": srgb_profile(),
    "another srgb": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "adobe": rgb_profile(ADOBE_PRIMARIES, D65, 563 / 256),
    "p3": rgb_profile(P3_PRIMARIES, D65, 2.2),
    "prophoto": rgb_profile(PROPHOTO_PRIMARIES, D50, 1.8),
    "table": lut_profile(),
}


GREY_PROFILES = {"none": None, "grey": bytes(imagecodecs.cms_profile("gray", gamma=1.8))}


# What codes mean, and what edits do to them


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(edits(), max_size=4),
    height=st.integers(1, 23),
    width=st.integers(1, 41),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    profile=st.sampled_from(sorted(RGB_PROFILES)),
    space=st.sampled_from(["srgb", "prophoto", "rec2020", "display"]),
    brightness=st.sampled_from(["as-is", "raw-like"]),
    seed=st.integers(0, 99),
)
@example([], 3, 5, "uint16", "none", "srgb", "as-is", 0)
@example(list(RECIPE.edits), 23, 41, "uint16", "none", "srgb", "raw-like", 1)
@example(list(RECIPE.edits), 23, 41, "uint16", "prophoto", "prophoto", "raw-like", 2)
def test_random_recipes_on_colour(
    tmp_path: Path,
    edits: list[Edit],
    height: int,
    width: int,
    dtype: str,
    profile: str,
    space: Any,
    brightness: Any,
    seed: int,
) -> None:
    floats = np.random.default_rng(seed).uniform(0.0, 1.0, (height, width, 3))
    pixels = floats.astype(dtype) if dtype == "float32" else np.rint(floats * np.iinfo(dtype).max).astype(dtype)
    path = save(tmp_path / "a.tif", tiff(pixels, iccprofile=RGB_PROFILES[profile]))
    if space == "display":
        assert_same(tmp_path, path, Recipe(tuple(edits), input_domain="display"))
    else:
        assert_same(tmp_path, path, Recipe(tuple(edits), space), brightness=brightness)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(edits(), max_size=3),
    dtype=st.sampled_from(["uint8", "uint16"]),
    profile=st.sampled_from(sorted(GREY_PROFILES)),
    display=st.booleans(),
)
def test_random_recipes_on_grey(tmp_path: Path, edits: list[Edit], dtype: str, profile: str, display: bool) -> None:
    path = save(tmp_path / "a.tif", tiff(colours(dtype)[..., 0], iccprofile=GREY_PROFILES[profile]))
    assert_same(tmp_path, path, Recipe(tuple(edits), input_domain="display" if display else "linear"))


def test_grey_stays_grey_in_prophoto(tmp_path: Path) -> None:
    """Rounding in a matrix would give it a colour, which ``saturation`` brings out."""
    recipe = Recipe((Edit("exposure", (3.0,)), Edit("saturation", (1.0,))), "prophoto")
    path = save(tmp_path / "a.tif", tiff(np.arange(9000, dtype=np.uint16).reshape(90, 100)))
    develop_file(path, recipe, tmp_path / "b.tif")
    codes = stored(tmp_path / "b.tif")
    assert np.ptp(codes, axis=2).max() <= 1
    assert codes.max() > 5_000


@settings(max_examples=30)
@given(
    edits=st.lists(edits(), max_size=4), height=st.integers(1, 23), width=st.integers(1, 41), seed=st.integers(0, 99)
)
def test_floats_are_edited_alike_by_kernels_and_filters(edits: list[Edit], height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).uniform(0.0, 1.5, (height, width, 3)).astype(np.float32)
    recipe = Recipe(tuple(edits))
    expected = recipe.apply_photo(pixels.astype(np.float64))
    bound = 1e-4 * max(1.0, float(np.abs(expected).max()))
    result = recipe.apply_photo(pixels)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=bound)
    np.testing.assert_allclose(recipe.apply(pixels.transpose(2, 0, 1)), expected.transpose(2, 0, 1), rtol=0, atol=bound)
    wide = np.zeros((height, width, 4), np.float32)  # neither this ...
    recipe.apply_photo(pixels[::-1], out=wide[..., :3])  # ... nor that lies in one piece
    flipped = recipe.apply_photo(np.ascontiguousarray(pixels[::-1]))
    np.testing.assert_array_equal(wide[..., :3], flipped)
    assert not wide[..., 3].any()
    recipe.apply_photo(pixels, out=pixels)
    np.testing.assert_array_equal(pixels, result)


def test_a_filter_without_a_kernel_is_applied_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.tif", tiff(colours("uint16")))
    develop_file(path, RECIPE, tmp_path / "b.tif", brightness="raw-like")
    fewer = {name: code for name, code in kernels.CODES.items() if name != "contrast"}
    monkeypatch.setattr(kernels, "CODES", fewer)
    assert_same(tmp_path, path, RECIPE, brightness="raw-like")
    assert np.abs(stored(tmp_path / "b.tif") - stored(tmp_path / "ours.tif")).max() <= 1
    develop_file(path, RECIPE, tmp_path / "c.tif", profile="prophoto")
    assert_same(tmp_path, path, replace(RECIPE, input_domain="display"))


def test_strides_byte_orders_and_memory_maps(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 65536, (14, 18, 3), dtype=np.uint16)
    table = np.tile(srgb_decode(np.linspace(0, 1, 65536)).astype(np.float32), (3, 1))
    develop = Pass(RECIPE.edits, (14, 18), Source(table, None), Target(16))

    def finished(pixels: Array) -> Array:
        out = np.zeros((14, 18, 3), np.uint16)
        for top in range(0, 14, 5):
            develop(pixels[top : top + 5], top, out[top : top + 5])
        return out

    expected = finished(codes)
    assert expected.std() > 5000
    with_alpha = np.dstack([codes, codes[..., 0]])
    np.save(tmp_path / "codes.npy", codes)
    variants = {
        "alpha": with_alpha[..., :3],
        "planes": np.moveaxis(np.ascontiguousarray(np.moveaxis(codes, 2, 0)), 0, 2),
        "upside down": np.ascontiguousarray(codes[::-1])[::-1],
        "big-endian": codes.astype(">u2"),
        "memory map": np.load(tmp_path / "codes.npy", mmap_mode="r"),
    }
    for name, pixels in variants.items():
        np.testing.assert_array_equal(finished(pixels), expected, err_msg=name)
    develop(codes, 0, codes)  # in place
    np.testing.assert_array_equal(codes, expected)


def test_nan_is_an_error(tmp_path: Path) -> None:
    endless = Recipe((*[Edit("exposure", (100.0,))] * 2, Edit("black_white", (2.0,))))  # infinity less infinity
    path = save(tmp_path / "a.tif", tiff(colours("uint16")))
    with pytest.raises(PhotoError, match=r"b.tif: some pixels are NaN; check the edit"):
        develop_file(path, endless, tmp_path / "b.tif")
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def layouts() -> dict[str, bytes]:
    """Every way in which a TIFF or another file can hold pixels."""
    rng = np.random.default_rng(1)
    wide = rng.integers(0, 65536, (31, 45, 3), dtype=np.uint16)
    narrow = (wide >> 8).astype(np.uint8)
    alpha, planes = np.dstack([wide, wide[..., 0]]), np.ascontiguousarray(np.moveaxis(wide, 2, 0))
    image = Image.fromarray(narrow)
    bits = np.packbits(narrow[..., 0] > 128, axis=1)
    files: dict[str, bytes] = {
        "one strip": tiff(wide),
        "strips": tiff(narrow, rowsperstrip=4),
        "big-endian strips": tiff(wide, rowsperstrip=4, byteorder=">"),
        "planes": tiff(planes, planarconfig="separate", rowsperstrip=5),
        "alpha": tiff(alpha, extrasamples=["unassalpha"]),
        "grey": tiff(wide[..., 0]),
        "white is zero": tiff(narrow[..., 0], photometric="miniswhite", rowsperstrip=6),
        "grey and alpha": tiff(alpha[..., :2], photometric="minisblack", extrasamples=["unassalpha"]),
        "tiles, uncompressed": tiff(wide, tile=(16, 32)),
        "deflate tiles in planes": tiff(planes, planarconfig="separate", tile=(16, 16), compression="zlib"),
        "BigTIFF": tiff(wide, bigtiff=True, rowsperstrip=3, compression="lzw"),
        "palette": pillow(image.quantize(16), "TIFF", compression="tiff_lzw"),
        "two values": pillow(Image.fromarray(narrow[..., 0]).convert("1"), "TIFF", compression="packbits"),
        "bits reversed": tiff(bits, photometric="minisblack"),
        "32 bits": tiff(wide.astype(np.uint32) * 65537, compression="zlib", rowsperstrip=7),
        "half floats": tiff((wide / 65535).astype(np.float16), compression="zlib", predictor=True, rowsperstrip=7),
        "floats": tiff((wide / 40000).astype(np.float32), rowsperstrip=7),
        "double floats in tiles": tiff((wide / 40000).astype(np.float64), tile=(16, 16)),
        "png": pillow(image, "PNG"),
        "16-bit png": png(wide),
        "grey png": pillow(image.convert("L"), "PNG"),
        "jpeg": pillow(image, "JPEG", quality=95),
        "grey jpeg": pillow(image.convert("L"), "JPEG"),
    }
    for compression in ("lzw", "zlib", "packbits"):
        for order in "<>":
            strips = {"compression": compression, "byteorder": order, "rowsperstrip": 4}
            files[f"{compression} {order}"] = tiff(wide, **strips)
            if compression != "packbits":
                files[f"{compression} {order} with predictor"] = tiff(wide, predictor=True, **strips)
    return files


# Files


@pytest.mark.parametrize("name", layouts())
@pytest.mark.filterwarnings("ignore:.*extrasamples:DeprecationWarning")
def test_every_layout(tmp_path: Path, name: str) -> None:
    assert_same(tmp_path, save(tmp_path / "a", layouts()[name]), RECIPE)


def test_reversed_bits(tmp_path: Path) -> None:
    """FillOrder 2: the same picture, every byte the other way round."""
    pixels = colours()
    written = tiff(pixels, extratags=[(267, 3, 1, 2, True)])  # tifffile does not write the tag itself
    data = bytearray(written.replace(struct.pack("<2H", 267, 3), struct.pack("<2H", 266, 3), 1))
    start = len(data) - pixels.size
    data[start:] = np.packbits(np.unpackbits(pixels.reshape(-1, 1), axis=1)[:, ::-1], axis=1).tobytes()
    path = save(tmp_path / "a.tif", bytes(data))
    np.testing.assert_array_equal(np.rint(read_display(path).pixels * 255), pixels)
    assert_same(tmp_path, path, RECIPE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_orientation(tmp_path: Path, orientation: int, compression: str | None) -> None:
    turned = stored_as(colours("uint16"), orientation)
    options: dict[str, Any] = {"rowsperstrip": 3, "compression": compression}
    path = save(tmp_path / "a.tif", tiff(turned, extratags=[(274, 3, 1, orientation, True)], **options))
    assert_same(tmp_path, path, RECIPE)
    upright = save(tmp_path / "b.tif", tiff(colours("uint16")))
    develop_file(upright, RECIPE, tmp_path / "c.tif")
    np.testing.assert_array_equal(stored(tmp_path / "ours.tif"), stored(tmp_path / "c.tif"))


@pytest.mark.parametrize("kind", ["tif", "png"])
@pytest.mark.parametrize("bits", [8, 16])
def test_kinds_and_depths(tmp_path: Path, kind: str, bits: int) -> None:
    path = save(tmp_path / "a.tif", tiff(colours("uint16"), iccprofile=RGB_PROFILES["adobe"]))
    assert_same(tmp_path, path, RECIPE, kind, bits=bits)
    with Image.open(tmp_path / f"ours.{kind}") as image:
        assert image.info["icc_profile"] == srgb_profile()


def test_jpeg_is_what_write_display_writes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", tiff(colours("uint16")))
    develop_file(path, RECIPE, tmp_path / "a.jpg", quality=90)
    photo = read_linear(path)
    write_display(
        tmp_path / "b.jpg", DisplayPhoto(RECIPE.apply_photo(photo.pixels), metadata=photo.metadata), quality=90
    )
    one, other = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("a.jpg", "b.jpg"))
    assert np.abs(one - other).mean() < 0.1
    assert (tmp_path / "a.jpg").stat().st_size == pytest.approx((tmp_path / "b.jpg").stat().st_size, rel=0.02)


@pytest.mark.parametrize("profile", PROFILES)
def test_output_profiles_against_littlecms(tmp_path: Path, profile: Any) -> None:
    """A grid of sRGB colours through our conversion, back by LittleCMS with the profile that is embedded."""
    steps = np.linspace(0, 65535, 12).astype(np.uint16)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(36, 48, 3)
    path = save(tmp_path / "a.tif", tiff(grid))
    develop_file(path, AS_IT_IS, tmp_path / "b.tif", profile=profile)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        written, embedded = file.asarray(), file.pages.first.tags.valueof(34675)
    back = imagecodecs.cms_transform(
        written, embedded, srgb_profile(), colorspace="rgb", outcolorspace="rgb", outdtype="float32", intent=1
    )
    assert difference(back, grid / 65535).max() < 0.1
    if profile != "srgb":
        assert difference(written / 65535, grid / 65535).max() > 2
    np.testing.assert_allclose(read_display(tmp_path / "b.tif").pixels, grid / 65535, atol=3e-3)
    name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(embedded))).strip()
    assert {"srgb": "sRGB", "display-p3": "Display P3", "adobe-rgb": "Adobe RGB", "prophoto": "ProPhoto"}[
        profile
    ] in name


def test_what_a_profile_cannot_show_is_clipped(tmp_path: Path) -> None:
    green = np.zeros((2, 3, 3), np.uint16)
    green[..., 1] = 65535
    path = save(tmp_path / "a.tif", tiff(green, iccprofile=RGB_PROFILES["prophoto"]))
    edit = Recipe((Edit("gamma", (1 / 2.2,)),), "prophoto")
    develop_file(path, edit, tmp_path / "b.tif")
    assert stored(tmp_path / "b.tif")[0, 0].tolist() == [0, 65535, 0]
    develop_file(path, edit, tmp_path / "c.tif", profile="prophoto")
    red, full, blue = stored(tmp_path / "c.tif")[0, 0]
    assert full == 65535
    assert 0 < max(red, blue) < 10_000  # gamma lifts black to 0.001


@pytest.mark.parametrize("profile", ["srgb", "display-p3"])
@pytest.mark.parametrize("kind", ["tif", "png", "jpg"])
def test_metadata_is_kept_or_stripped(tmp_path: Path, kind: str, profile: Any) -> None:
    exif = sample_exif()
    exif[700] = XMP
    data = pillow(Image.fromarray(colours()), "TIFF", exif=exif.tobytes(), dpi=(240, 240))
    path, target = save(tmp_path / "a.tif", data), tmp_path / f"b.{kind}"
    assert develop_file(path, RECIPE, target, profile=profile) == (34, 21)
    with Image.open(target) as image:
        found = image.getexif()
        assert (found[0x0112], found[0x0110]) == (1, "Camera 1")
        assert found.get_ifd(0x8769)[0xA001] == (1 if profile == "srgb" else 65535)
        assert found.get_ifd(0x8825)[2] == pytest.approx((46.0, 30.0, 5.5))
        assert b'xmp:Rating="4"' in image.info["xmp"]
        assert float(image.info["dpi"][0]) == pytest.approx(240, abs=0.1)
    develop_file(path, RECIPE, target, profile=profile, metadata="strip")
    data = target.read_bytes()
    assert not [word for word in (b"Camera", b"Rating", b"Person") if word in data]
    with Image.open(target) as image:
        assert 0x8825 not in image.getexif()
        assert image.size == (21, 34)
