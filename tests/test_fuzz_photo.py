"""Damaged photographs end in a picture or in one line, whatever the damage."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_photos import damaged, healthy
from fuzz_photo import fuzz
from PIL import Image

from exposure_gym.photo import PhotoError, read_linear


def test_damaged_photographs_end_in_a_picture_or_one_line() -> None:
    outcomes = list(fuzz(seed=1, numbers=range(400)))
    assert not [
        (f"seed 1 case {number}", case.kind, outcome.problem) for number, case, outcome in outcomes if outcome.problem
    ]
    assert sum(outcome.picture for _, _, outcome in outcomes) > 50
    assert sum(bool(outcome.message) for _, _, outcome in outcomes) > 200


def test_cases_are_told_by_seed_and_number() -> None:
    assert damaged(3, 7) == damaged(3, 7)
    assert len({damaged(3, number).data for number in range(30)}) > 25


@pytest.mark.parametrize("name", sorted(healthy()))
def test_every_truncation_is_refused(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Every length of the first and last parts, where directories and end marks are, and every 13th between."""
    if name.endswith("dng"):
        pytest.importorskip("rawpy")
    data, path = healthy()[name], tmp_path / name
    lengths = {*range(min(400, len(data))), *range(0, len(data), 13), *range(max(0, len(data) - 100), len(data))}
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        with pytest.raises(PhotoError):
            read_linear(path)
    assert capfd.readouterr() == ("", "")


def small() -> dict[str, bytes]:
    """Photographs of 35 pixels, so that every length can be tried."""
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8))

    def saved(kind: str, **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return {
        "baseline.jpg": saved("JPEG"),
        "progressive.jpg": saved("JPEG", progressive=True, subsampling=0),
        "eight.png": saved("PNG"),
        "plain.tif": saved("TIFF"),
        "lzw.tif": saved("TIFF", compression="tiff_lzw"),
        "deflate.tif": saved("TIFF", compression="tiff_adobe_deflate"),
        "lossy.webp": saved("WEBP"),  # not read at all, as long as that is so
        "lossless.webp": saved("WEBP", lossless=True),
    }


@pytest.mark.parametrize("name", small())
def test_every_length_of_small_ones_is_refused(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, path = small()[name], tmp_path / name
    if not name.endswith("webp"):
        path.write_bytes(data)
        assert read_linear(path).pixels.shape == (5, 7, 3)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(PhotoError):
            read_linear(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", sorted(healthy()))
def test_larger_ones_are_refused(tmp_path: Path, name: str) -> None:
    if name.endswith("dng"):
        pytest.importorskip("rawpy")
    path = tmp_path / name
    path.write_bytes(healthy()[name])
    with pytest.raises(PhotoError, match="megapixels, over the limit of"):
        read_linear(path, max_megapixels=1e-5)


def test_a_ring_of_directories_does_not_hang(tmp_path: Path) -> None:
    data = bytearray(healthy()["plain.dng"])
    entries = struct.unpack_from("<H", data, 8)[0]
    ring = b"".join(struct.pack("<HI", 0, len(data) + 6 * (i + 1)) for i in range(1000))
    struct.pack_into("<I", data, 10 + 12 * entries, len(data))
    path = tmp_path / "a.dng"
    path.write_bytes(bytes(data) + ring + struct.pack("<HI", 0, len(data)))
    assert read_linear(path).pixels.shape == (24, 32, 3)
