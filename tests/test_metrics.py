from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exposure_gym.metrics import (
    HistogramIntersection,
    ciede2000,
    five_crops,
    histogram_intersection,
    photo_statistics,
    psnr,
    ssim,
)

GOLDEN = np.load(Path(__file__).parent / "data" / "golden_misc.npz")


def picture(seed: int, height: int = 16, width: int = 16) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random((height, width, 3))


def test_statistics_match_the_published_code() -> None:
    np.testing.assert_allclose(photo_statistics(GOLDEN["crops"]), GOLDEN["hist_stats"], atol=1e-6)


@pytest.mark.parametrize("name", ["A", "B"])
def test_statistics_of_files_match_the_published_code(name: str) -> None:
    images = GOLDEN[f"hist/set{name}_u8"] / np.float32(255)
    expected = GOLDEN[f"hist/stats{name}"].T[: len(images)]
    np.testing.assert_allclose(photo_statistics(images), expected, atol=1e-6)


def test_intersection_matches_the_published_code() -> None:
    found = histogram_intersection(GOLDEN["hist/statsA"].T, GOLDEN["hist/statsB"].T)
    np.testing.assert_allclose(found, GOLDEN["hist/intersections"], atol=1e-12)
    assert found.mean == pytest.approx(float(GOLDEN["hist/average"]), abs=1e-12)


def test_known_statistics() -> None:
    white, half = np.ones((4, 4, 3)), np.zeros((4, 4, 3))
    half[:2] = 1.0
    red = np.zeros((4, 4, 3))
    red[..., 0] = 1.0
    expected = np.array([[1, 0, 0], [0.5, 1, 0], [0.27, 0, 1]])
    np.testing.assert_allclose(photo_statistics([white, half, red]), expected, atol=1e-7)


def test_values_outside_the_display_are_clipped_first() -> None:
    over = 3 * picture(0) - 1
    np.testing.assert_array_equal(photo_statistics([over]), photo_statistics([over.clip(0, 1)]))


def test_pictures_of_any_size_and_statistics_are_taken() -> None:
    mixed = [picture(0, 8, 20), picture(1, 30, 9)]
    statistics = photo_statistics(mixed)
    assert statistics.shape == (2, 3)
    assert statistics.dtype == np.float64
    targets = [picture(2), picture(3)]
    assert histogram_intersection(mixed, targets) == histogram_intersection(statistics, photo_statistics(targets))


def test_white_pictures_stay_in_the_last_bin() -> None:
    assert histogram_intersection([np.ones((7, 7, 3))] * 3, [np.ones((5, 5, 3))]).mean == 1.0


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_intersection_is_symmetric_bounded_and_one_with_itself(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((n, 3)), rng.random((m, 3))
    found = histogram_intersection(a, b)
    assert all(0 <= value <= 1 + 1e-12 for value in found)
    np.testing.assert_allclose(found, histogram_intersection(b, a))
    np.testing.assert_allclose(histogram_intersection(a, np.repeat(a, 3, axis=0)), 1.0)


def test_mean_of_an_intersection() -> None:
    assert HistogramIntersection(0.1, 0.2, 0.6).mean == pytest.approx(0.3)


@pytest.mark.parametrize("turned", [False, True])
def test_five_crops_are_evenly_spaced_from_end_to_end(turned: bool) -> None:
    ramp = np.zeros((8, 48, 3), np.float32)
    ramp[..., 0] = np.arange(48)
    crops = five_crops(ramp.transpose(1, 0, 2) if turned else ramp, size=8)
    assert crops.shape == (5, 8, 8, 3)
    np.testing.assert_array_equal(crops[:, 0, 0, 0], [0, 10, 20, 30, 40])
    assert crops.max() == 47


def test_five_crops_average_down() -> None:
    checker = np.indices((128, 128)).sum(axis=0)[..., None] % 2 * np.ones(3)
    np.testing.assert_allclose(five_crops(checker), 0.5)


def test_psnr_of_a_known_error() -> None:
    grey = np.full((12, 12, 3), 0.5)
    assert psnr(grey, grey + 0.1) == pytest.approx(20.0)
    assert psnr(grey, grey) == np.inf


def test_ssim_falls_with_noise() -> None:
    clean = np.linspace(0, 1, 32 * 32).reshape(32, 32, 1) * np.ones(3)
    noise = np.random.default_rng(0).normal(0, 1, clean.shape)
    assert ssim(clean, clean) == pytest.approx(1.0)
    assert 0.95 > ssim(clean + 0.02 * noise, clean) > ssim(clean + 0.2 * noise, clean)


def test_ciede2000_of_black_and_white_is_the_range_of_lightness() -> None:
    black = np.zeros((3, 3, 3))
    assert ciede2000(black, black + 1) == pytest.approx(100, abs=0.01)
    assert ciede2000(black, black) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: photo_statistics([np.zeros((4, 4, 3), np.uint8)]), "float display values"),
        (lambda: photo_statistics([np.zeros((4, 4))]), r"\(H, W, 3\)"),
        (lambda: histogram_intersection([], [picture(0)]), "at least one picture"),
        (lambda: histogram_intersection(np.zeros((3, 61)), np.zeros((3, 61))), r"\(N, 3\)"),
        (lambda: psnr(picture(0, 4, 5), picture(0, 5, 4)), "one size"),
        (lambda: ssim(picture(0, 8, 20), picture(0, 8, 20)), "at least 11 x 11"),
    ],
)
def test_bad_input_gets_one_clear_line(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
