"""What people's judgements of pictures say: mean ratings, win rates and a Bradley-Terry scale, each with its interval.

All functions are pure. Judgements are of ``K`` sets of results of the same ``P`` photographs by ``R`` raters. An
interval is the middle 95 % of bootstrap resamples in which both raters and photographs are drawn with replacement,
independently of each other (Owen 2007, "The pigeonhole bootstrap"): it says what other raters and other photographs
might have given. With a single rater, or a single photograph, it can speak only for the other of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
_TAILS = (0.025, 0.975)
_PART = 50
"""Resamples that are computed at a time, to bound the memory."""
_TOLERANCE = 1e-9
_ITERATIONS = 10_000


@dataclass(frozen=True, eq=False)
class Estimates:
    """Values with their 95 % intervals; all arrays have one shape. NaN where nothing was judged."""

    value: Floats
    low: Floats
    high: Floats


# -- stars -----------------------------------------------------------------------------------------------------------


def mean_ratings(stars: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimates:
    """The mean number of stars of each set.

    :param stars: ``(R, P, K)``, NaN where a rater did not judge.
    :return: ``(K,)``.
    """
    given = np.isfinite(stars)
    totals, counts = np.where(given, stars, 0.0), given.astype(np.float64)

    def mean(raters: Floats, photos: Floats) -> Floats:
        return _ratio(_weighted(totals, raters, photos), _weighted(counts, raters, photos))

    return _estimates(mean, len(stars), stars.shape[1], resamples, seed)


def wins_from_stars(stars: Floats) -> Floats:
    """Every two results of a photograph that one rater gave stars, as a comparison: the one with more won.

    :param stars: ``(R, P, K)``, NaN where a rater did not judge.
    :return: ``(R, P, K, K)``: 1 where the set of the row won against that of the column, 1/2 each for equal stars.
    """
    mine, other = stars[..., :, None], stars[..., None, :]
    wins = (mine > other) + 0.5 * (mine == other)  # a comparison with NaN is false
    wins[..., np.eye(stars.shape[-1], dtype=bool)] = 0.0
    return np.asarray(wins, np.float64)


# -- comparisons -----------------------------------------------------------------------------------------------------


def win_rates(wins: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimates:
    """The share of comparisons that the set of the row won against that of the column.

    :param wins: ``(R, P, K, K)``, as :func:`wins_from_stars` gives.
    :return: ``(K, K)``; NaN on the diagonal.
    """

    def rates(raters: Floats, photos: Floats) -> Floats:
        total = _weighted(wins, raters, photos)
        return _ratio(total, total + total.swapaxes(-1, -2))

    return _estimates(rates, len(wins), wins.shape[1], resamples, seed)


def bradley_terry_scale(wins: Floats, anchor: int = 0, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimates:
    """The Bradley-Terry scale of the sets, see :func:`bradley_terry`.

    A bound is infinite where that share of the resamples has no finite value.

    :param wins: ``(R, P, K, K)``, as :func:`wins_from_stars` gives; :param anchor: the set that stands at 0.
    :return: ``(K,)``.
    """

    def scale(raters: Floats, photos: Floats) -> Floats:
        return bradley_terry(_weighted(wins, raters, photos), anchor)

    return _estimates(scale, len(wins), wins.shape[1], resamples, seed)


def bradley_terry(wins: Floats, anchor: int = 0) -> Floats:
    """Strengths θ of the Bradley-Terry model, in which i is preferred to j with probability 1 / (1 + exp(θj − θi)).

    They maximise the likelihood, by the algorithm of Zermelo (1929) as an MM algorithm (Hunter 2004, "MM algorithms for
    generalized Bradley-Terry models", equation 3). The maximum is finite where each set can be reached from each other
    by a chain of wins (Ford 1957). Where it is not, the difference of two sets grows without limit, and that is what is
    returned: a set that always won is at +inf, one that always lost at −inf, and the others are fitted among
    themselves. If it is the anchor that always won, all others are at −inf: choose another one.

    :param wins: ``(..., K, K)``: how often the set of the row won against that of the column, at least 0; many
        tables are fitted side by side.
    :param anchor: the set whose strength is 0.
    :return: ``(..., K)``; NaN where no chain of comparisons leads from the anchor to a set in one direction.
    """
    over = _chains(wins > 0.0)
    above, below = over[..., :, anchor], over[..., anchor, :]
    linked = above & below
    inside = wins * (linked[..., :, None] & linked[..., None, :])
    theta = np.log(_strengths(inside.reshape(-1, *wins.shape[-2:]), anchor)).reshape(above.shape)
    return np.where(linked, theta, np.where(above, np.inf, np.where(below, -np.inf, np.nan)))


def _chains(beats: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a chain of wins leads from the row to the column (Warshall's algorithm); also from each set to itself."""
    over: NDArray[np.bool_] = beats | np.eye(beats.shape[-1], dtype=bool)
    for middle in range(beats.shape[-1]):
        over |= over[..., :, middle, None] & over[..., None, middle, :]
    return over


def _strengths(wins: Floats, anchor: int) -> Floats:
    """``exp(θ)`` of tables ``(B, K, K)`` in which each set is linked with the anchor, or has no comparison at all."""
    games, won = wins + wins.swapaxes(1, 2), wins.sum(axis=2)
    strength: Floats = np.ones_like(won)
    busy = np.arange(len(wins))
    for _ in range(_ITERATIONS):
        now = strength[busy]
        expected = (games[busy] / (now[:, :, None] + now[:, None, :])).sum(axis=2)
        new = np.divide(won[busy], expected, out=np.ones_like(now), where=expected > 0.0)
        new /= new[:, anchor, None]
        strength[busy] = new
        busy = busy[np.abs(np.log(new / now)).max(axis=1) > _TOLERANCE]
        if not len(busy):
            break
    return strength


# -- resampling ------------------------------------------------------------------------------------------------------


def _resamples(raters: int, photos: int, count: int, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """How often each rater ``(B, R)`` and each photograph ``(B, P)`` was drawn, some resamples at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, _PART):
        part = min(_PART, count - start)
        drawn = (rng.multinomial(size, np.full(size, 1.0 / size), part) for size in (raters, photos))
        of_raters, of_photos = (np.asarray(each, np.float64) for each in drawn)
        yield of_raters, of_photos


def _weighted(values: Floats, raters: Floats, photos: Floats) -> Floats:
    """Sums of ``(R, P, ...)`` over raters and photographs with the weights of each resample: ``(B, ...)``."""
    by_photo: Floats = np.tensordot(raters, values, 1)
    return np.asarray(np.einsum("bp,bp...->b...", photos, by_photo))


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0.0))


def _estimates(
    statistic: Callable[[Floats, Floats], Floats], raters: int, photos: int, resamples: int, seed: int
) -> Estimates:
    """A statistic of all judgements, and the middle of what it is on resamples."""
    value = statistic(np.ones((1, raters)), np.ones((1, photos)))[0]
    drawn = np.concatenate([statistic(*weights) for weights in _resamples(raters, photos, resamples, seed)])
    low, high = _middle(drawn)
    return Estimates(value, low, high)


def _middle(drawn: Floats) -> tuple[Floats, Floats]:
    """The two ends of the middle 95 % of ``(B, ...)``: values that were drawn, since infinite ones have no mean.

    NaN, of a resample that holds no judgement of this kind, is left out.
    """
    ordered = np.sort(drawn, axis=0)  # NaN comes last
    last = np.maximum(np.isfinite(ordered).sum(axis=0) + np.isinf(ordered).sum(axis=0) - 1, 0)
    places = np.floor(_TAILS[0] * last), np.ceil(_TAILS[1] * last)
    low, high = (np.take_along_axis(ordered, place.astype(int)[None], axis=0)[0] for place in places)
    return low, high
