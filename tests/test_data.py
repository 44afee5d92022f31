from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exposure_gym.color import srgb_decode
from exposure_gym.data import (
    Photos,
    PhotoSet,
    builtin_names,
    builtin_photos,
    generate_scene,
    sample_photos,
)
from exposure_gym.data.painters import PAINTERS
from exposure_gym.metrics import histogram_intersection, psnr
from exposure_gym.photo import PhotoError


@pytest.fixture(autouse=True)
def global_random_state_is_left_alone() -> Iterator[None]:
    before = np.random.get_state()  # noqa: NPY002
    yield
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_equal(after, before)


def coordinates(count: int = 5, size: int = 10) -> PhotoSet:
    """Every value says where it is: channels are the crop's number, the row and the column."""
    crops = np.empty((count, 3, size, size), np.float32)
    crops[:, 0] = np.arange(count)[:, None, None]
    crops[:, 1] = np.arange(size)[:, None]
    crops[:, 2] = np.arange(size)
    return PhotoSet(crops, "linear", [f"photo-{index}" for index in range(count)])


def flat_set(domain: Any, count: int = 2, size: int = 8) -> PhotoSet:
    return PhotoSet(np.zeros((count, 3, size, size), np.float32), domain, ["x"] * count)


def test_a_sample_is_an_unstretched_window_mirrored_or_not() -> None:
    sample = coordinates().sample(400, np.random.default_rng(0), size=6)
    assert sample.shape == (400, 3, 6, 6)
    assert sample.dtype == np.float32
    np.testing.assert_array_equal(np.diff(sample[:, 1], axis=1), 1)  # rows: never mirrored
    steps = np.diff(sample[:, 2], axis=2)
    mirrored = (steps == -1).all(axis=(1, 2))
    assert np.array_equal(mirrored, ~(steps == 1).all(axis=(1, 2)))
    assert 150 < mirrored.sum() < 250
    corners = set(zip(sample[:, 1].min((1, 2)), sample[:, 2].min((1, 2)), strict=True))
    assert corners == {(row, column) for row in range(5) for column in range(5)}


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 17), st.integers(0, 2**32 - 1))
def test_no_crop_comes_twice_before_all_have_come(count: int, seed: int) -> None:
    draw = coordinates().draw(count, np.random.default_rng(seed), size=10)
    times = np.bincount(draw.indices, minlength=5)
    assert times.max() - times.min() <= 1
    assert not draw.tops.any()
    assert not draw.lefts.any()


def test_samples_depend_on_the_generator_alone() -> None:
    photos = coordinates(50)
    first = photos.sample(8, np.random.default_rng(3), 6)
    photos.sample(8, np.random.default_rng(4), 6)
    np.testing.assert_array_equal(photos.sample(8, np.random.default_rng(3), 6), first)
    assert not np.array_equal(photos.sample(8, np.random.default_rng(5), 6), first)


def test_generators_of_their_own_draw_alike_alone_and_together() -> None:
    photos = coordinates()
    together = photos.draw_each([np.random.default_rng(seed) for seed in range(200)], 8)
    for row in (0, 7, 199):
        alone = photos.draw_each([np.random.default_rng(row)], 8)
        assert [part[0] for part in alone[:4]] == [part[row] for part in together[:4]]
    assert set(together.indices) == set(range(5))
    assert set(together.tops) == set(together.lefts) == {0, 1, 2}
    assert set(together.flips) == {False, True}
    assert set(photos.draw_each([np.random.default_rng(0)], 10).tops) == {0}
    for crop, view in zip(photos.cut(together), photos.views(together), strict=True):
        assert np.shares_memory(view, photos.crops)
        np.testing.assert_array_equal(crop, view)
    assert len(photos.cut(photos.draw_each([], 8))) == 0


def test_get_resizes_the_whole_crop_by_area() -> None:
    photos = coordinates()
    whole = photos.get(3, size=5)
    np.testing.assert_allclose(whole[0], 3)
    np.testing.assert_allclose(whole[2, 0], [0.5, 2.5, 4.5, 6.5, 8.5])
    same = photos.get(3, size=10)
    same[:] = -1
    assert photos.crops.min() == 0  # a copy


