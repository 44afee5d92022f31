"""Aggregates of few runs: golden numbers, rliable's formulas, and intervals that cover what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from compare import aggregate
from compare.aggregate import (
    curve_at,
    estimate,
    estimate_improvement,
    first_reach,
    improvement,
    interquartile_mean,
    profile,
    resample,
)


def test_golden_numbers() -> None:
    scores = np.array([[0.0], [1.0], [2.0], [3.0], [100.0]])
    assert interquartile_mean(scores) == 2.0  # one of five is left out on each side
    assert interquartile_mean(np.arange(8.0).reshape(4, 2)) == 3.5
    np.testing.assert_allclose(profile(scores, np.array([-1.0, 1.0, 99.0, 100.0])), [1.0, 0.6, 0.2, 0.0])
    assert improvement(np.array([[1.0], [3.0]]), np.array([[2.0], [3.0]])) == (0.0 + 0.0 + 1.0 + 0.5) / 4
    # Two tasks: certain on the first, impossible on the second.
    assert improvement(np.array([[5.0, 0.0]]), np.array([[1.0, 2.0], [2.0, 1.0]])) == 0.5


def test_formulas_are_rliables(rng: np.random.Generator) -> None:
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed")
    for runs, tasks in ((5, 1), (7, 3), (10, 2)):
        ours, theirs = rng.normal(size=(runs, tasks)), rng.normal(size=(4, tasks)).round(1)
        assert interquartile_mean(ours) == pytest.approx(metrics.aggregate_iqm(ours))
        assert improvement(ours, theirs) == pytest.approx(metrics.probability_of_improvement(ours, theirs))


def test_resamples_draw_within_a_task(rng: np.random.Generator) -> None:
    scores = np.stack([np.arange(5.0), np.arange(5.0) + 100], axis=1)
    drawn = resample(scores, rng)
    assert drawn.shape == (aggregate.RESAMPLES, 5, 2)
    assert set(np.unique(drawn[..., 0])) == set(scores[:, 0])
    assert set(np.unique(drawn[..., 1])) == set(scores[:, 1])
    np.testing.assert_allclose(drawn.mean(axis=(0, 1)), scores.mean(axis=0), atol=0.1)
    assert any(drawn[0, :, 0] + 100 != drawn[0, :, 1])  # tasks are drawn each for itself


def test_one_seed_gives_one_interval_and_leaves_the_global_state_alone(rng: np.random.Generator) -> None:
    scores = rng.normal(size=(5, 2))
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    first, second, other = (estimate(scores, interquartile_mean, seed) for seed in (0, 0, 1))
    assert first == second
    assert first != other
    assert first.low < first.value < first.high
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before)  # noqa: NPY002


def test_intervals_cover(rng: np.random.Generator) -> None:
    """Of 100 experiments with 20 runs about 95 have the true mean in their interval."""
    covered = 0
    for _ in range(100):
        middle = estimate(rng.normal(size=(20, 1)), interquartile_mean)
        covered += int(middle.low <= 0.0 <= middle.high)
    assert 85 <= covered <= 100


def test_a_single_run_has_no_interval() -> None:
    value = estimate(np.array([[0.3]]), interquartile_mean)
    assert value.low == value.value == value.high == 0.3
    sure = estimate_improvement(np.array([[1.0], [2.0]]), np.array([[0.0]]))
    assert sure.low == sure.value == sure.high == 1.0


def test_curves() -> None:
    x, y = np.array([0.0, 10.0, 20.0]), np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(curve_at(x, y, np.array([0.0, 9.0, 10.0, 15.0, 50.0])), [1, 1, 2, 2, 3])
    assert first_reach(x, y, 2.0) == 10.0
    assert first_reach(x, y, 3.5) == float("inf")
