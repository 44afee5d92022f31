"""The model that a command acts with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exposure_gym.cli.messages import fail

if TYPE_CHECKING:
    from exposure_gym.agents.exposure import ExposureAgent
    from exposure_gym.rewards import CriticReward


STYLES = ("sintel",)
"""Models that ship with the package beside the default one, and are asked for by name."""


def find_model(path: Path | None) -> Path | None:
    """Where the model lies that was asked for by path or style; a file or folder of a style's name comes first."""
    if path is None or str(path) not in STYLES or path.exists():
        return path
    from exposure_gym.rewards import WEIGHTS

    return WEIGHTS.parent / path


def load_agent(path: Path | None) -> ExposureAgent:
    """An agent from a folder or file or of a style's name, by default the shipped one; wrong usage if it is none.

    It acts on the CPU with one thread: its networks are so small that a GPU takes longer to wake up, and more threads
    only wait for each other.
    """
    import torch

    from exposure_gym.agents.exposure import ExposureAgent
    from exposure_gym.rewards import WEIGHTS

    torch.set_num_threads(1)
    path = find_model(path)
    try:
        return ExposureAgent.load(WEIGHTS if path is None else path, device="cpu")
    except ValueError as error:
        fail(str(error), 2)


def load_reward(path: Path | None) -> CriticReward:
    """What a model's own critic thinks of pictures, or the shipped one where no critic lies beside the model.

    Wrong usage if it cannot be read.
    """
    from exposure_gym.critic import load_critic
    from exposure_gym.rewards import CriticReward

    path = find_model(path)
    try:
        if path is not None:
            beside = (path if path.is_dir() else path.parent) / "critic.safetensors"
            if beside.exists():
                return CriticReward(load_critic(beside), name="own critic")
        return CriticReward()
    except ValueError as error:
        fail(str(error), 2)
