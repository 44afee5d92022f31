"""Which files a photograph becomes: names that never collide, never an input, never somebody else's work."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from exposure_gym.photo import KNOWN_EXTENSIONS, RAW_EXTENSIONS, list_photos

Format = Literal["png", "jpg", "tif"]

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class Kind:
    """What a file is by its first bytes, whatever its name says."""

    format: Format
    bits: Literal[8, 16]
    """Of what is written in the same format: a TIFF is always written with 16."""


def kind_of(path: Path) -> Kind:
    """The kind of a photograph; a file that cannot be read passes as a JPEG here and fails when it is decoded.

    A RAW file passes as a TIFF: it holds light too, and what is made of it deserves as many bits.
    """
    if path.suffix.lower() in RAW_EXTENSIONS:
        return Kind("tif", 16)
    try:
        with path.open("rb") as file:
            head = file.read(25)
    except OSError:
        head = b""
    if head.startswith(_PNG):
        return Kind("png", 16 if head[24:] == b"\x10" else 8)
    return Kind("tif", 16) if head.startswith(_TIFF) else Kind("jpg", 8)


class Found(NamedTuple):
    """A photograph to work on."""

    path: Path
    subfolder: Path = Path()
    """Where it lies in the folder that was searched, and its results will lie in theirs."""


def find_inputs(names: Iterable[str], recursive: bool = False, results: Path | None = None) -> list[Found]:
    """Files, folders and patterns as photographs, each once; what does not exist stays, to be complained of.

    :param recursive: look into the folders in a folder too, but not into hidden ones, nor through links,
    :param results: nor into this one, where the results of an earlier run may lie.
    :raises ValueError: a folder cannot be looked into.
    """
    unique: dict[Path, Found] = {}
    for name in names:
        matches = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) and not Path(name).exists() else []
        for path in map(Path, matches or [name]):
            for folder in _folders(path, results) if recursive and path.is_dir() else [path]:
                for photo in list_photos([folder]):
                    subfolder = folder.relative_to(path) if recursive and path.is_dir() else Path()
                    unique.setdefault(photo.resolve(), Found(photo, subfolder))
    return list(unique.values())


def _folders(top: Path, results: Path | None) -> Iterator[Path]:
    """A folder and those in it, in the order of their names."""
    for here, below, _ in os.walk(top):
        if results is not None and here != str(top) and Path(here).resolve() == results.resolve():
            below.clear()
            continue
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield Path(here)


@dataclass(frozen=True)
class Result:
    """The files of one retouching."""

    photo: Path
    recipe: Path
    steps: Path | None
    """The figure of its steps, where one is wanted."""
    bits: Literal[8, 16]

    def __iter__(self) -> Iterator[Path]:
        yield from (self.photo, self.recipe)
        if self.steps is not None:
            yield self.steps


@dataclass(frozen=True)
class Plan:
    """What one photograph becomes."""

    results: list[Result]
    """One a sample."""
    samples: Path | None
    """The figure of all samples, where there are several."""

    def __iter__(self) -> Iterator[Path]:
        for result in self.results:
            yield from result
        if self.samples is not None:
            yield self.samples


def plan_results(
    inputs: Iterable[Found], folder: Path, samples: int, format: Format | None, steps: bool = True
) -> list[Plan]:
    """For each input, the files it becomes.

    An input is told by its name without the extension; where that is taken already, as for ``a.jpg`` and ``a.png`` or
    two folders with an ``a.jpg``, the later one gets a number: ``a-2``.
    """
    plans: list[Plan] = []
    taken: set[str] = set()
    for path, subfolder in inputs:
        stem, kind = _stem(path), kind_of(path)
        number = 1
        while True:
            name = stem if number == 1 else f"{stem}-{number}"
            plan = _plan(name, folder / subfolder, samples, kind, format, steps)
            names = {str(file).casefold() for file in plan}
            if not names & taken:
                break
            number += 1
        taken |= names
        plans.append(plan)
    return plans


def _stem(path: Path) -> str:
    return path.stem if path.suffix.lower() in KNOWN_EXTENSIONS else path.name


def _plan(stem: str, folder: Path, samples: int, kind: Kind, format: Format | None, steps: bool) -> Plan:
    names = [stem] if samples == 1 else [f"{stem}.{i}" for i in range(1, samples + 1)]
    format = format or kind.format
    bits: Literal[8, 16] = 16 if format == "tif" or (format == kind.format and kind.bits == 16) else 8
    results = [
        Result(
            folder / f"{name}.{format}",
            folder / f"{name}.recipe.json",
            folder / f"{name}.steps.png" if steps else None,
            bits,
        )
        for name in names
    ]
    return Plan(results, folder / f"{stem}.samples.png" if samples > 1 else None)


class Refused(ValueError):
    """A file that must not be written, in one line."""


def check_writable(files: Iterable[Path], inputs: set[tuple[int, int]], force: bool) -> None:
    """Refuse to write over an input, and over any file unless forced.

    :param inputs: device and inode of every input, so that no link or other spelling deceives.
    :raises Refused: naming the file and the remedy.
    """
    for path in files:
        identity = file_identity(path)
        if identity is not None and identity in inputs:
            raise Refused(f"{path}: is one of the photographs given; choose another folder with -o")
        if identity is not None and not force:
            raise Refused(f"{path}: exists already; allow it to be replaced with --force")


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file, following links; ``None`` if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
