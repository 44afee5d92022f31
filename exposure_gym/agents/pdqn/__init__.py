"""Parametrised deep Q-learning for hybrid actions: off-policy, one pass or one for each choice."""

from exposure_gym.agents.pdqn.pdqn import PDQN
from exposure_gym.agents.pdqn.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, PDQNPolicy

__all__ = ["PDQN", "CnnPolicy", "MlpPolicy", "MultiInputPolicy", "PDQNPolicy"]
