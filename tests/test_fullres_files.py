"""Full-size photographs from file to file: never half of one; dither, threads and processes."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from fullres_tools import AS_IT_IS, RECIPE, Array, assert_same, by_floats, stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photo_files import (
    colours,
    png,
    save,
    tiff,
    truncatable,
)

from exposure_gym import fused
from exposure_gym.fullres import develop_file
from exposure_gym.photo import PhotoError
from exposure_gym.recipe import Recipe


@pytest.fixture(autouse=True)
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many bands, and threads, even for a small picture."""
    monkeypatch.setattr(fused, "BAND", 100)


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


def ramp(bits: int = 16) -> Array:
    """A grey slope so gentle that 8 bits make broad steps of it."""
    row = np.linspace(20_000, 20_800, 256).astype(np.uint16)
    return np.repeat(np.repeat(row[None, :], 128, axis=0)[..., None], 3, axis=2)


# Dithering


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
