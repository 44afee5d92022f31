"""The paper's agent against a critic that does not learn, for those scripts that want the gradient door alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import avg_pool2d

from exposure_gym.agents import ExposureAgent
from exposure_gym.critic import Critic
from exposure_gym.rewards import CriticReward


class FrozenCritic(Critic):
    """A copy of a critic that scores larger pictures too: it sees them averaged down to its own size.

    :param image_size: edge of the square pictures that it is given, a multiple of the critic's own.
    """

    def __init__(self, critic: Critic, image_size: int) -> None:
        super().__init__(**critic.config)
        self.load_state_dict(critic.state_dict())
        self.eval().requires_grad_(False)
        self.factor, rest = divmod(image_size, critic.image_size)
        if rest or not self.factor:
            raise ValueError(
                f"this critic sees {critic.image_size} pixels: pictures of {image_size} pixels are no multiple"
            )
        self.image_size = image_size

    def features(self, image: Tensor, state: Tensor | None = None) -> Tensor:
        """As the critic that was copied does with the smaller picture: ``(B, 3, image_size, image_size)``."""
        return super().features(avg_pool2d(image, self.factor) if self.factor > 1 else image, state)


def frozen_agent(reward: CriticReward, options: dict[str, Any]) -> ExposureAgent:
    """An agent that learns from a copy of this reward's critic, which no update touches.

    It cannot be resumed from its own file: the critic's width need not be that of the agent's networks.

    :param options: keywords of :class:`ExposureAgent`; those that concern the critic's updates are overruled.
    :raises ValueError: the agent's pictures are no multiple of the size that the critic sees.
    """
    agent = ExposureAgent(**options | {"critic_updates": 0, "critic_burst": 0, "score_weight": reward.weight})
    agent.policy.critic = FrozenCritic(reward.critic, agent.image_size).to(agent.device)
    return agent
