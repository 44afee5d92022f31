"""A training's photographs from two folders: which files belong together, which are kept for measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exposure_gym.data.crop_cache import Progress, read_crops
from exposure_gym.data.crops import Cut, OnError, Shot
from exposure_gym.data.photo_set import Brightness, Domain, Photos, PhotoSet
from exposure_gym.photo import Reading

Folders = tuple[list[Path], list[Path]]
"""Files of inputs, and of targets."""


@dataclass(frozen=True)
class PhotoOptions:
    """How the photographs of a training are read and cut: the table ``[photos]`` of a preset.

    :param inputs: how the photographs to start from are read, see `exposure_gym.photo.read_input`. Targets are always
        read as display values.
    :param input_crops: random squares of an input; 0 for the one in its centre.
    :param target_crops: of a target. The defaults are published: ``FiveKDataProvider`` and ``ArtistDataProvider``.
    :param paired: inputs and targets of one name are one photograph before and after: both give the same squares,
        ``input_crops`` of them.
    """

    inputs: Reading = "linear"
    input_crops: int = 4
    target_crops: int = 0
    paired: bool = False


def read_photos(
    inputs: Sequence[Path],
    targets: Sequence[Path],
    options: PhotoOptions,
    *,
    size: int = 80,
    cache: Path | None = None,
    on_error: OnError | None = None,
    progress: Progress | None = None,
) -> Photos:
    """Read the photographs of a training.

    :param size: edge of the crops in pixels, a quarter more than what the agent sees of them.
    :param cache: see `exposure_gym.data.crop_cache.read_crops`, and there for `on_error` and `progress`.
    :raises PhotoError: one can't be read, and no `on_error` was given.
    :raises ValueError: none can be read, or two that should be a pair have different names or shapes.
    """
    domain: Domain = "display" if options.inputs == "display" else "linear"
    brightness: Brightness = "raw-like" if options.inputs == "raw-like" else "as-is"

    def read(
        shots: Sequence[Shot], readings: tuple[Reading, ...], crops: int
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        return read_crops(shots, Cut(readings, crops or None, size), cache=cache, on_error=on_error, progress=progress)

    if options.paired:
        pairs = pairs_by_name(inputs, targets, on_error)
        crops, names = read(pairs, (options.inputs, "display"), options.input_crops)
        before, after, after_names = crops[:, :3], crops[:, 3:], names
    else:
        before, names = read([(path,) for path in inputs], (options.inputs,), options.input_crops)
        after, after_names = read([(path,) for path in targets], ("display",), options.target_crops)
    return Photos(
        PhotoSet(before, domain, names, brightness=brightness),
        PhotoSet(after, "display", after_names),
        paired=options.paired,
        display_inputs=options.inputs == "display",
    )


def pairs_by_name(inputs: Sequence[Path], targets: Sequence[Path], on_error: OnError | None = None) -> list[Shot]:
    """Match files by name, whatever the extension.

    :param on_error: called for a file that has no partner, or the name of another one in its folder: it is left out.
        Without it such a file raises.
    :raises ValueError: there is no pair at all.
    """

    def complain(path: Path, reason: str) -> None:
        error = ValueError(f"{path}: {reason}")
        if on_error is None:
            raise error
        on_error(path, error)

    def by_stem(paths: Sequence[Path]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in paths:
            if path.stem in found:
                complain(path, f"has the name of {found[path.stem]}; keep one of the two")
            else:
                found[path.stem] = path
        return found

    first, second = by_stem(inputs), by_stem(targets)
    for paths, others in ((first, second), (second, first)):
        for stem in paths.keys() - others.keys():
            complain(paths[stem], "has no partner of its name; add it, or train unpaired")
    pairs: list[Shot] = [(first[stem], second[stem]) for stem in first if stem in second]
    if not pairs:
        raise ValueError("no input has the name of a target; pairs have one name, like a.dng and a.jpg")
    return pairs


def split_by_file(
    inputs: Sequence[Path], targets: Sequence[Path], fraction: float
) -> tuple[tuple[list[Path], list[Path]], tuple[list[Path], list[Path]]]:
    """Keep a part of the files of both folders for measuring; all crops of a photograph are on one side.

    The choice depends on the names alone: it is the same in every training, and hardly changes when photographs are
    added. A photograph and its finished version, which have one name, stay together.

    :param fraction: of each folder, above 0 and below 1; at least one file.
    :return: inputs and targets to learn from, and those to measure on.
    :raises ValueError: nothing is left to learn from.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"the part kept for measuring is above 0 and below 1, not {fraction}")
    kept: set[str] = set()
    for paths in (inputs, targets):
        stems = sorted({path.stem for path in paths}, key=lambda stem: blake2b(stem.encode(errors="replace")).digest())
        kept.update(stems[: max(1, round(fraction * len(stems)))])

    def side(measured: bool) -> Folders:
        first, second = ([path for path in paths if (path.stem in kept) == measured] for paths in (inputs, targets))
        return first, second

    if not all(side(measured=False)):
        raise ValueError(f"too few photographs to keep a part of {fraction:g} for measuring; add some")
    return side(measured=False), side(measured=True)
