"""Full-size photographs from file to file: the same picture as the float path gives, and never half of one."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms
from skimage.color import deltaE_ciede2000, rgb2lab
from test_photo import (
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
    truncatable,
)

from exposure_gym import fused, kernels
from exposure_gym._icc import srgb_profile
from exposure_gym.color import srgb_decode
from exposure_gym.filters import ALL_FILTERS
from exposure_gym.fullres import PROFILES, develop_file
from exposure_gym.fused import Pass, Source, Target
from exposure_gym.photo import DisplayPhoto, PhotoError, read_display, read_input, read_linear, write_display
from exposure_gym.recipe import Edit, Recipe

Array = NDArray[Any]

RECIPE = Recipe(
    (
        Edit("exposure", (1.3,)),
        Edit("gamma", (1 / 2.4,)),
        Edit("contrast", (0.3,), (1.0, -2.0, 3.0, 0.5, 4.0, 3.0)),
        Edit("white_balance", (1.05, 0.99, 0.92)),
        Edit("saturation", (0.4,)),
        Edit("tone", (0.8, 1.0, 1.2, 1.3, 1.2, 1.0, 0.9, 0.8)),
        Edit("vignette", (2.0, -1.0, 3.0, 4.0, 1.0)),
    )
)
AS_IT_IS = Recipe(input_domain="display")


@pytest.fixture(autouse=True)
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many bands, and threads, even for a small picture."""
    monkeypatch.setattr(fused, "BAND", 100)


def by_floats(source: Path, recipe: Recipe, target: Path, brightness: Any = "as-is", bits: Any = None) -> Path:
    """The same by reading, editing in float64, which has no compiled loops, and writing."""
    reading = "display" if recipe.input_domain == "display" else "raw-like" if brightness == "raw-like" else "linear"
    photo = read_input(source, reading, space=recipe.working_space)  # type: ignore[arg-type]
    pixels = recipe.apply_photo(photo.pixels.astype(np.float64)).astype(np.float32)
    write_display(target, DisplayPhoto(pixels, recipe.working_space, photo.metadata), bits=bits)
    return target


def difference(one: Array, other: Array) -> Array:
    """CIEDE2000 of pictures in display values."""
    return np.asarray(deltaE_ciede2000(rgb2lab(one), rgb2lab(other)))  # type: ignore[no-untyped-call]


def stored(path: Path) -> Array:
    """The codes of a file, read by nobody's code of this project."""
    data = path.read_bytes()
    if path.suffix == ".tif":
        pixels = np.asarray(tifffile.imread(io.BytesIO(data)))
    else:
        pixels = np.asarray(imagecodecs.imread(data))
    return pixels.astype(int)


def assert_same(folder: Path, source: Path, recipe: Recipe, kind: str = "tif", **options: Any) -> None:
    """Both ways give the same file, to one code."""
    ours = folder / f"ours.{kind}"
    size = develop_file(source, recipe, ours, **options)
    theirs = by_floats(
        source, recipe, folder / f"theirs.{kind}", options.get("brightness", "as-is"), options.get("bits")
    )
    one, other = stored(ours), stored(theirs)
    assert one.shape == other.shape == (*size, 3)
    assert np.abs(one - other).max() <= 1
    assert (one != other).mean() < 0.05
    head = len(ours.read_bytes()) - one.size * (2 if kind == "tif" else 0)
    if kind == "tif":
        assert ours.read_bytes()[:head] == theirs.read_bytes()[:head]


# What codes mean, and what edits do to them

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


# Files


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


def test_the_result_may_take_the_place_of_the_source(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", tiff(colours("uint16"), rowsperstrip=3))
    develop_file(path, RECIPE, tmp_path / "b.tif")
    develop_file(path, RECIPE, path)
    assert path.read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("name", truncatable())
def test_every_truncation_is_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    data, path, target = truncatable()[name], tmp_path / name, tmp_path / "out.tif"
    develop_file(save(path, data), RECIPE, target)
    before = target.read_bytes()
    for cut in {*np.linspace(1, len(data) - 1, 15).astype(int).tolist(), len(data) - 2}:
        with pytest.raises(PhotoError) as error:
            develop_file(save(path, data[:cut]), RECIPE, target)
        message = str(error.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert target.read_bytes() == before
        assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, "out.tif"])


