"""From single runs to what may be said of algorithms, as Agarwal et al. 2021 recommend for few runs.

Scores are arrays ``(runs, tasks)``. Intervals are 95 % percentiles over stratified bootstrap resamples: of every task
the runs are drawn again, the tasks stay. One seed gives one result, and no global random state is touched. (Their
library, rliable, draws from NumPy's global state whatever seed it is given, and its last version does not import beside
pandas 3; the tests compare with its formulas.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

RESAMPLES = 2000


class Estimate(NamedTuple):
    """A number, or an array of them, and where it lies with 95 %."""

    value: Scores
    low: Scores
    high: Scores


def interquartile_mean(scores: Scores) -> Scores:
    """Mean of the middle half of all runs and tasks together: ``(..., runs, tasks)`` to ``(...,)``.

    A quarter of the runs is left out on each side, rounded down.
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(axis=-1))


def profile(scores: Scores, thresholds: Scores) -> Scores:
    """Share of runs that score above each threshold (run-score distribution): to ``(..., len(thresholds))``."""
    flat = scores.reshape(*scores.shape[:-2], -1)
    return np.asarray((flat[..., None] > thresholds).mean(axis=-2))


def improvement(ours: Scores, theirs: Scores) -> Scores:
    """Probability that a run of ours beats one of theirs on the same task, mean over tasks; ties count half.

    :param ours: ``(..., runs, tasks)``; ``theirs`` may have another number of runs.
    """
    difference = ours[..., :, None, :] - theirs[..., None, :, :]
    return np.asarray(((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-3, -2, -1)))


def estimate(scores: Scores, statistic: Callable[[Scores], Scores], seed: int = 0) -> Estimate:
    """A statistic of ``(runs, tasks)`` scores with its interval.

    :param statistic: takes ``(..., runs, tasks)``, as those of this module do.
    """
    resampled = statistic(resample(scores, np.random.default_rng(seed)))
    return _estimate(statistic(scores), resampled)


def estimate_improvement(ours: Scores, theirs: Scores, seed: int = 0) -> Estimate:
    """:func:`improvement` with its interval; both are drawn again, each for itself."""
    rng = np.random.default_rng(seed)
    return _estimate(improvement(ours, theirs), improvement(resample(ours, rng), resample(theirs, rng)))


def resample(scores: Scores, rng: np.random.Generator) -> Scores:
    """``(RESAMPLES, runs, tasks)``: for every task as many runs, drawn with replacement."""
    rows = rng.integers(len(scores), size=(RESAMPLES, *scores.shape))
    return np.asarray(np.take_along_axis(scores[None], rows, axis=1))


def _estimate(value: Scores, resampled: Scores) -> Estimate:
    low, high = np.percentile(resampled, (2.5, 97.5), axis=0)
    return Estimate(np.asarray(value), low, high)


def curve_at(x: Scores, y: Scores, grid: Scores) -> Scores:
    """A curve read off at ``grid``: what was reached last (a policy stays as it is until it is updated).

    :param x: steps or seconds, ascending; :param y: what was measured there.
    """
    places = np.searchsorted(x, grid + 1e-9, side="right") - 1
    return np.asarray(y[np.clip(places, 0, None)])


def first_reach(x: Scores, y: Scores, level: float) -> float:
    """Where a curve first reaches a level; infinite where it does not."""
    reached = np.flatnonzero(y >= level)
    return float(x[reached[0]]) if len(reached) else float("inf")