def test_half_precision_on_disk_is_sampled_as_float32(tmp_path: Path) -> None:
    stored: NDArray[Any] = np.memmap(tmp_path / "crops", np.float16, "w+", shape=(4, 3, 8, 8))
    stored[:] = 0.25
    photos = PhotoSet(stored, "display", list("abcd"))
    sample = photos.sample(3, np.random.default_rng(0), 4)
    assert sample.dtype == photos.get(0, 4).dtype == np.float32
    np.testing.assert_array_equal(sample, 0.25)


@pytest.mark.parametrize(
    ("crops", "domain", "names", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), "linear", "ab", "N, 3, S, S"),
        (np.zeros((0, 3, 8, 8), np.float32), "linear", "", "at least 1"),
        (np.zeros((2, 3, 8, 8), np.uint8), "linear", "ab", "uint8"),
        (np.zeros((2, 3, 8, 8), np.float32), "srgb", "ab", "domain"),
        (np.zeros((2, 3, 8, 8), np.float32), "linear", "a", "as many names"),
    ],
)
def test_a_photo_set_refuses_what_it_cannot_hold(crops: NDArray[Any], domain: Any, names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhotoSet(crops, domain, list(names))


def test_crops_larger_than_stored_are_refused() -> None:
    with pytest.raises(ValueError, match="stored at 10"):
        coordinates().sample(1, np.random.default_rng(0), size=11)
    with pytest.raises(ValueError, match="stored at 10"):
        coordinates().draw_each([np.random.default_rng(0)], size=11)


def test_the_two_domains_cannot_be_confused() -> None:
    linear, display = flat_set("linear"), flat_set("display")
    with pytest.raises(ValueError, match="inputs must be a linear"):
        Photos(display, display)
    with pytest.raises(ValueError, match="targets must be a display"):
        Photos(linear, linear)
    with pytest.raises(ValueError, match="inputs must be a display"):
        Photos(linear, display, display_inputs=True)
    assert Photos(display, display, display_inputs=True).inputs is display
    assert not Photos(linear, display).paired


def test_pairs_are_cut_alike_and_only_from_paired_sets() -> None:
    linear = coordinates(6)
    display = PhotoSet(linear.crops / 10, "display", linear.names)
    inputs, targets = Photos(linear, display, paired=True).sample_pairs(20, np.random.default_rng(0), 6)
    np.testing.assert_array_equal(targets, inputs / 10)
    with pytest.raises(ValueError, match="not paired"):
        Photos(linear, display).sample_pairs(1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="must be alike"):
        Photos(linear, flat_set("display", count=6, size=9), paired=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A wide and a tall PNG of ten flat bands across the long side: codes 0, 20, ... 180."""
    bands = np.repeat(np.arange(10, dtype=np.uint8) * 20, 16)
    wide = np.broadcast_to(bands[None, :, None], (32, 160, 3))
    cv2.imwrite(str(tmp_path / "a-wide.png"), wide)
    cv2.imwrite(str(tmp_path / "b-tall.png"), np.ascontiguousarray(wide.transpose(1, 0, 2)))
    return tmp_path


def test_a_display_folder_keeps_the_centre_square_as_codes(folder: Path) -> None:
    photos = PhotoSet.from_folder(folder, "display", size=16)
    assert photos.domain == "display"
    assert photos.names == ("a-wide.png", "b-tall.png")
    row = np.repeat(np.array([80, 100]) / 255, 8)
    np.testing.assert_allclose(photos.crops[0, 1], np.broadcast_to(row, (16, 16)), atol=1e-6)
    np.testing.assert_allclose(photos.crops[1, 1], photos.crops[0, 1].T, atol=1e-6)


def test_a_linear_folder_keeps_random_squares_as_light(folder: Path) -> None:
    photos = PhotoSet.from_folder(folder, "linear", size=32)
    assert photos.domain == "linear"
    assert len(photos) == 8
    assert len({crop.tobytes() for crop in photos.crops}) > 5
    light = srgb_decode(np.arange(10) * 20 / 255)
    nearest = np.abs(photos.crops[..., None] - light).min(axis=-1)
    assert nearest.max() < 1e-5
    again = PhotoSet.from_folder(folder, "linear", size=32)
    np.testing.assert_array_equal(again.crops, photos.crops)
    other = PhotoSet.from_folder(folder, "linear", size=32, seed=1)
    assert not np.array_equal(other.crops, photos.crops)


def test_equal_shapes_and_seeds_give_equal_squares(folder: Path) -> None:
    inputs = PhotoSet.from_folder(folder, "linear", crops=3, size=32)
    targets = PhotoSet.from_folder(folder, "display", crops=3, size=32)
    np.testing.assert_allclose(srgb_decode(targets.crops), inputs.crops, atol=1e-5)


def test_raw_like_brightness_reaches_the_reader(folder: Path) -> None:
    photos = PhotoSet.from_folder(folder, "linear", brightness="raw-like")
    assert 0 < photos.crops.max() <= 0.5


def test_a_photo_that_cannot_be_read_is_never_skipped_in_silence(folder: Path) -> None:
    broken = folder / "c-broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(PhotoError, match=r"c-broken\.png"):
        PhotoSet.from_folder(folder, "display")
    told: list[Path] = []
    photos = PhotoSet.from_folder(folder, "display", on_error=lambda path, error: told.append(path))
    assert told == [broken]
    assert len(photos) == 2


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no readable photograph; give a folder") as caught:
        PhotoSet.from_folder(tmp_path, "display")
    assert "\n" not in str(caught.value)


def test_linear_options_are_refused_for_display_values(folder: Path) -> None:
    with pytest.raises(ValueError, match="taken as they are"):
        PhotoSet.from_folder(folder, "display", brightness="raw-like")


def test_scenes_repeat_and_differ() -> None:
    a, b = (generate_scene(np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(a.linear, b.linear)
    np.testing.assert_array_equal(a.display, b.display)
    assert not np.array_equal(a.linear, generate_scene(np.random.default_rng(8)).linear)


@pytest.mark.parametrize("size", [17, 64, 80, 121])
def test_scenes_of_any_size_are_pictures(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(30):
        for image in generate_scene(rng, size):
            assert image.shape == (size, size, 3)
            assert image.dtype == np.float32
            assert np.isfinite(image).all()
            assert image.min() >= 0
            assert image.max() <= 1
            assert image.std() > 0.001


@pytest.mark.parametrize("painter", PAINTERS)
def test_every_painter_gives_a_lightable_surface(painter: Any) -> None:
    for seed in range(20):
        surface = painter(np.random.default_rng(seed), 48)
        assert surface.colour.shape == (48, 48, 3)
        assert surface.sun.shape == (48, 48)
        assert surface.colour.min() >= 0
        assert -1e-6 <= surface.sun.min() <= surface.sun.max() < 1.5
        if surface.sky is not None:
            assert surface.sky.shape == (48, 48, 3)
            assert surface.sky.min() >= -1e-6


def test_scenes_are_dark_and_bright_and_their_finish_is_even() -> None:
    rng = np.random.default_rng(0)
    scenes = [generate_scene(rng) for _ in range(200)]
    light = np.array([scene.linear.mean() for scene in scenes])
    codes = np.array([scene.display.mean() for scene in scenes])
    clipped = np.array([(scene.linear == 1).mean() for scene in scenes])
    assert np.quantile(light, 0.1) < 0.04 < 0.2 < np.quantile(light, 0.95)
    assert 0 < (clipped > 0.01).mean() < 0.3
    assert 0.2 < codes.min() < codes.max() < 0.75
    cast = np.array([scene.linear.mean((0, 1)) for scene in scenes])
    assert (cast[:, 0] > 1.2 * cast[:, 2]).any()
    assert (cast[:, 2] > 1.2 * cast[:, 0]).any()


@pytest.mark.parametrize("split", ["train", "test"])
def test_builtin_photos_are_paired_and_in_range(split: Any) -> None:
    photos = builtin_photos(scenes=32, split=split)
    assert photos.paired
    assert photos.inputs.names == photos.targets.names
    assert photos.inputs.crops.shape == photos.targets.crops.shape
    assert photos.inputs.size == 80
    for crops in (photos.inputs.crops, photos.targets.crops):
        assert crops.dtype == np.float32
        assert np.isfinite(crops).all()
        assert crops.min() >= 0
        assert crops.max() <= 1
    assert photos.inputs.crops.mean() < 0.5 * photos.targets.crops.mean()
    assert photos is builtin_photos(scenes=32, split=split)
    with pytest.raises(ValueError, match="read-only"):
        photos.inputs.crops[0] = 0


def test_builtin_photos_repeat_by_seed() -> None:
    first = builtin_photos(seed=1, scenes=4)
    builtin_photos.cache_clear()
    again = builtin_photos(seed=1, scenes=4)
    assert first is not again
    np.testing.assert_array_equal(first.inputs.crops, again.inputs.crops)
    np.testing.assert_array_equal(first.targets.crops, again.targets.crops)
    assert not np.array_equal(first.inputs.crops, builtin_photos(seed=2, scenes=4).inputs.crops)


def test_builtin_splits_share_no_photograph_and_no_scene() -> None:
    train, test = builtin_photos(scenes=32), builtin_photos(scenes=32, split="test")
    assert not set(train.inputs.names) & set(test.inputs.names)
    assert set(builtin_names("train")) | set(builtin_names("test")) == set(builtin_names())
    assert set(builtin_names("test")) <= set(test.inputs.names)
    seen = {crop.tobytes() for crop in train.targets.crops}
    assert not seen & {crop.tobytes() for crop in test.targets.crops}


def test_builtin_inputs_are_their_targets_darkened() -> None:
    """Each sample's input is its target's light times one gain a channel."""
    photos = builtin_photos(scenes=0)
    light = srgb_decode(photos.targets.crops)
    gains = photos.inputs.crops.mean((2, 3)) / light.mean((2, 3))
    np.testing.assert_allclose(photos.inputs.crops, light * gains[..., None, None], atol=1e-5)
    assert gains.max() <= 1.0001
    assert 2**-3.001 <= gains.max(axis=1).min() < 0.3
    assert len(np.unique(gains.round(6))) > len(photos.inputs)  # no two alike, and not grey


def test_the_task_is_there_to_be_learned() -> None:
    """Raw-like inputs are far from finished photos; held-out finished photos are near."""
    train, test = builtin_photos(), builtin_photos(split="test")

    def pictures(photos: PhotoSet) -> NDArray[Any]:
        return np.moveaxis(photos.crops, 1, -1)

    finished = pictures(test.targets)
    before = histogram_intersection(pictures(test.inputs), finished)
    goal = histogram_intersection(pictures(train.targets), finished)
    assert before.mean < 0.5 < 0.65 < goal.mean
    assert psnr(pictures(test.inputs)[0], finished[0]) < 20


def test_unknown_split_and_negative_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match='"train" or "test"'):
        builtin_photos(split="validation")
    with pytest.raises(ValueError, match="0 or more"):
        builtin_photos(scenes=-1)


def test_sample_photos_are_full_size_and_repeat() -> None:
    photos = sample_photos()
    assert tuple(photos) == builtin_names()
    assert photos["astronaut"].shape == (512, 512, 3)
    again = sample_photos()
    for name, pixels in photos.items():
        assert pixels.dtype == np.float32
        assert pixels.shape[2] == 3
        assert 0 <= pixels.min() < pixels.max() <= 1
        np.testing.assert_array_equal(pixels, again[name])


def test_a_missing_sample_photograph_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    module = inspect.getmodule(sample_photos)
    assert module is not None
    monkeypatch.setattr(module, "_FILES", {"astronaut": "no-such-file.png"})
    with pytest.raises(FileNotFoundError, match=r"no-such-file\.png: no sample photograph; run"):
        sample_photos()
