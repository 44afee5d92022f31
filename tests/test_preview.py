"""A small photograph shows what the large one does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dng import dng
from PIL import Image

from exposure_gym.photo import DisplayPhoto, PhotoError, read_input, to_square, write_display
from exposure_gym.preview import SHORT_EDGE, read_preview


def scene(height: int, width: int, peak: float = 1.0) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:height, :width]
    waves = [0.5 + 0.5 * np.sin(x / 97 + phase) * np.cos(y / 61 - phase) for phase in (0.0, 0.7, 1.9)]
    return (peak * np.stack(waves, 2)).astype(np.float32)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
@pytest.mark.parametrize("reading", ["linear", "raw-like", "display"])
@pytest.mark.parametrize("size", [(90, 70), (1000, 1400), (1801, 950)])
def test_the_agent_sees_the_same(name: str, reading: Any, size: tuple[int, int], tmp_path: Path) -> None:
    write_display(tmp_path / name, DisplayPhoto(scene(*size)))
    preview = read_preview(tmp_path / name, reading)
    whole = read_input(tmp_path / name, reading)
    factor = min(size) // SHORT_EDGE or 1
    reduced = name == "a.jpg" and factor > 1
    if not reduced:
        assert preview.pixels.shape == (size[0] // factor, size[1] // factor, 3)
    assert min(preview.pixels.shape[:2]) >= min(SHORT_EDGE, *size)
    np.testing.assert_allclose(to_square(preview.pixels), to_square(whole.pixels), atol=0.02)
    if factor == 1:
        np.testing.assert_allclose(preview.pixels, whole.pixels, rtol=1e-6)


@pytest.mark.parametrize("strip", [7, 64, 1000])
def test_blocks_are_averaged_exactly_however_the_rows_lie(strip: int, tmp_path: Path) -> None:
    import tifffile

    codes = np.random.default_rng(0).integers(0, 65536, (1000, 911, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", codes, compression="zlib", rowsperstrip=strip)
    whole = read_input(tmp_path / "a.tif").pixels
    blocks = cv2.resize(whole[:1000, :910], (455, 500), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(read_preview(tmp_path / "a.tif").pixels, blocks, rtol=1e-5)


@pytest.mark.parametrize("spot", [1, 40])
def test_raw_like_is_as_dark_as_at_full_size(spot: int, tmp_path: Path) -> None:
    """A small light in a dark picture vanishes from a reduced JPEG, but not from the brightness."""
    pixels = scene(1200, 1600, 0.3)
    pixels[600 : 600 + spot, 800 : 800 + spot] = 1.0
    write_display(tmp_path / "a.jpg", DisplayPhoto(pixels), quality=100)
    preview, whole = read_preview(tmp_path / "a.jpg", "raw-like"), read_input(tmp_path / "a.jpg", "raw-like").pixels
    assert preview.pixels.mean() == pytest.approx(whole.mean(), rel=0.1)
    peak = float(read_input(tmp_path / "a.jpg").pixels.max())
    assert preview.darkened == pytest.approx(math.log2(2 * peak), abs=0.2)
    assert read_preview(tmp_path / "a.jpg", "linear").darkened == 0.0


def test_black_is_not_divided_by(tmp_path: Path) -> None:
    write_display(tmp_path / "a.png", DisplayPhoto(np.zeros((20, 30, 3), np.float32)))
    preview = read_preview(tmp_path / "a.png", "raw-like")
    assert (preview.darkened, preview.pixels.max()) == (0.0, 0.0)


def test_prophoto_and_orientation_are_honoured(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray((255 * scene(1000, 1600)).astype(np.uint8)).save(tmp_path / "a.jpg", quality=98, exif=exif)
    preview = read_preview(tmp_path / "a.jpg", space="prophoto").pixels
    assert preview.shape[0] > preview.shape[1]
    whole = read_input(tmp_path / "a.jpg", space="prophoto").pixels
    np.testing.assert_allclose(to_square(preview), to_square(whole), atol=0.01)


def test_raw_is_developed_at_half_size(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path = tmp_path / "a.dng"
    path.write_bytes(dng(scene(64, 96) * 0.5))
    assert read_preview(path).pixels.shape[:2] == (32, 48)
    assert read_preview(path, "raw-like").pixels.shape[:2] == (64, 96)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.png"])
def test_what_is_damaged_is_an_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_display(path, DisplayPhoto(scene(1000, 1000)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PhotoError, match=name):
        read_preview(path)
    write_display(path, DisplayPhoto(scene(1000, 1000)))
    with pytest.raises(PhotoError, match="over the limit"):
        read_preview(path, max_megapixels=0.5)
