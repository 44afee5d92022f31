"""Crops of photographs: cut as published, pairs alike, kept on disk, and a part of the files kept for measuring."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import photograph
from dng import dng, patches
from hypothesis import given
from hypothesis import strategies as st

from exposure_gym import _raw
from exposure_gym.data import PhotoSet, crop_cache, crops
from exposure_gym.data.crop_cache import CacheError, cache_folder, crc32, read_crops
from exposure_gym.data.crops import Cut
from exposure_gym.data.folders import PhotoOptions, pairs_by_name, read_photos, split_by_file
from exposure_gym.photo import (
    DisplayPhoto,
    PhotoError,
    list_photos,
    read_display,
    read_input,
    read_linear,
    to_square,
    write_display,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, size in enumerate([(90, 140), (140, 90), (100, 100)]):
        photograph(tmp_path / "photos" / f"{i}.png", i, size=size)
    return tmp_path / "photos"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the photographs that are decoded during the test."""
    names: list[str] = []

    def watch(path: Any, *args: Any, **options: Any) -> Any:
        names.append(Path(path).name)
        return read_input(path, *args, **options)

    monkeypatch.setattr(crops, "read_input", watch)
    return names


def test_crops_are_cut_as_the_published_code_does(folder: Path) -> None:
    found = PhotoSet.from_folder(folder, "linear", size=16, seed=5)
    rng, expected = np.random.default_rng(5), []
    for path in list_photos([folder]):
        pixels = read_linear(path).pixels
        height, width = pixels.shape[:2]
        for offset in rng.integers(0, abs(height - width) + 1, 4):
            square = pixels[offset : offset + width] if height > width else pixels[:, offset : offset + height]
            expected.append(to_square(square, 16).transpose(2, 0, 1))
    np.testing.assert_array_equal(found.crops, np.stack(expected))


