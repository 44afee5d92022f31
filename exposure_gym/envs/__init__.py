"""The Gymnasium environments, their batched forms and their wrappers. What needs Stable-Baselines3 loads on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exposure_gym.envs.photo_retouch import PhotoRetouchBoxEnv, PhotoRetouchDiscreteEnv, PhotoRetouchEnv
from exposure_gym.envs.vector import (
    PhotoRetouchBoxVectorEnv,
    PhotoRetouchDiscreteVectorEnv,
    PhotoRetouchVectorEnv,
)
from exposure_gym.envs.wrappers import (
    FlatAction,
    FlatActionVector,
    PreviewObservation,
    PreviewObservationVector,
)

if TYPE_CHECKING:
    from exposure_gym.envs.sb3 import AdversarialCallback, SB3VecEnv, make_sb3_env

__all__ = [
    "AdversarialCallback",
    "FlatAction",
    "FlatActionVector",
    "PhotoRetouchBoxEnv",
    "PhotoRetouchBoxVectorEnv",
    "PhotoRetouchDiscreteEnv",
    "PhotoRetouchDiscreteVectorEnv",
    "PhotoRetouchEnv",
    "PhotoRetouchVectorEnv",
    "PreviewObservation",
    "PreviewObservationVector",
    "SB3VecEnv",
    "make_sb3_env",
]


def __getattr__(name: str) -> Any:
    if name in ("AdversarialCallback", "SB3VecEnv", "make_sb3_env"):
        from exposure_gym.envs import sb3

        return getattr(sb3, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
