"""Photographs that are damaged, huge, foreign or not there: one line, never half a picture."""

from __future__ import annotations

import io
import logging
import os
import pickle
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photo_files import (
    ADOBE_PRIMARIES,
    D65,
    colours,
    pillow,
    png,
    refused,
    rgb_profile,
    save,
    tiff,
    truncatable,
)
from PIL import Image

from exposure_gym.photo import (
    PhotoError,
    read_display,
    read_linear,
)


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