def tags_of(data: bytes) -> dict[int, object]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return {tag.code: tag.value for tag in file.pages.first.tags}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(truncatable())),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=6),
)
def test_damage_is_read_as_by_the_reader_or_refused(tmp_path: Path, name: str, places: list[tuple[float, int]]) -> None:
    data = bytearray(truncatable()[name])
    for where, flip in places:
        data[int(where**2 * (len(data) - 1))] ^= flip  # headers more often
    path, target = save(tmp_path / name, bytes(data)), tmp_path / "out.tif"
    target.unlink(missing_ok=True)
    try:
        develop_file(path, Recipe(), target, max_megapixels=1.0)
    except PhotoError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
        assert not target.exists()
        return
    if name.endswith(".tif") and tags_of(bytes(data)) != tags_of(truncatable()[name]):
        return  # what pixels are then, libtiff may guess otherwise for a whole file than for a strip
    assert_same(tmp_path, path, Recipe(), max_megapixels=1.0)


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", tiff(colours("uint16")))
    target = tmp_path / "b.tif"
    calls: list[tuple[str, Callable[[], object]]] = [
        (r"none.tif: does not exist", lambda: develop_file(tmp_path / "none.tif", RECIPE, target)),
        (r"is a folder", lambda: develop_file(tmp_path, RECIPE, target)),
        (r"b.gif: unknown extension", lambda: develop_file(path, RECIPE, tmp_path / "b.gif")),
        (r"cannot hold 16 bits", lambda: develop_file(path, RECIPE, tmp_path / "b.jpg", bits=16)),
        (r"none.b.tif: cannot be written", lambda: develop_file(path, RECIPE, tmp_path / "none" / "b.tif")),
        (r"over the limit", lambda: develop_file(path, RECIPE, target, max_megapixels=0.0001)),
        (r"use 'srgb', 'display-p3'", lambda: develop_file(path, RECIPE, target, profile="cmyk")),  # type: ignore[arg-type]
        (r"use 'keep' or 'strip'", lambda: develop_file(path, RECIPE, target, metadata="gps")),  # type: ignore[arg-type]
        (r"quality=0", lambda: develop_file(path, RECIPE, target, quality=0)),
        (r"display values", lambda: develop_file(path, AS_IT_IS, target, brightness="raw-like")),
    ]
    for message, call in calls:
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.tif", tiff(colours("uint16")))
    written: list[int] = []

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        written.append(offset)
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        return len(data)

    monkeypatch.setattr("os.pwrite", pwrite)
    with pytest.raises(PhotoError, match=r"b.tif: cannot be written \(No space left"):
        develop_file(path, RECIPE, tmp_path / "b.tif")
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


# Dithering


def ramp(bits: int = 16) -> Array:
    """A grey slope so gentle that 8 bits make broad steps of it."""
    row = np.linspace(20_000, 20_800, 256).astype(np.uint16)
    return np.repeat(np.repeat(row[None, :], 128, axis=0)[..., None], 3, axis=2)


