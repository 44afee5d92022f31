"""The compiled loops between files: the sRGB curve without a power, and machine code that is never out of date."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import exposure_gym
from exposure_gym import _fused_kernels
from exposure_gym.color import srgb_decode, srgb_encode
from exposure_gym.fused import SRGB_CURVE


def through(matrix: np.ndarray, curve: tuple[float, ...], values: np.ndarray) -> np.ndarray:
    planes = [values.astype(np.float32) for _ in range(3)]
    _fused_kernels._convert(matrix.astype(np.float32), np.array(curve, np.float32), *planes)
    return np.stack(planes)


def test_the_srgb_curve_needs_no_power() -> None:
    values = np.linspace(0.0, 1.0, 100_001)
    there_and_back = through(np.eye(3), (), values)
    assert np.abs(there_and_back - values).max() < 3e-6, "a fifth of a 16-bit code"
    weaker = through(np.eye(3) / 2, (), values)
    assert np.abs(weaker - srgb_encode(srgb_decode(values) / 2)).max() < 3e-6
    assert np.abs(weaker - through(np.eye(3) / 2, SRGB_CURVE, values)).max() < 3e-6, "as the general curve"
    rising = np.diff(there_and_back[0])
    assert rising.min() > 0.0, "the toe meets the curve"


def test_values_outside_are_clipped_before_they_are_converted() -> None:
    outside = through(np.eye(3), (), np.array([-1.0, 2.0, 1e30, np.inf, -np.inf]))
    np.testing.assert_allclose(outside, [[0, 1, 1, 1, 0]] * 3, atol=1e-6)
    brighter = through(np.eye(3) * 3, (), np.array([0.0, 0.9, 1.0]))
    assert np.isfinite(brighter).all()
    assert (brighter[:, 1:] > 0.999).all(), "what lies over white stays there, to be clipped"


def test_machine_code_is_never_older_than_the_kernels(tmp_path: Path) -> None:
    package = tmp_path / "exposure_gym"
    package.mkdir()
    for name in ("__init__", "color", "filters", "kernels", "_fused_kernels", "_machine_code"):
        shutil.copy2(Path(exposure_gym.__file__).with_name(f"{name}.py"), package)
    (package / "__init__.py").write_text("")
    program = (
        "import numpy as np; from exposure_gym import _fused_kernels as k\n"
        "x = np.full(4, 0.5, np.float32); k._encode(np.array([0, 0, 1, 1, 0], np.float32), x); print(x[0])"
    )

    def run() -> float:
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        child = subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return float(child.stdout)

    assert run() == pytest.approx(0.5)
    kept = len(list((tmp_path / "cache").rglob("*.nbi")))
    assert kept > 0, "machine code is kept"
    assert run() == pytest.approx(0.5)
    assert len(list((tmp_path / "cache").rglob("*.nbi"))) == kept, "and used again"
    kernels = package / "kernels.py"
    text = kernels.read_text()
    assert "return power * _polynomial(_EXP2, x - whole)" in text
    kernels.write_text(text.replace("return power * _pol", "return _TWO * power * _pol"))
    assert run() == pytest.approx(1.0)
