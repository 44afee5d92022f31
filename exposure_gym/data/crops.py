"""From photographs to the square crops that a training draws from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exposure_gym.photo import PhotoError, Reading, Space, read_input, to_square

OnError = Callable[[Path, ValueError], None]
"""Called with a photograph that can't be read and the reason."""

Shot = tuple[Path, ...]
"""The files of one photograph: one, or its input and its finished version."""

_ALIKE = 0.02  # two versions of a photo may differ by this part in height / width: converters crop the edges


class Crops(NamedTuple):
    """The crops of one photograph."""

    name: str
    pixels: NDArray[np.float32]
    """``(n, 3 k, S, S)`` for k files."""


@dataclass(frozen=True)
class Cut:
    """How photographs become crops.

    :param readings: one for each file of a photograph, see `exposure_gym.photo.read_input`.
    :param crops: random squares a photograph, as wide as its shorter edge; ``None`` for the one in its centre.
    :param size: edge of the crops in pixels, averaged down with ``INTER_AREA``.
    :param space: primaries of linear light; display values are sRGB whatever it says.
    :param max_megapixels: larger photographs are not read.
    :param seed: of the places of the squares.
    """

    readings: tuple[Reading, ...]
    crops: int | None
    size: int = 80
    space: Space = "srgb"
    max_megapixels: float = 200.0
    seed: int = 0


def cut_photos(shots: Iterable[Shot], cut: Cut, on_error: OnError | None = None) -> Iterator[Crops]:
    """Read photographs one by one and yield their crops.

    Photographs of equal shapes in the same order give equal squares for equal seeds. The versions of one photograph
    give the same squares, scaled where they differ in size.

    :param on_error: called for a photograph that can't be read, which is left out. Without it such a one raises.
    :raises PhotoError: a photograph can't be read, and no `on_error` was given.
    """
    rng = np.random.default_rng(cut.seed)
    for shot in shots:
        try:
            versions = read_shot(shot, cut)
        except PhotoError as error:
            if on_error is None:
                raise
            on_error(error.path, error)
            continue
        first = versions[0]
        offsets = [None] if cut.crops is None else square_offsets(first, cut.crops, rng)
        squares = [[_square(pixels, offset, first) for pixels in versions] for offset in offsets]
        crops = [
            np.concatenate([to_square(square, cut.size).transpose(2, 0, 1) for square in alike]) for alike in squares
        ]
        yield Crops(shot[0].name, np.stack(crops))


def read_shot(shot: Shot, cut: Cut) -> Sequence[NDArray[np.float32]]:
    """Read the versions of a photograph: ``(H, W, 3)`` each.

    :raises PhotoError: one can't be read, or is no version of the first.
    """
    versions = []
    for path, reading in zip(shot, cut.readings, strict=True):
        space: Space = "srgb" if reading == "display" else cut.space
        # RAW at half size: crops are smaller still
        photo = read_input(path, reading, space=space, half_size=True, max_megapixels=cut.max_megapixels)
        versions.append(photo.pixels)
    shapes = [pixels.shape[0] / pixels.shape[1] for pixels in versions]
    for path, shape in zip(shot, shapes, strict=True):
        if abs(shape / shapes[0] - 1.0) > _ALIKE:
            raise PhotoError(path, f"has another shape than {shot[0]}", "give two versions of one photograph")
    return versions


def random_squares(pixels: NDArray[np.float32], count: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Yield squares as wide as the shorter edge, at random places along the longer one."""
    for offset in square_offsets(pixels, count, rng):
        yield _square(pixels, offset, pixels)


def square_offsets(pixels: NDArray[np.float32], count: int, rng: np.random.Generator) -> list[int]:
    """Draw where along the longer edge squares begin (published ``FiveKDataProvider``: four of an input)."""
    offsets: list[int] = rng.integers(0, _room(pixels) + 1, count).tolist()
    return offsets


def _square(pixels: NDArray[np.float32], offset: int | None, drawn_for: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut out a square; all of the picture where there is no offset: its centre is taken later."""
    if offset is None:
        return pixels
    if pixels.shape != drawn_for.shape:
        offset = round(offset * _room(pixels) / max(_room(drawn_for), 1))
    height, width = pixels.shape[:2]
    along = slice(offset, offset + min(height, width))
    return pixels[along] if height > width else pixels[:, along]


def _room(pixels: NDArray[np.float32]) -> int:
    """By how much the longer edge exceeds the shorter one."""
    return abs(int(pixels.shape[0]) - int(pixels.shape[1]))
