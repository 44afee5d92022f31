"""Stable-Baselines3's buffers for actions that are rows of numbers, whatever the environment's action space."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import (
    BaseBuffer,
    DictReplayBuffer,
    DictRolloutBuffer,
    ReplayBuffer,
    RolloutBuffer,
)


class _Rows(BaseBuffer):
    """Takes rows for actions.

    :param width: numbers in a row: choice, parameters, and what else an algorithm needs of the moment of choosing.
    """

    def __init__(
        self, buffer_size: int, observation_space: Any, action_space: Any, *args: Any, width: int, **kwargs: Any
    ):
        rows = spaces.Box(-np.inf, np.inf, (width,), np.float32)
        super().__init__(buffer_size, observation_space, rows, *args, **kwargs)


class HybridRolloutBuffer(_Rows, RolloutBuffer):
    """For plain observations."""


class HybridDictRolloutBuffer(_Rows, DictRolloutBuffer):
    """For ``Dict`` observations."""


class HybridReplayBuffer(_Rows, ReplayBuffer):
    """For plain observations."""


class HybridDictReplayBuffer(_Rows, DictReplayBuffer):
    """For ``Dict`` observations."""
