"""Camera RAW files: a DNG made here whose colours are known, and a real one where it lies beside the clone."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cli_tools import run
from dng import WHITE, dng, patches
from numpy.typing import NDArray
from PIL import Image

from exposure_gym import _raw
from exposure_gym.color import FROM_SRGB, TO_SRGB
from exposure_gym.photo import (
    DisplayPhoto,
    PhotoError,
    Space,
    list_photos,
    read_display,
    read_input,
    read_linear,
    to_square,
    write_display,
)
from exposure_gym.recipe import Recipe

REAL = Path(__file__).parents[2] / "shared" / "data" / "photos" / "tinydng_colorchart.dng"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="the sample DNG is not in the repository")

STEP = 2 / WHITE  # of the codes, on the way to 16 bits


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a.dng"
    path.write_bytes(dng(patches(), neutral=(0.5, 1.0, 0.8)))
    return path


def centres(pixels: NDArray[Any]) -> NDArray[Any]:
    """The colours of the four patches."""
    height, width = (edge // 4 for edge in pixels.shape[:2])
    return pixels[np.ix_((height, 3 * height), (width, 3 * width))].reshape(4, 3)


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(PhotoError) as caught:
        read_linear(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


def test_a_raw_file_is_read_as_the_light_it_recorded(photo: Path) -> None:
    read = read_linear(photo)
    assert (read.space, read.path) == ("srgb", photo)
    assert read.pixels.dtype == np.float32
    np.testing.assert_allclose(read.pixels.shape, (96, 192, 3))
    np.testing.assert_allclose(centres(read.pixels), centres(patches()), atol=STEP)


@pytest.mark.parametrize("space", ["prophoto", "rec2020"])
def test_the_working_space_is_what_is_asked_for(photo: Path, space: Space) -> None:
    read = read_linear(photo, space=space)
    assert read.space == space
    np.testing.assert_allclose(centres(read.pixels), centres(patches()) @ FROM_SRGB[space].T, atol=5e-4)


def test_the_cameras_white_balance(photo: Path, tmp_path: Path) -> None:
    balanced = np.minimum(centres(patches()) * (2.0, 1.0, 1.25), 1.0)
    np.testing.assert_allclose(centres(read_linear(photo, white_balance="camera").pixels), balanced, atol=2 * STEP)
    silent = tmp_path / "silent.dng"  # a camera that does not say: daylight
    silent.write_bytes(dng(patches(), neutral=(0.0, 0.0, 0.0)))
    np.testing.assert_allclose(
        centres(read_linear(silent, white_balance="camera").pixels), centres(patches()), atol=STEP
    )


@pytest.mark.parametrize("highlights", ["blend", "reconstruct"])
def test_highlights_beyond_the_first_channel_that_clips(highlights: Any, photo: Path) -> None:
    clipped = centres(read_linear(photo, white_balance="camera").pixels)
    guessed = centres(read_linear(photo, white_balance="camera", highlights=highlights).pixels)
    np.testing.assert_allclose(guessed[:3], clipped[:3], atol=2 * STEP)  # all else is as bright as before
    assert 1.0 - STEP < clipped[3].max() <= 1.0
    assert 1.1 < guessed[3].max() <= 1.6 + STEP  # red, which the sensor recorded as 0.8, twice


def test_half_size_is_the_mean_of_the_sensors_quartets(photo: Path) -> None:
    half = read_linear(photo, half_size=True).pixels
    assert half.shape == (48, 96, 3)
    np.testing.assert_allclose(centres(half), centres(patches()), atol=2 * STEP)
    np.testing.assert_allclose(to_square(half, 24), to_square(read_linear(photo).pixels, 24), atol=0.1)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, -1), (3, 2), (8, 1)])
def test_the_orientation_is_baked_in_and_its_tag_reset(orientation: int, turns: int, tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(dng(patches(), orientation=orientation))
    read = read_linear(path)
    np.testing.assert_allclose(centres(read.pixels), centres(np.rot90(patches(), turns)), atol=STEP)
    finished = tmp_path / "a.jpg"
    write_display(finished, DisplayPhoto(read.pixels, metadata=read.metadata))
    with Image.open(finished) as image:
        exif = image.getexif()
    assert (exif[271], exif[272], exif[305]) == ("Example", "Pinhole 1", "a test")
    assert exif.get(274, 1) == 1


def test_raw_like_brightness_and_readings(photo: Path) -> None:
    light = read_linear(photo).pixels
    dark = read_input(photo, "raw-like").pixels
    np.testing.assert_allclose(dark, light / (2 * light.max()), rtol=1e-5)
    np.testing.assert_array_equal(read_input(photo, "linear").pixels, light)
    with pytest.raises(PhotoError, match="holds light and no finished picture; finish it first"):
        read_input(photo, "display")
    with pytest.raises(PhotoError, match="holds light and no finished picture"):
        read_display(photo)


def test_readings_of_finished_photographs(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_display(path, DisplayPhoto(patches()))
    np.testing.assert_array_equal(read_input(path, "display").pixels, read_display(path).pixels)
    np.testing.assert_array_equal(
        read_input(path, "raw-like", space="prophoto").pixels,
        read_linear(path, brightness="raw-like", space="prophoto").pixels,
    )
    with pytest.raises(ValueError, match="display values are sRGB"):
        read_input(path, "display", space="prophoto")
    with pytest.raises(ValueError, match="use 'linear', 'raw-like' or 'display'"):
        read_input(path, "raw")  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [{"white_balance": "auto"}, {"highlights": "keep"}])
def test_unknown_options_are_refused(photo: Path, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="use '"):
        read_linear(photo, **option)


def test_a_dng_is_told_by_its_content(photo: Path) -> None:
    for name in ("a.tif", "a.jpg", "a"):
        other = photo.with_name(name)
        other.write_bytes(photo.read_bytes())
        np.testing.assert_array_equal(read_linear(other).pixels, read_linear(photo).pixels)


def test_folders_list_raw_files(photo: Path) -> None:
    for name in ("b.NEF", "c.cr3", "d.xmp"):
        photo.with_name(name).touch()
    assert [path.name for path in list_photos([photo.parent])] == ["a.dng", "b.NEF", "c.cr3"]


def test_larger_ones_are_refused_before_they_are_decoded(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_raw, "_develop", lambda *_: pytest.fail("was decoded"))
    assert "0.01843 megapixels, over the limit of 0.01" in refused(photo, max_megapixels=0.01)


def test_every_cut_is_an_error(photo: Path) -> None:
    data = photo.read_bytes()
    for length in [*range(1, 1000, 37), *range(1000, len(data), 1999), len(data) - 1]:
        photo.write_bytes(data[:length])
        assert refused(photo)


def test_damage_is_an_error_or_a_picture(photo: Path, rng: np.random.Generator) -> None:
    data = np.frombuffer(photo.read_bytes(), np.uint8)
    outcomes = []
    for _ in range(40):
        damaged = data.copy()
        damaged[rng.integers(4, 600, 8)] = rng.integers(0, 256, 8)
        photo.write_bytes(damaged.tobytes())
        try:
            outcomes.append("a picture" if np.isfinite(read_linear(photo, half_size=True).pixels).all() else "")
        except PhotoError as error:
            outcomes.append(str(error))
    assert all(outcomes)
    assert not any("\n" in outcome for outcome in outcomes)
    assert len(set(outcomes)) > 2


def test_what_is_no_raw_file(tmp_path: Path) -> None:
    for name, data in {
        "a.nef": b"II*\0" + bytes(200),
        "a.cr3": b"\0\0\0\x18ftypcrx " + bytes(200),
        "a.raf": b"FUJIFILMCCD-RAW " + bytes(200),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert "is a damaged RAW file, or one that LibRaw does not know" in refused(tmp_path / name)


def test_without_rawpy_the_remedy_is_named(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_raw, "find_spec", lambda name: None)
    assert refused(photo) == f"{photo}: is a camera RAW file; RAW files need rawpy: pip install 'exposure-gym[raw]'"


def test_what_libraw_tells_where_there_is_no_exif() -> None:
    class Other:
        shutter_speed, aperture, focal_length, iso_speed = 0.005, 2.8, 0.0, 200.0

        class timestamp:
            year = 2020

            @staticmethod
            def strftime(form: str) -> str:
                return "2020:01:02 03:04:05"

    block = _raw._told(Other(), Image.Exif()).get_ifd(0x8769)
    assert block == {0x829A: 0.005, 0x829D: 2.8, 0x8827: 200, 0x9003: "2020:01:02 03:04:05"}


def test_tiff_files_of_pixels_from_a_sensor_are_raw_files(tmp_path: Path) -> None:
    with io.BytesIO() as buffer:
        tifffile.imwrite(buffer, np.zeros((8, 8), np.uint16), photometric="cfa")
        (tmp_path / "a.tif").write_bytes(buffer.getvalue())
    assert "RAW file" in refused(tmp_path / "a.tif")


@pytest.mark.parametrize("options", [{}, {"white_balance": "camera", "highlights": "reconstruct"}])
def test_retouching_a_raw_file(photo: Path, options: dict[str, Any], tmp_path: Path) -> None:
    said = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = run("retouch", photo, "-o", tmp_path / "out", *said)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.recipe.json", "a.steps.png", "a.tif"]
    recipe = Recipe.load(tmp_path / "out" / "a.recipe.json")
    expected = recipe.apply_photo(read_linear(photo, **options).pixels).clip(0, 1)
    np.testing.assert_allclose(read_display(tmp_path / "out" / "a.tif").pixels, expected, atol=1e-4)


@needs_real
def test_a_real_file() -> None:
    full, half = read_linear(REAL), read_linear(REAL, half_size=True)
    assert full.pixels.shape == (1156, 1734, 3)
    assert half.pixels.shape == (578, 867, 3)
    np.testing.assert_allclose(full.pixels.mean((0, 1)), half.pixels.mean((0, 1)), rtol=0.01)
    camera = read_linear(REAL, half_size=True, white_balance="camera").pixels.mean((0, 1))
    assert camera[2] / camera[1] > 1.2 * half.pixels[..., 2].mean() / half.pixels[..., 1].mean()
    exif = Image.Exif()
    exif.load(full.metadata.exif)
    assert exif[272] == "Canon EOS Kiss X4"


@needs_real
@pytest.mark.parametrize(("space", "its"), [("prophoto", "ProPhoto"), ("rec2020", "Rec2020")])
def test_daylight_is_what_libraw_calls_so_and_its_primaries_are_ours(space: Space, its: str) -> None:
    import rawpy

    with rawpy.imread(str(REAL)) as file:
        daylight = file.postprocess(
            output_color=rawpy.ColorSpace[its],
            output_bps=16,
            gamma=(1, 1),
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
            half_size=True,
        )
    wide = read_linear(REAL, half_size=True, space=space).pixels
    np.testing.assert_allclose(wide, daylight / 65535, atol=1e-6)
    narrow = read_linear(REAL, half_size=True).pixels
    inside = ((narrow > 0.002) & (narrow < 0.95) & (wide < 0.95)).all(2)
    assert inside.mean() > 0.5
    np.testing.assert_allclose((wide @ TO_SRGB[space].T)[inside], narrow[inside], atol=2e-4)
