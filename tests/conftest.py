"""What every test shares: one thread a process, fixed seeds, no deadlines."""

from __future__ import annotations

import os

# Before torch is imported: small batches are faster on one thread, and pytest-xdist runs several
# processes. No window is opened for a figure.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("exposure-gym", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("exposure-gym")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the crops of the tests' trainings out of the user's cache."""
    os.environ["EXPOSURE_GYM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def rng() -> np.random.Generator:
    """Give the test a generator of its own, seeded alike for every test."""
    return np.random.default_rng(0)
