"""The agents that play the game; each is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exposure_gym.agents.exposure import ExposureAgent
    from exposure_gym.agents.extractor import PhotoExtractor
    from exposure_gym.agents.hybrid_ppo import HybridPPO
    from exposure_gym.agents.pdqn import PDQN

__all__ = ["PDQN", "ExposureAgent", "HybridPPO", "PhotoExtractor"]

_HOMES = {"ExposureAgent": "exposure", "HybridPPO": "hybrid_ppo", "PDQN": "pdqn", "PhotoExtractor": "extractor"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
