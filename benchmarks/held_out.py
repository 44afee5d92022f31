"""What paper_table.py and ablations.py share: test photographs, and measures of what became of them with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exposure_gym.metrics import ciede2000, five_crops, histogram_intersection, photo_statistics, psnr, ssim
from exposure_gym.photo import Reading, list_photos, read_display, read_input

CROPS = 5
"""Of a photograph."""
BINS = 32
INTERSECTIONS = ("luminance", "contrast", "saturation", "mean")
PAIRED = ("psnr", "ssim", "ciede2000")
RESAMPLES = 1000
PSNR_LIMIT = 100.0
"""Of equal pictures it would be infinite."""

METHOD = (
    "Every test photograph enters with five squares of the size that the agent sees. Histogram intersection as in the "
    "paper: 32 bins of mean luminance, twice its deviation and mean HLS saturation. PSNR, SSIM and CIEDE2000 compare "
    "each square with the same square of the true grade. A value is the mean over runs (seeds). Intervals are the "
    "value ± 1.96 standard deviations over 1000 bootstrap resamples of test photographs, target photographs and runs; "
    "the resamples' own mean is not used, since an intersection of resampled histograms is biased downwards."
)


class Estimate(NamedTuple):
    """A measure with its 95 % interval."""

    value: float
    half_width: float
    runs: list[float]
    """Its value in each run."""

    def row(self) -> dict[str, Any]:
        """As it stands in a JSON file."""
        interval = [self.value - self.half_width, self.value + self.half_width]
        return {"value": self.value, "interval": interval, "runs": self.runs}


class TestPhotos:
    """Photographs to start from, and finished ones to come near to.

    :param inputs: folder, in the order of names; :param targets: folder.
    :param paired: the targets are the same photographs as the inputs, under the same names.
    :param size: of the squares, in pixels.
    """

    __test__ = False  # no test, though pytest would take it for one

    def __init__(self, inputs: Path, targets: Path, paired: bool = False, size: int = 64) -> None:
        self.paths, target_paths = (list_photos([folder]) for folder in (inputs, targets))
        if paired:
            by_name = {path.stem: path for path in target_paths}
            lacking = [path for path in self.paths if path.stem not in by_name]
            if lacking:
                raise ValueError(f"{lacking[0]}: has no target of this name in {targets}")
            target_paths = [by_name[path.stem] for path in self.paths]
        if not self.paths or not target_paths:
            raise ValueError(f"{targets if self.paths else inputs}: no photograph in this folder")
        self.size = size
        self.targets = np.concatenate([five_crops(read_display(path).pixels, size) for path in target_paths])
        self.paired = paired
        self._target_statistics = photo_statistics(self.targets)
        self.crops = cache(self._crops)

    def _crops(self, reading: Reading, space: Literal["srgb", "prophoto"] = "srgb") -> NDArray[np.float32]:
        """``(5 P, S, S, 3)`` squares of the inputs, read so."""
        pictures = (read_input(path, reading, space=space).pixels for path in self.paths)
        return np.concatenate([five_crops(pixels, self.size) for pixels in pictures])

    def measure(self, runs: Sequence[NDArray[np.float32]]) -> dict[str, Estimate]:
        """What several runs made of :meth:`crops`: ``(5 P, S, S, 3)`` display values each."""
        statistics = [photo_statistics(run) for run in runs]
        values = np.array(
            [(*h, h.mean) for h in (histogram_intersection(s, self._target_statistics) for s in statistics)]
        )
        shares = np.stack([_counts(s) for s in statistics])
        paired = np.zeros((len(runs), len(self.paths), 0))
        if self.paired:
            paired = np.stack([self._compare(run) for run in runs])
        spread = _spread(shares, _counts(self._target_statistics), paired, paired_targets=self.paired)
        values = np.concatenate([values, paired.mean(axis=1)], axis=1)
        names = INTERSECTIONS + (PAIRED if self.paired else ())
        return {
            name: Estimate(float(column.mean()), 1.96 * float(deviation), column.tolist())
            for name, column, deviation in zip(names, values.T, spread, strict=True)
        }

    def _compare(self, run: NDArray[np.float32]) -> NDArray[np.float64]:
        """``(P, 3)``: PSNR, SSIM and CIEDE2000, the mean of each photograph's squares."""
        rows = [
            (min(psnr(result, target), PSNR_LIMIT), ssim(result, target), ciede2000(result, target))
            for result, target in zip(run, self.targets, strict=True)
        ]
        means: NDArray[np.float64] = np.array(rows).reshape(-1, CROPS, len(PAIRED)).mean(axis=1)
        return means


def _counts(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(P, 3, 32)``: in which bins each photograph's squares lie, as shares of one."""
    bins = np.clip((statistics * BINS).astype(int), 0, BINS - 1).reshape(-1, CROPS, 3)
    shares: NDArray[np.float64] = np.eye(BINS)[bins].mean(axis=1)
    return shares


def _spread(
    shares: NDArray[np.float64], targets: NDArray[np.float64], paired: NDArray[np.float64], paired_targets: bool
) -> NDArray[np.float64]:
    """Standard deviation of each measure over bootstrap resamples.

    :param shares: ``(R, P, 3, 32)``; :param targets: ``(T, 3, 32)``; :param paired: ``(R, P, k)``.
    :param paired_targets: targets go with their photographs.
    :return: ``(4 + k,)``.
    """
    rng = np.random.default_rng(0)
    runs, photos = shares.shape[:2]

    def weights(count: int) -> NDArray[np.float64]:
        return np.asarray(rng.multinomial(count, np.full(count, 1.0 / count)) / count)

    rows = []
    for _ in range(RESAMPLES):
        of_runs, of_photos = weights(runs), weights(photos)
        of_targets = of_photos if paired_targets else weights(len(targets))
        resampled = np.tensordot(of_photos, shares, (0, 1))
        overlap = np.minimum(resampled, np.tensordot(of_targets, targets, 1)).sum(axis=2)
        three = of_runs @ overlap
        rows.append([*three, three.mean(), *(of_runs @ np.tensordot(of_photos, paired, (0, 1)))])
    return np.asarray(np.std(rows, axis=0))
