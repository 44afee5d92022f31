"""The agent of Hu et al. 2018."""

from exposure_gym.agents.exposure.agent import ExposureAgent
from exposure_gym.agents.exposure.decision import Decision
from exposure_gym.agents.exposure.policy import ExposurePolicy

__all__ = ["Decision", "ExposureAgent", "ExposurePolicy"]
