"""PPO for hybrid actions: a choice, and parameters of their own for every choice."""

from exposure_gym.agents.hybrid_ppo.distributions import HybridDistribution
from exposure_gym.agents.hybrid_ppo.hybrid_ppo import HybridPPO
from exposure_gym.agents.hybrid_ppo.policies import CnnPolicy, HybridActorCriticPolicy, MlpPolicy, MultiInputPolicy
from exposure_gym.agents.hybrid_ppo.spaces import HybridSpace

__all__ = [
    "CnnPolicy",
    "HybridActorCriticPolicy",
    "HybridDistribution",
    "HybridPPO",
    "HybridSpace",
    "MlpPolicy",
    "MultiInputPolicy",
]
