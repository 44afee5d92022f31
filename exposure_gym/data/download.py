"""Fetch large files over an unreliable line, and unpack archives that may come from anyone."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path, PurePosixPath
from typing import NamedTuple, cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from exposure_gym.files import replacing

Progress = Callable[[int, int], None]
"""Called with what is done and the whole: bytes here."""

BLOCK = 1 << 20
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # answers that may be another one the next time


class DownloadError(OSError):
    """A file cannot be fetched; one line with its address and the remedy."""


class UnsafeArchive(ValueError):
    """An archive is damaged, or would unpack to something it should not; one line."""


class _Broken(Exception):
    """The line broke, or the server asked to try again."""


class _Version(NamedTuple):
    """Which file a part belongs to: written beside it."""

    url: str
    size: int | None
    """The whole, in bytes, where the server says it."""
    validator: str | None
    """Its strong entity tag, else the date of its last change."""


def download(
    url: str,
    path: Path,
    *,
    max_bytes: int,
    attempts: int = 6,
    pause: float = 1.0,
    timeout: float = 30.0,
    progress: Progress | None = None,
) -> None:
    """Fetch a file, going on where an earlier attempt, in this run or another, broke off.

    What has come lies in ``<name>.part``; the file gets its name when it is whole. A part is continued only if the
    server still has the same file, by its entity tag or date (``If-Range``, RFC 9110) and its size; otherwise, or if
    the server cannot send the rest alone, all of it is fetched again. If `path` exists nothing is fetched.

    :param url: ``https://`` or ``http://``.
    :param max_bytes: longer files are refused.
    :param attempts: in a row that bring nothing new.
    :param pause: seconds between attempts; twice as long for each in a row that brought nothing new.
    :param timeout: seconds of silence after which a connection counts as broken.
    :raises DownloadError: after the last attempt, or if trying again is no use.
    :raises OSError: the disk is full, or the folder cannot be written to.
    """
    if path.exists():
        return
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url}: is no address of a file; use one that begins with https://")
    part, note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    failed, best = 0, 0
    while True:
        try:
            _go_on(url, part, note, max_bytes, timeout, progress)
            break
        except _Broken as error:
            reached = part.stat().st_size if part.exists() else 0
            failed = 0 if reached > best else failed + 1
            best = max(best, reached)
            if failed >= attempts:
                kept = "; what has come is kept" if reached else ""
                raise DownloadError(f"{url}: {error}; try again later{kept}") from None
            time.sleep(pause * 2**failed)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    note.unlink(missing_ok=True)


def _go_on(url: str, part: Path, note: Path, max_bytes: int, timeout: float, progress: Progress | None) -> None:
    """One attempt: ask for what is missing and append it.

    :raises _Broken: not all of it came.
    """
    version = _read_note(note)
    if version is None or version.url != url or not part.exists():
        version = None
        part.unlink(missing_ok=True)
    have = part.stat().st_size if version else 0
    if version and have and have == version.size:
        return
    with _ask(url, have, version, timeout) as response:
        found, start = _answer(url, response)
        if start == 0:
            part.unlink(missing_ok=True)  # before the note says that what lies there is of this version
        elif start == have and version and _same(found, version):
            found = version
        else:
            part.unlink()
            raise _Broken("the file has changed meanwhile")
        if url.startswith("https://") and not response.url.startswith("https://"):
            raise DownloadError(f"{url}: leads to an unprotected address; do not trust it")
        _check_room(found, start, part, max_bytes)
        with replacing(note) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            for block in _blocks(response):
                file.write(block)
                start += len(block)
                if start > min(max_bytes, found.size or max_bytes):
                    raise DownloadError(f"{url}: is longer than it should be; do not trust it")
                if progress:
                    progress(start, found.size or max_bytes)
    if found.size is not None and start < found.size:
        raise _Broken(f"broke off after {start} of {found.size} bytes")


def _ask(url: str, have: int, version: _Version | None, timeout: float) -> HTTPResponse:
    request = Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "exposure-gym"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if version and version.validator:
            request.add_header("If-Range", version.validator)
    try:
        return cast(HTTPResponse, urlopen(request, timeout=timeout))
    except HTTPError as error:
        error.close()
        if error.code == 416 and have:
            raise _Broken("the file has changed meanwhile") from None
        if error.code in _BUSY:
            raise _Broken(f"the server says {error.code} {error.reason}") from None
        raise DownloadError(f"{url}: the server says {error.code} {error.reason}; check the address") from None
    except URLError as error:
        raise _Broken(f"no connection ({error.reason})") from None
    except InvalidURL as error:
        raise DownloadError(f"{url}: is no address ({error}); check it") from None
    except (HTTPException, OSError) as error:
        raise _Broken(f"no connection ({error or type(error).__name__})") from None


def _answer(url: str, response: HTTPResponse) -> tuple[_Version, int]:
    """Which file the server sends, and from which byte on."""
    tag, date = response.headers.get("ETag"), response.headers.get("Last-Modified")
    validator = tag if tag and not tag.startswith("W/") else date
    if response.status == 206:
        extent = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", extent)
        if match is None:
            raise DownloadError(f"{url}: the server answers in no known way ({extent!r}); try again later")
        return _Version(url, int(match[2]), validator), int(match[1])
    length = response.headers.get("Content-Length")
    return _Version(url, int(length) if length and length.isdecimal() else None, validator), 0


def _same(found: _Version, version: _Version) -> bool:
    """Whether a part can be continued: a server that sends the rest alone may leave out the date."""
    return found.size == version.size and found.validator in (None, version.validator)


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    """What comes, until it ends or breaks off: errors of the line are not to be taken for those of the disk."""
    while True:
        try:
            block = response.read(BLOCK)
        except (HTTPException, OSError) as error:
            raise _Broken(f"the connection broke ({error or type(error).__name__})") from None
        if not block:
            return
        yield block


def _check_room(found: _Version, start: int, part: Path, max_bytes: int) -> None:
    if found.size is None:
        return
    if found.size > max_bytes:
        raise DownloadError(f"{found.url}: has {found.size} bytes, more than it should; do not trust it")
    free = shutil.disk_usage(part.parent).free
    if found.size - start > free:
        missing = (found.size - start - free) / 1e6
        raise DownloadError(f"{part.parent}: has too little room for {found.url}; free {missing:.0f} MB more")


def _read_note(note: Path) -> _Version | None:
    try:
        url, size, validator = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return None
    well = isinstance(url, str) and isinstance(size, int | None) and isinstance(validator, str | None)
    return _Version(url, size, validator) if well else None


def unzip(
    archive: Path,
    folder: Path,
    *,
    max_bytes: int,
    max_ratio: float = 100.0,
    max_files: int = 100_000,
    progress: Progress | None = None,
) -> None:
    """Unpack a ZIP file into a new folder, all of it or nothing.

    Only plain files and folders below `folder` are made: no absolute name, no ``..``, no link, no device, no name
    twice. The folder appears when all is written.

    :param folder: must not exist.
    :param max_bytes: of everything unpacked.
    :param max_ratio: of unpacked to packed bytes, for files of over a megabyte.
    :param max_files: files and folders.
    :raises UnsafeArchive: the archive is damaged or breaks one of these rules; nothing is left.
    :raises OSError: the disk is full, or the folder exists or cannot be written to.
    """
    if folder.exists():
        raise FileExistsError(f"{folder}: exists already; remove it")
    temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        with zipfile.ZipFile(archive) as packed:
            members = packed.infolist()
            _check_members(archive, members, max_bytes, max_ratio, max_files)
            total, done = sum(member.file_size for member in members), 0
            for member in members:
                done += _extract(packed, member, temporary)
                if progress:
                    progress(done, total)
        os.rename(temporary, folder)
    except (OSError, UnsafeArchive):
        raise
    except Exception as error:  # a damaged archive fails in many ways
        raise UnsafeArchive(f"{archive}: is damaged ({str(error)[:100]}); download it again") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_members(
    archive: Path, members: list[zipfile.ZipInfo], max_bytes: int, max_ratio: float, max_files: int
) -> None:
    def refuse(reason: str) -> UnsafeArchive:
        return UnsafeArchive(f"{archive}: {reason}; do not trust its source")

    if len(members) > max_files:
        raise refuse(f"holds {len(members)} files, more than {max_files}")
    if sum(member.file_size for member in members) > max_bytes:
        raise refuse(f"unpacks to more than {max_bytes} bytes")
    files: set[str] = set()
    folders: set[str] = set()
    for member in members:
        name = member.orig_filename
        plain = PurePosixPath(name)
        if plain.is_absolute() or ".." in plain.parts or not plain.parts or set(name) & set("\\:\0"):
            raise refuse(f"holds {name!r}, a name that leaves the folder")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refuse(f"holds {name!r}, packed in no usual way")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse(f"holds {name!r}, which is no plain file")
        if member.file_size > max(BLOCK, max_ratio * member.compress_size):
            raise refuse(f"holds {name!r}, which unpacks to {member.file_size} bytes from {member.compress_size}")
        folders |= {str(parent) for parent in plain.parents}
        (folders if member.is_dir() else files).add(str(plain))
    if len(files) != sum(not member.is_dir() for member in members) or files & folders:
        raise refuse("holds a name twice")


def _extract(packed: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> int:
    """Write one member and return its size."""
    target = folder / member.orig_filename
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    # zipfile itself reads no more than the size that the archive declares, and checks the sum
    with packed.open(member) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file, BLOCK)
        file.flush()
        os.fsync(file.fileno())
    return member.file_size
