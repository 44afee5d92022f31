"""A file appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exposure_gym.files import replacing, replacing_all


def test_the_file_appears_when_it_is_done(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert not path.exists()
        assert temporary.parent == tmp_path  # the same disk, so that renaming is one step
        assert temporary.suffix == ".png"  # image libraries choose the format by it
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "recipe.json"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # renamed last
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int, mode: int) -> None:
    previous = os.umask(mask)
    try:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("text")
        assert os.umask(mask) == mask  # and the mask is left as it was
    finally:
        os.umask(previous)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "nowhere" / "a.txt"):
        raise AssertionError("nothing to write to")


def test_files_that_belong_together_appear_together(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "a.json"]
    paths[0].write_text("old")
    with replacing_all(paths) as temporaries:
        for temporary in temporaries:
            temporary.write_text("new")
        assert [path.exists() for path in paths] == [True, False]
        assert paths[0].read_text() == "old"
    assert [path.read_text() for path in paths] == ["new", "new"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.parametrize("obstacle", ["x" * 252 + ".json", "a folder", "nowhere/a.json"])
def test_if_one_cannot_be_written_none_is(tmp_path: Path, obstacle: str) -> None:
    (tmp_path / "a folder").mkdir()
    first = tmp_path / "a.png"
    first.write_text("old")
    with pytest.raises(OSError, match=r"too long|directory"), replacing_all([first, tmp_path / obstacle]):
        raise AssertionError("nothing to write to")
    assert first.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a folder", "a.png"]


def test_a_long_name_in_a_wide_script_has_room_for_a_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("写" * 83 + ".json")
    with replacing(path) as temporary:
        temporary.write_text("text")
    assert path.read_text() == "text"
