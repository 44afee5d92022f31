"""Crops cut on a device are those that are cut in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from exposure_gym.agents.exposure.device_crops import DeviceCrops, cut
from exposure_gym.data import PhotoSet


def photo_set(dtype: Any, count: int = 3, size: int = 9) -> PhotoSet:
    crops: NDArray[Any] = np.random.default_rng(1).random((count, 3, size, size)).astype(dtype)
    return PhotoSet(crops, "linear", [str(i) for i in range(count)])


@given(st.sampled_from([np.float16, np.float32]), st.integers(1, 9), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_cutting_by_index_is_cutting_by_hand(dtype: Any, size: int, count: int, seed: int) -> None:
    photos = photo_set(dtype)
    draw = photos.draw(count, np.random.default_rng(seed), size)
    result = cut(torch.from_numpy(photos.crops), draw)
    assert result.dtype == torch.float32
    assert torch.equal(result, torch.from_numpy(photos.cut(draw)))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_seed_draws_alike_on_every_device(device: str) -> None:
    photos = photo_set(np.float32)
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    result = DeviceCrops(photos, torch.device(device)).sample(5, rng, 4)
    expected = photos.sample(5, other, 4)
    assert result.device.type == device
    assert result.shape == expected.shape
    assert rng.bit_generator.state == other.bit_generator.state
    if device == "cpu":
        np.testing.assert_array_equal(result.numpy(), expected)
