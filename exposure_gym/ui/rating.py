"""A rating study: which results are shown to a person next, in which order, without telling from which set they are.

Results of one photograph are found in several folders by their file names, and shown together under letters. The order
of the photographs is drawn for each rater, and that of the results for each rater and photograph: they depend on the
seed and on these names only, so that a study that is planned again is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from exposure_gym.photo import list_photos

Method = Literal["stars", "pairs"]
"""1 to 5 stars for each result of a photograph, or which of two is better."""

_T = TypeVar("_T")

STARS = (1, 2, 3, 4, 5)
_FIGURES = (".steps.png", ".samples.png")
"""Endings of the figures that ``retouch`` puts beside its results."""


@dataclass(frozen=True)
class Trial:
    """What is judged together."""

    photo: str
    """Name of the photograph's files, without the extension."""
    shown: tuple[str, ...]
    """Names of the sets, in the order in which their results stand on the page."""


@dataclass(frozen=True)
class Study:
    """The results that are compared."""

    sets: Mapping[str, Mapping[str, Path]]
    """The files of each set by photograph; all sets have all :attr:`photos`."""
    method: Method = "stars"
    seed: int = 0
    left_out: int = 0
    """Photographs that not all sets have."""

    @property
    def photos(self) -> list[str]:
        """Names of the photographs, without extensions, sorted."""
        return list(next(iter(self.sets.values())))

    def plan(self, rater: str) -> list[Trial]:
        """All that a rater is to judge, in order: a photograph after the other, or a pair of one after the other."""
        size = 2 if self.method == "pairs" else len(self.sets)
        trials = [
            Trial(photo, self._shuffled(shown, "order", rater, photo, *shown))
            for photo in self.photos
            for shown in combinations(self.sets, size)
        ]
        return list(self._shuffled(trials, "photos", rater))

    def _shuffled(self, items: Sequence[_T], *names: str) -> tuple[_T, ...]:
        """Items in an order that depends on the seed and these names only."""
        key = "\0".join([str(self.seed), *names]).encode("utf-8", "surrogateescape")
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest(), "big"))
        return tuple(items[i] for i in rng.permutation(len(items)))


def parse_sets(words: Iterable[str]) -> dict[str, Path]:
    """Folders by the names of the sets: of ``name=folder``, ``folder``, or several of them with commas.

    :raises ValueError: a folder is missing, a name is there twice, or there are fewer than two; one line.
    """
    sets: dict[str, Path] = {}
    for word in words:
        for part in [word] if Path(word).is_dir() else word.split(","):
            name, equals, place = part.partition("=")
            if not equals or Path(part).is_dir():
                name, place = Path(part).resolve().name, part
            folder = Path(place)
            if not folder.is_dir():
                reason = "is no folder" if folder.exists() else "does not exist"
                raise ValueError(f"{place}: {reason}; name a folder of results, as NAME=DIR")
            if not name.strip() or name in sets:
                reason = "two sets have this name" if name in sets else "a set without a name"
                raise ValueError(f"{part}: {reason}; give each another one, as NAME=DIR")
            sets[name] = folder
    if len(sets) < 2:
        raise ValueError("a rating compares two sets at least; name their folders, as --sets inputs=DIR agent=DIR")
    return sets


def find_study(folders: Mapping[str, Path], method: Method = "stars", seed: int = 0) -> Study:
    """The photographs that all folders have, matched by their names without the extension.

    :raises ValueError: a folder holds two files of one name, or no photograph is in all of them; one line.
    """
    sets = {name: _results(folder) for name, folder in folders.items()}
    everywhere = sorted(set.intersection(*(set(files) for files in sets.values())))
    if not everywhere:
        raise ValueError(
            f"{' and '.join(map(str, folders.values()))}: no photograph is in all of them; "
            "results of one photograph need one name, whatever the extension"
        )
    found = set().union(*sets.values())
    chosen = {name: {photo: files[photo] for photo in everywhere} for name, files in sets.items()}
    return Study(chosen, method, seed, len(found) - len(everywhere))


def _results(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in list_photos([folder]):
        if path.name.endswith(_FIGURES):
            continue
        if path.stem in files:
            raise ValueError(f"{folder}: has {files[path.stem].name} and {path.name}; keep one of them")
        files[path.stem] = path
    return files
