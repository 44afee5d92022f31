"""Fetching files from a server that misbehaves, and unpacking archives that mean harm."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import shutil
import stat
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_server import Site

from exposure_gym.data.download import DownloadError, UnsafeArchive, download, unzip

BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(250_000)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site({"file": BODY}) as site:
        yield site


def fetch(site: Site, path: Path, **options: Any) -> None:
    options = {"max_bytes": 1 << 20, "pause": 0.0, "attempts": 4, "timeout": 5.0} | options
    download(f"{site.url}/file", path, **options)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text


def test_a_file_comes_whole_and_once(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(site, tmp_path / "f", progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "f").read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    fetch(site, tmp_path / "f")
    assert len(site.requests) == 1


@pytest.mark.parametrize("validators", ["etag", "date", "weak", "none"])
def test_a_broken_connection_is_continued(site: Site, tmp_path: Path, validators: str) -> None:
    site.validators = validators
    site.send = [100_000, 50_000, 1]
    fetch(site, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert [request["Range"] for request in site.requests] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
        "bytes=150001-",
    ]
    known = {"etag": '"0"', "date": site.date(), "weak": site.date(), "none": None}
    assert site.requests[1]["If-Range"] == known[validators]


def test_a_later_run_continues_what_an_interruption_left(site: Site, tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        raise Stop

    site.send = [120_000]
    with pytest.raises(Stop):
        fetch(site, tmp_path / "f", progress=stop)
    assert not (tmp_path / "f").exists()
    fetch(site, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert site.requests[-1]["Range"] == "bytes=120000-"


def test_a_part_that_is_whole_already_needs_no_request(site: Site, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(BODY)
    (tmp_path / "f.part.json").write_text(json.dumps([f"{site.url}/file", len(BODY), '"0"']))
    fetch(site, tmp_path / "f")
    assert site.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_server_that_sends_too_little_is_given_up(site: Site, tmp_path: Path) -> None:
    site.send = [1000, 0, 0, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"1000 of 300000 bytes.*what has come is kept") as error:
        fetch(site, tmp_path / "f", attempts=3)
    one_line(error)
    assert len(site.requests) == 4  # one that brought something, three that did not
    assert not (tmp_path / "f").exists()
    assert (tmp_path / "f.part").stat().st_size == 1000


def test_a_server_that_ignores_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.send = [100_000, 20_000]
    fetch(site, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert len(site.requests) == 3


@pytest.mark.parametrize("honest", [True, False])
@pytest.mark.parametrize("validators", ["etag", "date", "none"])
def test_a_file_that_changes_is_never_mixed(site: Site, tmp_path: Path, validators: str, honest: bool) -> None:
    site.validators, site.if_range = validators, honest
    site.send = [100_000]

    def change(done: int, total: int) -> None:
        site.replace("file", OTHER)

    fetch(site, tmp_path / "f", progress=change)
    assert (tmp_path / "f").read_bytes() == OTHER


def test_a_file_that_became_shorter_than_the_part_comes_anew(site: Site, tmp_path: Path) -> None:
    site.send = [100_000]
    fetch(site, tmp_path / "f", progress=lambda done, total: site.replace("file", OTHER[:5000]))
    assert (tmp_path / "f").read_bytes() == OTHER[:5000]


@pytest.mark.parametrize("note", ["", "[]", "null", '["x", 1, null]', '{"a": 1, "b": 2, "c": 3}', "[1, [2], 3]"])
def test_a_part_of_unknown_origin_is_dropped(site: Site, tmp_path: Path, note: str) -> None:
    (tmp_path / "f.part").write_bytes(b"something else")
    (tmp_path / "f.part.json").write_text(note)
    fetch(site, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert site.requests[0]["Range"] is None


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.status = [503, 429]
    fetch(site, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_missing_file_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"404.*check the address") as error:
        download(f"{site.url}/nothing", tmp_path / "f", max_bytes=1 << 20)
    one_line(error)
    assert len(site.requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://localhost/x", "C:/x", "", "http://a b/"])
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError) as error:
        download(url, tmp_path / "f", max_bytes=1 << 20)
    one_line(error)


def test_nobody_listens(tmp_path: Path) -> None:
    with Site({}) as site:
        url = site.url
    with pytest.raises(DownloadError, match="no connection") as error:
        download(f"{url}/file", tmp_path / "f", max_bytes=1 << 20, attempts=2, pause=0.0)
    one_line(error)


def test_a_file_that_is_too_long_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="has 300000 bytes, more than it should"):
        fetch(site, tmp_path / "f", max_bytes=299_999)
    assert list(tmp_path.iterdir()) == []
    site.lengths = False  # it only shows while it comes
    with pytest.raises(DownloadError, match="longer than it should"):
        fetch(site, tmp_path / "f", max_bytes=299_999)
    assert not (tmp_path / "f").exists()


def test_a_nonsensical_answer_is_refused(site: Site, tmp_path: Path) -> None:
    site.send, site.extent = [1000], "bytes */300000"
    with pytest.raises(DownloadError, match="no known way") as error:
        fetch(site, tmp_path / "f")
    one_line(error)


def test_too_little_room_is_said_before_anything_comes(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"too little room.*0 MB more") as error:
        fetch(site, tmp_path / "f")
    one_line(error)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_taken_for_a_broken_line(site: Site, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as error:
            fetch(site, tmp_path / "f")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not isinstance(error.value, DownloadError)
    assert len(site.requests) == 1
    fetch(site, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        warnings.simplefilter("ignore")
        for name, data in members.items():
            packed.writestr(name, data)
    return path


def only_archive_is_left(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == ["a.zip"]


def test_an_archive_unpacks_to_a_new_folder(tmp_path: Path) -> None:
    members = {"top/": b"", "top/a.jpg": b"a" * 1000, "top/deep/b.jpg": b"", "c": BODY}
    seen: list[tuple[int, int]] = []
    unzip(
        archive(tmp_path / "a.zip", members),
        tmp_path / "out",
        max_bytes=1 << 20,
        progress=lambda done, total: seen.append((done, total)),
    )
    files = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert files == {name: data for name, data in members.items() if not name.endswith("/")}
    assert seen[-1] == (301_000, 301_000)
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "out"}
    with pytest.raises(FileExistsError):
        unzip(tmp_path / "a.zip", tmp_path / "out", max_bytes=1 << 20)


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/evil", "..", "a\\..\\..\\evil", "C:/evil", "C:evil", "//evil", "./", "a/.."],
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeArchive, match="leaves the folder") as error:
        unzip(archive(tmp_path / "a.zip", {"good": b"1", name: b"2"}), tmp_path / "out", max_bytes=1 << 20)
    one_line(error)
    assert only_archive_is_left(tmp_path)


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, mode: int) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(link, "/etc")
        packed.writestr("link/evil", b"2")
    with pytest.raises(UnsafeArchive, match="no plain file") as error:
        unzip(tmp_path / "a.zip", tmp_path / "out", max_bytes=1 << 20)
    one_line(error)
    assert only_archive_is_left(tmp_path)


@pytest.mark.parametrize("members", [{"a": b"1", "a/b": b"2"}, {"a/b": b"2", "a": b"1"}, {"a/b": b"1", "a/./b": b"2"}])
def test_names_that_clash_are_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(UnsafeArchive, match="a name twice"):
        unzip(archive(tmp_path / "a.zip", members), tmp_path / "out", max_bytes=1 << 20)
    assert only_archive_is_left(tmp_path)


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "a.zip", {"bomb": bytes(20 << 20)})
    assert bomb.stat().st_size < 50_000
    with pytest.raises(UnsafeArchive, match="unpacks to 20971520 bytes"):
        unzip(bomb, tmp_path / "out", max_bytes=1 << 30)
    with pytest.raises(UnsafeArchive, match="unpacks to more than 1000 bytes"):
        unzip(bomb, tmp_path / "out", max_bytes=1000)
    with pytest.raises(UnsafeArchive, match="holds 1 files, more than 0"):
        unzip(bomb, tmp_path / "out", max_bytes=1 << 30, max_files=0)
    assert only_archive_is_left(tmp_path)


def test_a_file_that_is_longer_than_it_says_is_refused(tmp_path: Path) -> None:
    """The directory and the file's own header both claim 10 bytes; 1 MB would come."""
    path = archive(tmp_path / "a.zip", {"liar": bytes(1 << 20)})
    lie = path.read_bytes().replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(lie)
    with pytest.raises(UnsafeArchive, match="damaged"):
        unzip(path, tmp_path / "out", max_bytes=1000)
    assert only_archive_is_left(tmp_path)