def test_dithering_keeps_the_mean_and_moves_no_value_by_a_code(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", tiff(ramp()))
    develop_file(path, AS_IT_IS, tmp_path / "plain.png")
    develop_file(path, AS_IT_IS, tmp_path / "dithered.png", dither=True)
    plain, dithered = stored(tmp_path / "plain.png"), stored(tmp_path / "dithered.png")
    exact = ramp() * (255 / 65535)
    assert np.abs(dithered - exact).max() < 1
    columns = np.abs(dithered.mean(axis=0) - exact[0])
    assert columns.max() < 0.03
    assert np.abs(plain.mean(axis=0) - exact[0]).max() > 0.4
    # White noise as strong as this would leave 0.05: neighbours make up for each other.
    squares = (dithered - exact).reshape(16, 8, 32, 8, 3).mean(axis=(1, 3))
    assert squares.std() < 0.02
    channels = (dithered - exact).reshape(-1, 3)
    assert np.abs(np.corrcoef(channels.T) - np.eye(3)).max() < 0.7


def test_dithering_changes_no_exact_code_and_does_not_depend_on_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.random.default_rng(2).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    codes[0], codes[1] = 0, 255
    path = save(tmp_path / "a.png", png(codes))
    develop_file(path, AS_IT_IS, tmp_path / "b.png", dither=True)
    np.testing.assert_array_equal(stored(tmp_path / "b.png"), codes)
    slope = save(tmp_path / "c.tif", tiff(ramp()))
    results = []
    for band, threads in ((100, 3), (1 << 16, 1), (777, 2)):
        monkeypatch.setattr(fused, "BAND", band)
        develop_file(slope, RECIPE, tmp_path / "d.png", dither=True, threads=threads)
        results.append(stored(tmp_path / "d.png"))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    develop_file(slope, RECIPE, tmp_path / "e.tif", dither=True)  # 16 bits need none
    develop_file(slope, RECIPE, tmp_path / "f.tif")
    assert (tmp_path / "e.tif").read_bytes() == (tmp_path / "f.tif").read_bytes()


# Processes


def test_many_threads_at_a_time(tmp_path: Path) -> None:
    sources = [save(tmp_path / f"{i}.tif", tiff(np.roll(colours("uint16"), i, axis=1))) for i in range(8)]
    alone = [by_floats(path, RECIPE, tmp_path / f"alone{path.name}") for path in sources]
    targets = [tmp_path / f"out{path.name}" for path in sources]
    threads = [
        threading.Thread(target=develop_file, args=(a, RECIPE, b)) for a, b in zip(sources, targets, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, targets, strict=True):
        assert np.abs(stored(one) - stored(other)).max() <= 1


CHILD = """
import os, resource, sys
from pathlib import Path
from exposure_gym.fullres import develop_file
from exposure_gym.recipe import Recipe
small, *large, folder = map(Path, sys.argv[1:])
recipe = Recipe.load(folder / "recipe.json")
develop_file(small, recipe, folder / "small.tif")
print([name for name in ("torch", "stable_baselines3", "skimage", "matplotlib", "rawpy") if name in sys.modules])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in large:
    develop_file(path, recipe, folder / ("large-" + path.name))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3)
if os.fork() == 0:  # a forked process has the tables of the first, and threads of its own
    develop_file(small, recipe, folder / "forked.tif")
    os._exit(0)
print(os.wait()[1])
"""


def test_a_process_of_its_own(tmp_path: Path) -> None:
    """No torch, memory for some bands only, and no trouble with forks."""
    RECIPE.save(tmp_path / "recipe.json")
    small = save(tmp_path / "a.tif", tiff(colours("uint16")))
    rows = np.random.default_rng(3).integers(0, 65536, (4000, 3), dtype=np.uint16)
    large = np.broadcast_to(rows, (2500, 4000, 3))
    sources = [
        save(tmp_path / "plain.tif", tiff(large)),
        save(tmp_path / "deflate.tif", tiff(large, compression="zlib", compressionargs={"level": 1}, rowsperstrip=16)),
    ]
    command: list[str | Path] = [sys.executable, "-W", "error", "-c", CHILD, small, *sources, tmp_path]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    heavy, megabytes, status = process.stdout.split("\n")[:3]
    assert heavy == "[]"
    assert float(megabytes) < 30  # of 60 for one photograph's codes, 120 for its floats
    assert status == "0"
    assert (tmp_path / "forked.tif").read_bytes() == (tmp_path / "small.tif").read_bytes()
    for path in sources:
        codes = tifffile.memmap(tmp_path / f"large-{path.name}", mode="r")
        assert codes.shape == (2500, 4000, 3)
        assert codes[::100].std() > 1000
