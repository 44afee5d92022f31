"""Crops on disk: photographs are decoded once, and mapped, not read, when the next training begins.

A set of crops is two files in the cache folder, named by a hash of the contents and names of its photographs and of
how they were cut: ``HASH.crops``, plain float32, and ``HASH.json``, written last, which says what is in it. A changed
photograph changes the hash. A damaged file is made again. The folder may be deleted whenever nothing is trained.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exposure_gym.data.crops import Cut, OnError, Shot, cut_photos, read_shot
from exposure_gym.files import replacing
from exposure_gym.photo import PhotoError

VERSION = 1
"""Of the files, and of how photographs are read and cut: raised whenever equal photographs give other crops."""

BLOCK = 1 << 20

Progress = Callable[[str, int, int], None]
"""Called with what is being done, photographs done, and photographs in all."""


class CacheError(ValueError):
    """Crops cannot be kept in the cache folder; one line with the remedy."""


def cache_folder() -> Path:
    """Where crops are kept by default.

    What the environment variable ``EXPOSURE_GYM_CACHE`` says, or else ``exposure-gym`` in the user's cache folder:
    ``$XDG_CACHE_HOME``, or ``~/.cache`` (XDG Base Directory Specification).
    """
    if chosen := os.environ.get("EXPOSURE_GYM_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "exposure-gym"


def read_crops(
    shots: Sequence[Shot],
    cut: Cut,
    *,
    cache: Path | None = None,
    on_error: OnError | None = None,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the crops of photographs and the name of each, from the cache where they are there.

    :param cache: folder of the cache, made if need be; ``None`` for none: everything stays in memory.
    :param on_error: as for `cut_photos`; also called for what could not be read when the crops were cached.
    :return: ``(N, 3 k, S, S)`` for photographs of k files, and N names.
    :raises PhotoError: a photograph can't be read, and no `on_error` was given.
    :raises CacheError: the cache can't be written.
    :raises ValueError: no photograph could be read.
    """
    if cache is None:
        made = list(cut_photos(_watched(shots, "reading", progress), cut, on_error))
        if not made:
            raise _nothing(shots)
        names = tuple(crops.name for crops in made for _ in crops.pixels)
        return np.concatenate([crops.pixels for crops in made]), names
    entry = cache / _key(shots, cut, progress)
    found = _open(entry)
    if found is None or _more_can_be_read(shots, found[1], cut, on_error):
        _make(entry, shots, cut, on_error, progress)
        found = _open(entry)
    if found is None:
        raise CacheError(f"{entry}.crops: is damaged as soon as it is written; choose another folder for the cache")
    return found


def _nothing(shots: Sequence[Shot]) -> ValueError:
    place = shots[0][0].parent if shots else "nowhere"
    return ValueError(f"{place}: no readable photograph; give a folder of TIFF, JPEG, PNG or RAW files")


def _watched(shots: Sequence[Shot], what: str, progress: Progress | None) -> Iterator[Shot]:
    for done, shot in enumerate(shots):
        if progress:
            progress(what, done, len(shots))
        yield shot


def _key(shots: Sequence[Shot], cut: Cut, progress: Progress | None) -> str:
    listed = [
        [[path.name, _digest(path)] for path in shot] for shot in _watched(shots, "looking for changes", progress)
    ]
    text = json.dumps([VERSION, asdict(cut), listed], sort_keys=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _digest(path: Path) -> str:
    """Hash of what is in a file; of one that can't be read, nothing: reading it says why."""
    total = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                total.update(block)
    except OSError:
        return ""
    return total.hexdigest()


def _more_can_be_read(shots: Sequence[Shot], names: Sequence[str], cut: Cut, on_error: OnError | None) -> bool:
    """Whether a photograph that was left out can be read by now: a package was missing, or a permission.

    Those that still can't are complained of again.
    """
    kept = frozenset(names)
    for shot in shots:
        if shot[0].name in kept:
            continue
        try:
            read_shot(shot, cut)
        except PhotoError as error:
            if on_error is None:
                raise
            on_error(error.path, error)
        else:
            return True
    return False


def _open(entry: Path) -> tuple[NDArray[np.float32], tuple[str, ...]] | None:
    """Map the crops of an entry; ``None`` if it is not there, not complete or damaged."""
    data = entry.with_suffix(".crops")
    try:
        index = json.loads(entry.with_suffix(".json").read_text(encoding="utf-8"))
        shape, names, checksum = tuple(index["shape"]), tuple(index["names"]), index["checksum"]
        if len(names) != shape[0] or data.stat().st_size != 4 * math.prod(shape):
            return None
        crops: NDArray[np.float32] = np.memmap(data, np.float32, "r", shape=shape)
        return (crops, names) if _checksum(names, crc32(crops)) == checksum else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _checksum(names: Sequence[str], start: int) -> int:
    return zlib.crc32(json.dumps(names).encode(), start)


def crc32(crops: NDArray[np.float32], start: int = 0) -> int:
    """Checksum of crops in any layout, crop by crop: they may be more than fits in memory."""
    for crop in crops:
        start = zlib.crc32(np.ascontiguousarray(crop).data, start)
    return start


def _make(entry: Path, shots: Sequence[Shot], cut: Cut, on_error: OnError | None, progress: Progress | None) -> None:
    """Read the photographs and write an entry as they come."""
    names: list[str] = []
    shape: tuple[int, ...] = ()
    checksum = 0
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with replacing(entry.with_suffix(".crops")) as temporary, temporary.open("wb") as file:
            for name, pixels in cut_photos(_watched(shots, "reading", progress), cut, on_error):
                file.write(np.ascontiguousarray(pixels).data)
                checksum = crc32(pixels, checksum)
                names += [name] * len(pixels)
                shape = pixels.shape[1:]
            if not names:
                raise _nothing(shots)
        index = {"shape": [len(names), *shape], "names": names, "checksum": _checksum(names, checksum)}
        with replacing(entry.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(index), encoding="utf-8")
    except OSError as error:
        reason = f"crops cannot be kept there ({error.strerror or error})"
        raise CacheError(f"{entry.parent}: {reason}; make room, or choose another folder for the cache") from None