@pytest.mark.parametrize("flag", ["encrypted", "bzip2"])
def test_unusual_packing_is_refused(tmp_path: Path, flag: str) -> None:
    path = archive(tmp_path / "a.zip", {"x": b"123"})
    if flag == "bzip2":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as packed:
            packed.writestr("x", b"123")
    else:
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(data)
    with pytest.raises(UnsafeArchive, match="no usual way"):
        unzip(path, tmp_path / "out", max_bytes=1000)
    assert only_archive_is_left(tmp_path)


def _small_archive() -> bytes:
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("a/b.txt", b"hello " * 20)
            packed.writestr("c.txt", b"world")
        return buffer.getvalue()


SMALL = _small_archive()


@given(
    changes=st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=3),
    end=st.integers(0, len(SMALL)) | st.none(),
)
def test_a_damaged_archive_harms_nothing(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], end: int | None
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    data = bytearray(SMALL)
    for place, value in changes:
        data[place] = value
    (folder / "a.zip").write_bytes(data[:end])
    with contextlib.suppress(UnsafeArchive):
        unzip(folder / "a.zip", folder / "out", max_bytes=10_000)
    unpacked = (folder / "out").exists()
    assert {path.name for path in folder.iterdir()} == ({"a.zip", "out"} if unpacked else {"a.zip"})
    if unpacked:  # the sums of its files held
        contents = {path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
        assert contents <= {b"hello " * 20, b"world", b""}
