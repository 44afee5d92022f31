"""Colour arithmetic: curves invert, matrices are the standard ones, no torch is needed."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab

from exposure_gym import color


def test_luminance_is_the_papers() -> None:
    image = np.zeros((4, 3, 1, 1))
    image[[0, 1, 2], [0, 1, 2]] = 1.0
    image[3] = 1.0
    np.testing.assert_allclose(color.luminance(image).ravel(), [0.27, 0.67, 0.06, 1.0], rtol=1e-15)
    assert color.luminance(np.ones((2, 3, 5, 7), np.float32)).shape == (2, 1, 5, 7)


@given(st.floats(-0.5, 16.0))
def test_srgb_curve_inverts(value: float) -> None:
    linear = np.array(value)
    assert color.srgb_decode(color.srgb_encode(linear)) == pytest.approx(value, rel=1e-6, abs=1e-6)
    assert color.srgb_encode(color.srgb_decode(linear)) == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_srgb_curve_has_the_standards_values() -> None:
    codes = np.array([0.0, 1.0, 10.0, 128.0, 255.0]) / 255
    linear = np.array([0.0, 0.000303527, 0.003035270, 0.215860500, 1.0])
    np.testing.assert_allclose(color.srgb_decode(codes), linear, atol=1e-9)
    np.testing.assert_allclose(color.srgb_encode(linear), codes, atol=1e-8)


@pytest.mark.parametrize("curve", [color.srgb_encode, color.srgb_decode])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_srgb_curve_is_the_same_for_arrays_and_tensors(curve: object, dtype: type[np.floating]) -> None:
    assert callable(curve)
    values = np.linspace(-0.1, 4.0, 1001).astype(dtype)
    array, tensor = curve(values), curve(torch.from_numpy(values))
    assert array.dtype == dtype == tensor.numpy().dtype
    np.testing.assert_allclose(array, tensor.numpy(), rtol=2e-6 if dtype is np.float32 else 1e-14)
    assert (np.diff(array) > 0).all()


def test_srgb_curve_has_finite_gradients_everywhere() -> None:
    values = torch.tensor([-1.0, 0.0, 1e-40, 0.0031308, 0.04045, 0.5, 1.0, 1e4], requires_grad=True)
    for curve in (color.srgb_encode, color.srgb_decode):
        (gradient,) = torch.autograd.grad(curve(values).sum(), values)
        assert torch.isfinite(gradient).all()
        assert (gradient > 0).all()


def test_srgb_primaries_give_the_standards_matrix() -> None:
    xyz_from_srgb = [
        [506752 / 1228815, 87881 / 245763, 12673 / 70218],
        [87098 / 409605, 175762 / 245763, 12673 / 175545],
        [7918 / 409605, 87881 / 737289, 1001167 / 1053270],
    ]  # CSS Color Module Level 4, in exact fractions
    np.testing.assert_allclose(color._SRGB, xyz_from_srgb, atol=1e-12)


def test_prophoto_matrices() -> None:
    xyz_from_prophoto = [
        [0.7977666449, 0.1351812974, 0.0313477341],
        [0.2880748288, 0.7118352342, 0.0000899369],
        [0.0, 0.0, 0.8251046025],
    ]
    d65_from_d50 = [
        [0.9554734215, -0.0230984549, 0.0632592432],
        [-0.0283697093, 1.0099953981, 0.0210414412],
        [0.0123140149, -0.0205076493, 1.3303659262],
    ]  # both CSS Color Module Level 4, whose primaries have two more digits than the standard's
    expected = np.dot(d65_from_d50, xyz_from_prophoto)
    np.testing.assert_allclose(color._SRGB @ color.PROPHOTO_TO_SRGB, expected, atol=1e-5)
    np.testing.assert_allclose(color.PROPHOTO_TO_SRGB @ color.SRGB_TO_PROPHOTO, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(color.PROPHOTO_TO_SRGB @ np.ones(3), np.ones(3), atol=1e-12)  # white stays white


def test_rec2020_is_itus() -> None:
    table = [
        [0.6274, 0.3293, 0.0433],
        [0.0691, 0.9195, 0.0114],
        [0.0164, 0.0880, 0.8956],
    ]  # Recommendation ITU-R BT.2087-0, from linear BT.709
    np.testing.assert_allclose(color.FROM_SRGB["rec2020"], table, atol=5e-5)


@pytest.mark.parametrize("space", get_args(color.Space))
def test_every_working_space_has_a_way_there_and_back(space: color.Space) -> None:
    assert color.SPACE_NAMES[space]
    np.testing.assert_allclose(color.FROM_SRGB[space] @ color.TO_SRGB[space], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(color.TO_SRGB[space] @ np.ones(3), np.ones(3), atol=1e-12)  # white stays white


def test_colour_and_filters_need_no_torch() -> None:
    code = "import sys, exposure_gym.color, exposure_gym.filters, exposure_gym.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lab_is_cies() -> None:
    display = np.random.default_rng(0).random((2, 3, 5, 7))
    display[0, :, 0, 0], display[0, :, 0, 1], display[0, :, 0, 2] = 0.0, 1.0, 0.02
    lab = color.srgb_to_lab(display)
    expected = rgb2lab(display.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # with rounded matrices
    np.testing.assert_allclose(lab, expected, atol=0.03)
    np.testing.assert_allclose(lab[0, :, 0, 1], [100.0, 0.0, 0.0], atol=1e-9)
    grey = color.srgb_to_lab(np.full((1, 3, 1, 1), 0.5))[0, :, 0, 0]
    np.testing.assert_allclose(grey, [53.389, 0.0, 0.0], atol=1e-3)
    tensor = torch.from_numpy(display).requires_grad_()
    result = color.srgb_to_lab(tensor)
    np.testing.assert_allclose(result.detach(), lab, atol=1e-9)
    (gradient,) = torch.autograd.grad(result.sum(), tensor)
    assert bool(gradient.isfinite().all())
