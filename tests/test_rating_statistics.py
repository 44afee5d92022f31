"""The statistics of ratings against cases whose answers are known: published, closed-form, or simulated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from exposure_gym.rating_statistics import bradley_terry, bradley_terry_scale, mean_ratings, win_rates, wins_from_stars

# Agresti, Categorical Data Analysis (1990), table 10.10: games of the American League's Eastern Division in 1987.
# Rows won against columns: Milwaukee, Detroit, Toronto, New York, Boston, Cleveland, Baltimore.
BASEBALL = np.array(
    [
        [0, 7, 9, 7, 7, 9, 11],
        [6, 0, 7, 5, 11, 9, 9],
        [4, 6, 0, 7, 7, 8, 12],
        [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12],
        [4, 4, 5, 6, 6, 0, 6],
        [2, 4, 1, 3, 1, 7, 0],
    ],
    dtype=np.float64,
)
BASEBALL_STRENGTHS = [1.58136, 1.43641, 1.29445, 1.24760, 1.10766, 0.68385, 0.0]
"""As BradleyTerry2 (R) fits them with Baltimore at 0."""


def spread_out(wins: NDArray[np.float64]) -> NDArray[np.float64]:
    """One table of wins as that of one rater and one photograph."""
    return wins[None, None]


# -- Bradley-Terry -----------------------------------------------------------------------------------------------------


def test_published_strengths() -> None:
    np.testing.assert_allclose(bradley_terry(BASEBALL, anchor=6), BASEBALL_STRENGTHS, atol=5e-5)


def test_two_sets_have_a_closed_form() -> None:
    theta = bradley_terry(np.array([[0.0, 30.0], [10.0, 0.0]]), anchor=1)
    np.testing.assert_allclose(theta, [np.log(3.0), 0.0], atol=1e-8)


def test_tables_are_fitted_side_by_side() -> None:
    tables = np.stack([BASEBALL, BASEBALL.T, BASEBALL + 1.0 - np.eye(7)])
    together = bradley_terry(tables[:, None], anchor=2)
    assert together.shape == (3, 1, 7)
    for table, theta in zip(tables, together[:, 0], strict=True):
        np.testing.assert_allclose(theta, bradley_terry(table, anchor=2), atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_at_the_maximum_expected_wins_are_those_that_were_seen(seed: int, sets: int) -> None:
    """The likelihood equations."""
    rng = np.random.default_rng(seed)
    wins = rng.integers(1, 20, (sets, sets)) * (1.0 - np.eye(sets))
    theta = bradley_terry(wins)
    preferred = 1.0 / (1.0 + np.exp(theta[None] - theta[:, None]))
    np.testing.assert_allclose(((wins + wins.T) * preferred).sum(axis=1), wins.sum(axis=1), rtol=1e-6)
    assert theta[0] == 0.0


def test_a_set_that_always_wins_is_infinitely_far_above_and_the_others_are_fitted_without_it() -> None:
    wins = np.array([[0.0, 3.0, 0.0, 5.0], [1.0, 0.0, 0.0, 5.0], [4.0, 4.0, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(bradley_terry(wins), [0.0, -np.log(3.0), np.inf, -np.inf], atol=1e-8)
    np.testing.assert_array_equal(bradley_terry(wins, anchor=2), [-np.inf, -np.inf, 0.0, -np.inf])


def test_sets_that_were_never_compared_have_no_difference() -> None:
    wins = np.array([[0.0, 3.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    theta = bradley_terry(wins)
    np.testing.assert_allclose(theta[:2], [0.0, -np.log(3.0)], atol=1e-8)
    assert np.isnan(theta[2])


def test_the_scale_finds_the_strengths_that_made_the_wins() -> None:
    truth = np.array([0.0, 0.8, -0.5, 1.5])
    rng = np.random.default_rng(1)
    preferred = 1.0 / (1.0 + np.exp(truth[None] - truth[:, None]))
    wins = np.zeros((12, 40, 4, 4))
    for i in range(4):
        for j in range(i):
            wins[:, :, i, j] = rng.random((12, 40)) < preferred[i, j]
            wins[:, :, j, i] = 1.0 - wins[:, :, i, j]
    scale = bradley_terry_scale(wins, resamples=400)
    assert ((scale.low <= truth) & (truth <= scale.high)).all()
    assert (scale.high - scale.low)[1:].max() < 1.2
    assert (scale.low[0], scale.value[0], scale.high[0]) == (0.0, 0.0, 0.0)
    np.testing.assert_allclose(scale.value, bradley_terry(wins.sum(axis=(0, 1))), atol=1e-12)


def test_the_interval_of_a_set_that_always_wins_has_no_upper_end() -> None:
    wins = np.tile([[0.0, 0.0], [1.0, 0.0]], (3, 8, 1, 1))
    scale = bradley_terry_scale(wins, resamples=50)
    assert scale.value.tolist() == scale.low.tolist() == scale.high.tolist() == [0.0, np.inf]
    wins[0, 0] = wins[0, 0].T  # lost once: finite, though not in every resample
    scale = bradley_terry_scale(wins, resamples=500)
    assert scale.value[1] == pytest.approx(np.log(23.0))
    assert 0.0 < scale.low[1] < scale.value[1]
    assert scale.high[1] == np.inf


# -- win rates ---------------------------------------------------------------------------------------------------------


def test_stars_become_comparisons() -> None:
    wins = wins_from_stars(np.array([[[5.0, 3.0, 3.0, np.nan]]]))
    assert wins.shape == (1, 1, 4, 4)
    assert wins[0, 0].tolist() == [[0, 1, 1, 0], [0, 0, 0.5, 0], [0, 0.5, 0, 0], [0, 0, 0, 0]]


def test_win_rates_are_shares_of_the_comparisons_made() -> None:
    rates = win_rates(spread_out(np.array([[0.0, 3.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])), resamples=10)
    np.testing.assert_array_equal(rates.value, [[np.nan, 0.75, np.nan], [0.25, np.nan, np.nan], [np.nan] * 3])


# -- mean ratings ------------------------------------------------------------------------------------------------------


def test_means_are_of_what_was_judged() -> None:
    stars = np.array([[[1.0, 5.0, np.nan], [2.0, np.nan, np.nan]], [[3.0, 3.0, np.nan], [np.nan, 4.0, np.nan]]])
    means = mean_ratings(stars, resamples=200)
    np.testing.assert_allclose(means.value, [2.0, 4.0, np.nan])
    assert (means.low[:2] <= means.value[:2]).all()
    assert (means.value[:2] <= means.high[:2]).all()
    assert np.isnan([means.low[2], means.high[2]]).all()


def test_intervals_have_the_width_of_raters_and_photographs_together() -> None:
    """Of stars that are a rater's level plus a photograph's, the mean's variance is the sum of the two means'."""
    rng = np.random.default_rng(0)
    raters, photos = rng.normal(0.0, 1.0, (60, 1)), rng.normal(0.0, 0.5, (1, 80))
    means = mean_ratings((3.0 + raters + photos)[:, :, None], resamples=4000)
    expected = 2 * 1.96 * np.sqrt(raters.var() / 60 + photos.var() / 80)
    assert (means.high - means.low)[0] == pytest.approx(expected, rel=0.06)


def test_one_rater_leaves_only_the_photographs_to_resample() -> None:
    stars = np.random.default_rng(0).integers(1, 6, (1, 100, 1)).astype(np.float64)
    means = mean_ratings(stars, resamples=4000)
    assert (means.high - means.low)[0] == pytest.approx(2 * 1.96 * stars.std() / 10.0, rel=0.06)


def test_one_seed_one_interval() -> None:
    stars = np.random.default_rng(0).integers(1, 6, (4, 9, 3)).astype(np.float64)
    first, again, other = (mean_ratings(stars, resamples=101, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.low, again.low)
    assert (first.low != other.low).any()
