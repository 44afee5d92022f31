"""HEIC through pillow-heif, where that is installed, and AVIF through Pillow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from exposure_gym._decode import Unreadable
from exposure_gym._heif import _full_range, _profile
from exposure_gym.photo import PhotoError, list_photos, read_display

RAMP = np.stack(np.broadcast_arrays(np.linspace(0, 1, 96)[None], np.linspace(0, 1, 64)[:, None], 0.5), 2)
CODES = (255 * RAMP).round().astype(np.uint8)

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


@pytest.fixture
def pillow_heif() -> Any:
    return pytest.importorskip("pillow_heif", reason="the heif extra is not installed")


@needs_avif
def test_avif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    Image.fromarray(CODES).save(tmp_path / "a.avif", quality=98, exif=exif)
    assert list_photos([tmp_path]) == [tmp_path / "a.avif"]
    photo = read_display(tmp_path / "a.avif")
    np.testing.assert_allclose(photo.pixels, np.rot90(RAMP, -1), atol=0.03)
    assert b"Maker" in photo.metadata.exif


@needs_avif
def test_a_cut_avif_is_an_error(tmp_path: Path) -> None:
    Image.fromarray(CODES).save(tmp_path / "a.avif", quality=98)
    data = (tmp_path / "a.avif").read_bytes()
    for end in (20, 64, len(data) // 2, len(data) - 9):
        (tmp_path / "b.avif").write_bytes(data[:end])
        with pytest.raises(PhotoError, match=r"b\.avif"):
            read_display(tmp_path / "b.avif")
    with pytest.raises(PhotoError, match="over the limit"):
        read_display(tmp_path / "a.avif", max_megapixels=0.001)


def test_heic_without_the_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exposure_gym._heif.available", lambda: False)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(PhotoError, match=r"is a HEIC photograph; .*exposure-gym\[heif\]"):
        read_display(tmp_path / "a.heic")


@pytest.mark.parametrize(("bits", "white"), [(10, 65472), (12, 65520)])
def test_white_of_ten_bits_is_white(bits: int, white: int) -> None:
    shifted = np.array([[[0, white, 1 << (16 - bits)]]], np.uint16)
    assert _full_range(shifted, "RGB;16", bits).tolist() == [[[0, 65535, round(65535 / (2**bits - 1))]]]


def test_alpha_is_dropped() -> None:
    assert _full_range(np.zeros((2, 3, 4), np.uint8), "RGBA", 8).shape == (2, 3, 3)
    assert _full_range(np.zeros((2, 3, 2), np.uint8), "LA", 8).shape == (2, 3)


def test_named_primaries_become_profiles() -> None:
    assert _profile({}) == _profile({"nclx_profile": {"color_primaries": 1, "transfer_characteristics": 13}}) == b""
    assert _profile({"icc_profile": b"mine"}) == b"mine"
    assert b"acsp" in _profile({"nclx_profile": {"color_primaries": 12, "transfer_characteristics": 13}})
    for primaries, transfer, said in ((9, 16, "HDR"), (9, 13, "number 9")):
        with pytest.raises(Unreadable, match=said):
            _profile({"nclx_profile": {"color_primaries": primaries, "transfer_characteristics": transfer}})


@pytest.mark.parametrize("bits", [8, 10])
def test_heic(bits: int, tmp_path: Path, pillow_heif: Any) -> None:
    mode, codes = ("RGB", CODES) if bits == 8 else ("RGB;16", (65535 * RAMP).round().astype("<u2"))
    image = pillow_heif.from_bytes(mode=mode, size=(96, 64), data=codes.tobytes())
    image.save(tmp_path / "a.heic", quality=95, chroma=444)
    pixels = read_display(tmp_path / "a.heic").pixels
    np.testing.assert_allclose(pixels, RAMP, atol=0.04)
    assert len(np.unique(pixels)) > (256 if bits == 10 else 0)


def test_heic_is_upright_and_keeps_exif(tmp_path: Path, pillow_heif: Any) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    pillow_heif.from_pillow(Image.fromarray(CODES)).save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    photo = read_display(tmp_path / "a.heic")
    assert b"Maker" in photo.metadata.exif
    stored = pillow_heif.open_heif(tmp_path / "a.heic")
    assert photo.pixels.shape[:2] == (stored.size[1], stored.size[0])


def test_a_damaged_heic_is_an_error(tmp_path: Path, pillow_heif: Any) -> None:
    pillow_heif.from_pillow(Image.fromarray(CODES)).save(tmp_path / "a.heic", quality=95)
    data = (tmp_path / "a.heic").read_bytes()
    for end in range(12, len(data), max(1, len(data) // 20)):
        (tmp_path / "b.heic").write_bytes(data[:end])
        with pytest.raises(PhotoError, match=r"b\.heic"):
            read_display(tmp_path / "b.heic")
    assert "pillow_heif" in sys.modules
