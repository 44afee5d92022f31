"""The agents that play the game."""

from exposure_gym.agents.exposure import ExposureAgent

__all__ = ["ExposureAgent"]