# -- pairs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """Photographs and versions of them at half the size, as JPEGs with other extensions."""
    for i, size in enumerate([(176, 300), (300, 176)]):
        path = photograph(tmp_path / "before" / f"{i}.png", i, size=size)
        pixels = read_display(path).pixels
        (tmp_path / "after").mkdir(exist_ok=True)
        halves = pixels.reshape(size[0] // 2, 2, size[1] // 2, 2, 3).mean((1, 3))
        write_display(tmp_path / "after" / f"{i}.tif", DisplayPhoto(halves.astype(np.float32)))
    return list_photos([tmp_path / "before"]), list_photos([tmp_path / "after"])


@pytest.mark.parametrize("cached", [False, True])
def test_pairs_are_cut_alike_whatever_their_sizes(
    pairs: tuple[list[Path], list[Path]], cached: bool, tmp_path: Path
) -> None:
    options = PhotoOptions("display", input_crops=3, paired=True)
    photos = read_photos(*pairs, options, cache=tmp_path / "cache" if cached else None)
    assert photos.paired
    assert photos.display_inputs
    assert photos.inputs.names == photos.targets.names == ("0.png",) * 3 + ("1.png",) * 3
    np.testing.assert_allclose(photos.inputs.crops, photos.targets.crops, atol=0.02)
    assert np.abs(photos.inputs.crops[0] - photos.inputs.crops[1]).max() > 0.1  # where other squares are far off
    before, after = photos.sample_pairs(20, np.random.default_rng(0))
    np.testing.assert_allclose(before, after, atol=0.02)
    np.testing.assert_array_equal(photos.inputs.crops, read_photos(*pairs, options).inputs.crops)
    small = read_photos(*pairs, options, size=40)
    halves = photos.inputs.crops.reshape(6, 3, 40, 2, 40, 2).mean((3, 5))
    np.testing.assert_allclose(small.inputs.crops, halves, atol=0.01)  # the same squares, smaller


def test_a_raw_file_and_its_jpeg_are_a_pair(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(dng(patches()))
    photograph(tmp_path / "jpeg" / "a.jpg", 0, size=(97, 192))  # cameras crop a little off the edges
    photos = read_photos([tmp_path / "a.dng"], [tmp_path / "jpeg" / "a.jpg"], PhotoOptions(paired=True))
    assert (photos.inputs.domain, photos.reading, len(photos.inputs), len(photos.targets)) == ("linear", "linear", 4, 4)


def test_what_is_no_pair_is_said(pairs: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    before, after = pairs
    alone = photograph(tmp_path / "before" / "2.png", 2)
    twin = photograph(tmp_path / "before" / "0.jpg", 2)
    with pytest.raises(ValueError, match=r"2\.png: has no partner of its name"):
        pairs_by_name([*before, alone], after)
    told: list[tuple[Path, str]] = []
    found = pairs_by_name([*before, twin, alone], after, lambda path, error: told.append((path, str(error))))
    assert found == list(zip(before, after, strict=True))
    assert [path for path, _ in told] == [twin, alone]
    assert f"{twin}: has the name of {before[0]}" in told[0][1]
    with pytest.raises(ValueError, match="no input has the name of a target"):
        pairs_by_name([alone], after, lambda path, error: None)
    square = photograph(tmp_path / "other" / "0.png", 0, size=(90, 90))
    with pytest.raises(PhotoError, match=f"{square}: has another shape than {before[0]}"):
        read_photos(before[:1], [square], PhotoOptions(paired=True))


def test_options_reach_the_reader(folder: Path) -> None:
    files = list_photos([folder])
    sets = [
        read_photos(files, files, options)
        for options in (PhotoOptions(), PhotoOptions("raw-like", 2, 3), PhotoOptions("display", 0, 4))
    ]
    assert [photos.reading for photos in sets] == ["linear", "raw-like", "display"]
    assert [(len(photos.inputs), len(photos.targets)) for photos in sets] == [(12, 3), (6, 9), (3, 12)]
    for photos, (domain, options) in zip(
        sets, [("linear", {}), ("linear", {"brightness": "raw-like", "crops": 2}), ("display", {})], strict=True
    ):
        np.testing.assert_array_equal(
            photos.inputs.crops,
            PhotoSet.from_folder(folder, domain, **options).crops,  # type: ignore[arg-type]
        )


# -- the cache -------------------------------------------------------------------------------------------------------


def test_the_second_start_reads_no_photograph(folder: Path, tmp_path: Path, decoded: list[str]) -> None:
    first = PhotoSet.from_folder(folder, "linear", cache=tmp_path / "cache")
    assert decoded == ["0.png", "1.png", "2.png"]
    second = PhotoSet.from_folder(folder, "linear", cache=tmp_path / "cache")
    assert len(decoded) == 3
    assert isinstance(second.crops, np.memmap)
    without = PhotoSet.from_folder(folder, "linear")
    for photos in (first, second):
        np.testing.assert_array_equal(photos.crops, without.crops)
        assert photos.names == without.names
    assert crc32(second.crops) == crc32(without.crops) == crc32(without.crops[:, :, ::-1][:, :, ::-1])
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".crops", ".json"}


def test_a_changed_photograph_or_option_is_noticed(folder: Path, tmp_path: Path, decoded: list[str]) -> None:
    cache = tmp_path / "cache"
    before = PhotoSet.from_folder(folder, "display", cache=cache)
    time = (folder / "1.png").stat().st_mtime_ns
    photograph(folder / "1.png", 77, size=(140, 90))
    os.utime(folder / "1.png", ns=(time, time))  # the date need not tell
    after = PhotoSet.from_folder(folder, "display", cache=cache)
    assert not np.array_equal(after.crops[1], before.crops[1])
    np.testing.assert_array_equal(after.crops[[0, 2]], before.crops[[0, 2]])
    count = len(decoded)
    for options in ({"crops": 1}, {"size": 32}, {"crops": 1, "seed": 1}, {"crops": 1, "size": 32}):
        np.testing.assert_array_equal(
            PhotoSet.from_folder(folder, "display", cache=cache, **options).crops,  # type: ignore[arg-type]
            PhotoSet.from_folder(folder, "display", **options).crops,  # type: ignore[arg-type]
        )
    assert len(decoded) == count + 2 * 3 * 4
    (folder / "1.png").rename(folder / "3.png")
    assert PhotoSet.from_folder(folder, "display", cache=cache).names == ("0.png", "2.png", "3.png")


@pytest.mark.parametrize("suffix", [".crops", ".json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "longer", "gone", "nonsense"])
def test_a_damaged_entry_is_made_again(
    suffix: str, damage: str, folder: Path, tmp_path: Path, decoded: list[str]
) -> None:
    cache = tmp_path / "cache"
    expected = np.array(PhotoSet.from_folder(folder, "linear", size=16, cache=cache).crops)
    (path,) = cache.glob(f"*{suffix}")
    data = path.read_bytes()
    middle = len(data) // 2
    match damage:
        case "cut":
            path.write_bytes(data[:middle])
        case "flip":
            path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        case "longer":
            path.write_bytes(data + b"more")
        case "gone":
            path.unlink()
        case "nonsense":
            path.write_text('{"shape": [0], "names": [], "checksum": 0}' if suffix == ".json" else "")
    again = PhotoSet.from_folder(folder, "linear", size=16, cache=cache)
    np.testing.assert_array_equal(again.crops, expected)
    assert again.names == ("0.png",) * 4 + ("1.png",) * 4 + ("2.png",) * 4
    assert len(decoded) >= 6


def test_what_cannot_be_read_is_said_at_every_start(folder: Path, tmp_path: Path, decoded: list[str]) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    cache, told = tmp_path / "cache", list[str]()
    for start in (1, 2):
        photos = PhotoSet.from_folder(
            folder, "display", cache=cache, on_error=lambda path, error: told.append(str(error))
        )
        assert len(photos) == 3
        assert len(told) == start
    assert told[0] == told[1]
    assert len(decoded) == 4 + 1
    with pytest.raises(PhotoError, match="broken"):
        PhotoSet.from_folder(folder, "display", cache=cache)


def test_what_can_be_read_by_now_is_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "9.dng").write_bytes(dng(patches()))
    cache, told = tmp_path / "cache", list[Path]()

    def read() -> PhotoSet:
        return PhotoSet.from_folder(folder, "linear", cache=cache, on_error=lambda path, error: told.append(path))

    with monkeypatch.context() as patch:
        patch.setattr(_raw, "available", lambda: False)
        assert len(read()) == 12
    assert told == [folder / "9.dng"]
    assert len(read()) == 16
    assert len(told) == 1


def test_an_interruption_or_a_full_disk_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    for error in (KeyboardInterrupt(), OSError(28, "No space left on device")):

        def fail(*_: Any, error: BaseException = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(crop_cache, "crc32", fail)
            with pytest.raises((KeyboardInterrupt, CacheError)) as caught:
                PhotoSet.from_folder(folder, "linear", cache=cache)
        assert list(cache.iterdir()) == []
    reason = "crops cannot be kept there (No space left on device)"
    assert str(caught.value) == f"{cache}: {reason}; make room, or choose another folder for the cache"
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="cannot be kept there"):
        PhotoSet.from_folder(folder, "linear", cache=tmp_path / "file")


def test_nothing_readable_is_nothing_cached(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    shots = [(tmp_path / "a.png",)]
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(ValueError, match=f"{tmp_path}: no readable photograph"):
            read_crops(shots, Cut(("display",), None), cache=cache, on_error=lambda path, error: None)
    assert list((tmp_path / "cache").iterdir()) == []


def test_progress_counts_what_is_done(folder: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    shots = [(path,) for path in list_photos([folder])]
    for _ in range(2):
        read_crops(shots, Cut(("display",), None), cache=tmp_path / "cache", progress=lambda *step: steps.append(step))
    checked = [("looking for changes", i, 3) for i in range(3)]
    assert steps == [*checked, *(("reading", i, 3) for i in range(3)), *checked]


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPOSURE_GYM_CACHE", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"
    monkeypatch.delenv("EXPOSURE_GYM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "exposure-gym"
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", "relative"):  # which the specification calls invalid
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache_folder() == tmp_path / ".cache" / "exposure-gym"


# -- files kept for measuring ----------------------------------------------------------------------------------------

NAMES = st.lists(st.integers(0, 60), min_size=4, max_size=30, unique=True)


@given(NAMES, NAMES, st.floats(0.05, 0.45))
def test_a_split_is_by_file_and_keeps_photographs_together(a: list[int], b: list[int], fraction: float) -> None:
    inputs = [Path(f"in/{n}.dng") for n in a]
    targets = [Path(f"out/{n}.jpg") for n in b]
    try:
        learn, measure = split_by_file(inputs, targets, fraction)
    except ValueError:
        assert min(len(a), len(b)) < 8
        return
    for all_, learned, measured in zip((inputs, targets), learn, measure, strict=True):
        assert sorted([*learned, *measured]) == sorted(all_)
        assert len(measured) >= max(1, round(fraction * len(all_)))
    names = [{path.stem for paths in side for path in paths} for side in (learn, measure)]
    assert not names[0] & names[1]
    assert split_by_file(inputs[::-1], targets[::-1], fraction)[1][0] == measure[0][::-1]


def test_a_split_of_pairs_keeps_the_part_that_was_asked_for() -> None:
    names = [f"{n:03d}" for n in range(200)]
    _, measure = split_by_file([Path(f"{n}.png") for n in names], [Path(f"o/{n}.jpg") for n in names], 0.1)
    assert [path.stem for path in measure[0]] == [path.stem for path in measure[1]]
    assert len(measure[0]) == 20
    more = [Path(f"{n}.png") for n in [*names, "more"]]
    assert len(set(measure[0]) - set(split_by_file(more, more, 0.1)[1][0])) <= 1
    with pytest.raises(ValueError, match="too few photographs"):
        split_by_file([Path("a")], [Path("b"), Path("c")], 0.5)
    with pytest.raises(ValueError, match="above 0 and below 1"):
        split_by_file(more, more, 1.0)


def test_an_entry_says_what_it_holds(folder: Path, tmp_path: Path) -> None:
    PhotoSet.from_folder(folder, "linear", size=16, cache=tmp_path)
    (path,) = tmp_path.glob("*.json")
    index = json.loads(path.read_text())
    assert index["shape"] == [12, 3, 16, 16]
    assert index["names"] == ["0.png"] * 4 + ["1.png"] * 4 + ["2.png"] * 4
