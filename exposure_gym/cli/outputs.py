"""Which files a photograph becomes: names that never collide, never an input, never somebody else's work."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exposure_gym.photo import EXTENSIONS, list_photos

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
    """The kind of a photograph; a file that cannot be read passes as a JPEG here and fails when it is decoded."""
    try:
        with path.open("rb") as file:
            head = file.read(25)
    except OSError:
        head = b""
    if head.startswith(_PNG):
        return Kind("png", 16 if head[24:] == b"\x10" else 8)
    return Kind("tif", 16) if head.startswith(_TIFF) else Kind("jpg", 8)


def find_inputs(names: Iterable[str]) -> list[Path]:
    """Files, folders and patterns as photographs, each once; what does not exist stays, to be complained of."""
    paths: list[Path] = []
    for name in names:
        matches = sorted(glob.glob(name)) if glob.has_magic(name) and not Path(name).exists() else []
        paths += map(Path, matches or [name])
    unique: dict[Path, Path] = {}
    for path in list_photos(paths):
        unique.setdefault(path.resolve(), path)
    return list(unique.values())


@dataclass(frozen=True)
class Result:
    """The files of one retouching."""

    photo: Path
    recipe: Path
    steps: Path
    bits: Literal[8, 16]

    def __iter__(self) -> Iterator[Path]:
        return iter((self.photo, self.recipe, self.steps))


def plan_results(inputs: Iterable[Path], folder: Path, samples: int, format: Format | None) -> list[list[Result]]:
    """For each input, its results: one a sample.

    An input is told by its name without the extension; where that is taken already, as for ``a.jpg`` and ``a.png`` or
    two folders with an ``a.jpg``, the later one gets a number: ``a-2``.
    """
    plan: list[list[Result]] = []
    taken: set[str] = set()
    for path in inputs:
        stem, kind = _stem(path), kind_of(path)
        number = 1
        while True:
            results = _results(stem if number == 1 else f"{stem}-{number}", folder, samples, kind, format)
            names = {file.name.casefold() for result in results for file in result}
            if not names & taken:
                break
            number += 1
        taken |= names
        plan.append(results)
    return plan


def _stem(path: Path) -> str:
    return path.stem if path.suffix.lower() in EXTENSIONS else path.name


def _results(stem: str, folder: Path, samples: int, kind: Kind, format: Format | None) -> list[Result]:
    names = [stem] if samples == 1 else [f"{stem}.{i}" for i in range(1, samples + 1)]
    format = format or kind.format
    bits: Literal[8, 16] = 16 if format == "tif" or (format == kind.format and kind.bits == 16) else 8
    return [
        Result(folder / f"{name}.{format}", folder / f"{name}.recipe.json", folder / f"{name}.steps.png", bits)
        for name in names
    ]


class Refused(ValueError):
    """A file that must not be written, in one line."""


def check_writable(result: Result, inputs: set[tuple[int, int]], force: bool) -> None:
    """Refuse to write over an input, and over any file unless forced.

    :param inputs: device and inode of every input, so that no link or other spelling deceives.
    :raises Refused: naming the file and the remedy.
    """
    for path in result:
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
