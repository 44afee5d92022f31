"""Finished photographs written: exact, repeatable, whole or not at all."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photo_files import (
    colours,
    one_line,
)
from PIL import Image

from exposure_gym.color import TO_SRGB, srgb_decode, srgb_encode
from exposure_gym.photo import (
    DisplayPhoto,
    LinearPhoto,
    PhotoError,
    Space,
    list_photos,
    read_display,
    read_linear,
    to_square,
    write_display,
)


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
