"""Make a pack of the FiveK dataset: every crop at its training size, in arrays that are mapped and not read.

A pack is a folder with ``inputs.npy`` (linear light, ProPhoto primaries), an array of display values for each expert,
and ``index.json``, written last. Photographs lie in the order of the published folds, so that each fold is one stretch.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from exposure_gym import _raw
from exposure_gym.data import fivek
from exposure_gym.data.crops import random_squares
from exposure_gym.data.fivek import EXPERTS, FINISHED, IMAGES, META, PUBLISHED_CROPS, PUBLISHED_SIZE, FiveKError
from exposure_gym.files import replacing
from exposure_gym.photo import PhotoError, read_display, read_linear, to_square

EV = -1.5
_PARTS, _SETTINGS = "parts", "settings.json"
_TIFF, _JPEG = (".tif", ".tiff"), (".jpg", ".jpeg")

Progress = Callable[[int, int], None]
"""Called with photographs done and photographs in all."""


@dataclass(frozen=True)
class _Job:
    """A photograph and where its crops go."""

    source: Path
    part: Path
    number: int
    size: int
    seed: int | None
    """Of the places of the crops of an input; a finished photograph has none, it gives its centre square."""


def pack_fivek(
    source: str | Path,
    pack: str | Path,
    *,
    experts: str = "C",
    size: int = PUBLISHED_SIZE,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    on_error: Callable[[str], None] | None = None,
) -> int:
    """Pack the authors' files, or the original dataset; run again, it goes on where it was stopped.

    `source` is one of the two:

    * the folder that `exposure_gym.data.fivek.download_fivek` filled;
    * a folder with the original dataset: DNG files anywhere below it, and experts' TIFFs in ``tiff16_a`` to
      ``tiff16_e`` anywhere below it, all with their published names (``a0001-jmac_DSC1459.dng``). A part of the
      dataset makes a smaller pack. This needs rawpy, the ``raw`` extra.

    The authors exported their inputs from the Lightroom catalogue of the dataset, from its collection *Input with
    Daylight WhiteBalance minus 1.5*, as 16-bit ProPhoto TIFFs, and undid the curve. From DNG files the same is made
    without Lightroom, and differs in this:

    * white balance: LibRaw's daylight (6500 K, from the colour matrix in the file) where the catalogue names
      Lightroom's (5500 K, tint +10): a little warmer;
    * colour: the matrix in the file where Lightroom has a profile of the camera with tables for single hues;
    * −1.5 EV: a factor on the linear values. Lightroom gets back highlights that clipped in one or two channels; here
      they stay cut off, at 2^−1.5;
    * orientation: that in the file, not the catalogue's; no correction of the lens, no sharpening, no noise reduction;
    * no interpolation of colours: 2 × 2 pixels of the sensor make one, which is then averaged down.

    Crops are as published (``fivek.py``, ``artist.py``): of an input four squares as wide as its shorter edge, at
    random places; of a finished photograph the one in the centre; both averaged down.

    :param pack: the folder to make.
    :param experts: letters of those whose photographs are the targets; the authors' files hold C alone.
    :param size: edge of the crops in pixels; the authors' files hold 80 alone.
    :param seed: of the places; those of the authors' crops are theirs.
    :param workers: processes; by default as many as there are cores. 1 works in this one.
    :param on_error: called, in one line, for every photograph that cannot be read; without it the first one raises.
    :return: number of inputs.
    :raises ValueError: there is nothing to pack, a file is damaged, or not every photograph could be read. What is done
        is kept.
    :raises OSError: the disk is full, or the folder cannot be written to.
    """
    source, pack = Path(source), Path(pack)
    if not experts or not set(experts) <= set(EXPERTS):
        raise FiveKError(f"experts are letters of {EXPERTS}, not {experts!r}")
    if not 1 <= size <= 4096:
        raise FiveKError(f"crops have 1 to 4096 pixels along an edge, not {size}")
    if (pack / fivek.INDEX).exists():
        raise FiveKError(f"{pack}: holds a finished pack; choose another folder")
    published = (source / IMAGES).exists()
    if published and (experts, size) != ("C", PUBLISHED_SIZE):
        raise FiveKError(f"{source}: the authors' files hold expert C at {PUBLISHED_SIZE} pixels; ask for these")
    inputs = {} if published else _originals(source)
    finished = _finished(source, experts, published)

    parts = pack / _PARTS
    _begin(parts, {"source": str(source.resolve()), "size": size, "seed": seed})
    jobs = [_Job(path, _part(parts, "input", n), n, size, seed) for n, path in inputs.items()]
    for expert, photos in finished.items():
        jobs += [_Job(path, _part(parts, expert, n), n, size, None) for n, path in photos.items()]
    _work(jobs, workers or os.cpu_count() or 1, progress, on_error)

    for expert, photos in finished.items():
        rows = (_read_part(parts, expert, n) for n in photos)
        _write(pack / fivek.targets_file(expert), (len(photos), 3, size, size), rows)
    names = _authors_names(source / META) if published else {n: path.name for n, path in inputs.items()}
    crops = _authors_crops(source / IMAGES, names) if published else (_read_part(parts, "input", n) for n in names)
    _write(pack / fivek.INPUTS, (PUBLISHED_CROPS * len(names), 3, size, size), crops)
    index = {
        "format": fivek.FORMAT,
        "source": "authors" if published else "original",
        "size": size,
        "crops": PUBLISHED_CROPS,
        "inputs": list(names.values()),
        "targets": {expert: [path.name for path in photos.values()] for expert, photos in finished.items()},
    }
    with replacing(pack / fivek.INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1), encoding="utf-8")
    shutil.rmtree(parts)
    return len(names)


def _finished(source: Path, experts: str, published: bool) -> dict[str, dict[int, Path]]:
    """Return the finished photographs of each expert by id, in the order of a pack."""
    found: dict[str, dict[int, Path]] = {}
    for expert in sorted(set(experts)):
        name = FINISHED if published else f"tiff16_{expert.lower()}"
        folders = [source / name] if published else sorted(path for path in source.rglob(name) if path.is_dir())
        photos = fivek.find_photos(folders[0], _JPEG if published else _TIFF) if folders else {}
        if not photos:
            kind = "JPEG" if published else "TIFF"
            raise FiveKError(f"{source}: has no {kind} files of expert {expert} in a folder {name}; add them")
        found[expert] = {n: photos[n] for n in _in_order(photos)}
    return found


def _originals(source: Path) -> dict[int, Path]:
    """Return the DNG files by id, in the order of a pack."""
    photos = fivek.find_photos(source, (".dng",))
    if not photos:
        raise FiveKError(
            f"{source}: has neither {IMAGES} nor DNG files with the names of the dataset; "
            "fetch the authors' files with exposure-gym data fivek download"
        )
    if not _raw.available():
        raise FiveKError(f"{source}: {_raw.REMEDY}")
    return {n: photos[n] for n in _in_order(photos)}


def _in_order(numbers: Iterable[int]) -> list[int]:
    return sorted(numbers, key=fivek.pack_order)


def _begin(parts: Path, settings: dict[str, Any]) -> None:
    """Make the folder of what is done so far, or make sure that it was begun alike."""
    parts.mkdir(parents=True, exist_ok=True)
    path = parts / _SETTINGS
    wanted = json.dumps(settings, indent=1)
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_text(wanted, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != wanted:
        raise FiveKError(f"{parts}: was begun with other settings; use the same or remove it")


def _part(parts: Path, kind: str, number: int) -> Path:
    return parts / f"{kind}-{number:04d}.npy"


def _work(jobs: list[_Job], workers: int, progress: Progress | None, on_error: Callable[[str], None] | None) -> None:
    """Do what is not done yet.

    :raises FiveKError: not all of it could be.
    """
    left = [job for job in jobs if not job.part.exists()]
    done, failed = len(jobs) - len(left), 0
    with closing(_results(left, min(workers, len(left)))) as results:
        for error in results:
            done += 1
            if error is not None:
                if on_error is None:
                    raise FiveKError(error)
                on_error(error)
                failed += 1
            if progress:
                progress(done, len(jobs))
    if failed:
        raise FiveKError(
            f"{failed} of {len(jobs)} photographs could not be read; mend or remove them and run the same again: "
            "what is done is kept"
        )


def _results(jobs: list[_Job], workers: int) -> Generator[str | None]:
    """Do the jobs, in as many processes, and yield for each one, as they end, what went wrong."""
    if workers <= 1:
        yield from map(_crop, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    executor = ProcessPoolExecutor(workers, context, _start_worker)
    try:
        for future in as_completed([executor.submit(_crop, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool:
        raise FiveKError(
            "a worker died, perhaps for want of memory; run the same again with fewer workers: what is done is kept"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops the workers
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Where the parent is killed nobody is left to stop its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _crop(job: _Job) -> str | None:
    """Read a photograph and write its crops, ``(n, 3, size, size)``; return the reason if it cannot be read."""
    try:
        if job.seed is None:
            squares = [read_display(job.source).pixels]
        else:
            pixels = read_linear(job.source, space="prophoto", half_size=True).pixels * np.float32(2.0**EV)
            squares = list(random_squares(pixels, PUBLISHED_CROPS, np.random.default_rng([job.seed, job.number])))
    except PhotoError as error:
        return str(error)
    with replacing(job.part) as temporary:
        np.save(temporary, np.stack([to_square(square, job.size).transpose(2, 0, 1) for square in squares]))
    return None


def _authors_names(path: Path) -> dict[int, str]:
    """Return the names of the authors' inputs by id, in the order of a pack; each begins with its id."""
    names = {n: Path(name).name for n, name in enumerate(fivek.read_names(path), 1)}
    return {n: names[n] if fivek.photo_id(names[n]) == n else f"{n:04d}-{names[n]}" for n in _in_order(names)}


def _authors_crops(path: Path, numbers: Collection[int]) -> Iterator[NDArray[np.float32]]:
    """Yield the crops of each of the authors' inputs, channels first."""
    images = fivek.open_images(path, len(numbers))
    for number in numbers:
        crops = images[PUBLISHED_CROPS * (number - 1) : PUBLISHED_CROPS * number]
        if not np.isfinite(crops).all() or crops.min() < 0:
            raise FiveKError(f"{path}: the crops of photograph {number} hold no light; download it again")
        yield crops.transpose(0, 3, 1, 2)


def _read_part(parts: Path, kind: str, number: int) -> NDArray[np.float32]:
    crops: NDArray[np.float32] = np.load(_part(parts, kind, number), allow_pickle=False)
    return crops


def _write(path: Path, shape: tuple[int, ...], rows: Iterable[NDArray[np.float32]]) -> None:
    """Write an array piece by piece; through a file and not a map, where a full disk would end the process."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for row in rows:
            file.write(np.ascontiguousarray(row, "<f4").data)
