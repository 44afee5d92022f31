"""The paper's agent against a critic that does not learn, for those scripts that want the gradient door alone."""

from __future__ import annotations

import copy
from typing import Any

from exposure_gym.agents import ExposureAgent
from exposure_gym.rewards import CriticReward


def frozen_agent(reward: CriticReward, options: dict[str, Any]) -> ExposureAgent:
    """An agent that learns from a copy of this reward's critic, which no update touches.

    It cannot be resumed from its own file: the critic's width need not be that of the agent's networks.

    :param options: keywords of :class:`ExposureAgent`; those that concern the critic's updates are overruled.
    """
    agent = ExposureAgent(**options | {"critic_updates": 0, "critic_burst": 0, "score_weight": reward.weight})
    agent.policy.critic = copy.deepcopy(reward.critic).to(agent.device)
    return agent
