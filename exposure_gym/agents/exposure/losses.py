"""The losses of the paper's actor-critic: the gradient of the reward flows through the filters into the policy.

The filter's parameters are learned by deterministic policy gradient through the differentiable game and critic, the
choice of filter by likelihood-ratio policy gradient; both against one value network (paper, section 4.1 and
algorithm 1; published ``net.py``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from exposure_gym.agents.exposure.networks import Actor, entropy, sample_filter
from exposure_gym.agents.exposure.rearranging import rearrange
from exposure_gym.critic import Critic
from exposure_gym.game import GameState, RetouchGame, Transition


class ActorLosses(NamedTuple):
    """Losses of one batch of edits and the terms they come from; ``(B,)`` unless a scalar."""

    policy: Tensor
    """Scalar: ``mean(-Q - log pi(filter) * advantage + flatness_weight * excess)``, the advantage without gradient."""
    value: Tensor
    """Scalar: ``mean((Q - V(s))^2)``, Q without gradient."""
    transition: Transition
    filter_index: Tensor
    parameters: Tensor
    probabilities: Tensor
    log_probability: Tensor
    entropy_penalty: Tensor
    score_before: Tensor
    score_after: Tensor
    reward: Tensor
    q_value: Tensor
    advantage: Tensor


def actor_losses(
    game: RetouchGame,
    actor: Actor,
    value: Critic,
    critic: Critic,
    state: GameState,
    noise: Tensor | None,
    generator: torch.Generator | None,
    *,
    progress: float,
    score_weight: float = 0.05,
    entropy_weight: float = 0.05,
    discount: float = 1.0,
    flatness_weight: float = 0.0,
    arrangement: Tensor | None = None,
) -> ActorLosses:
    """Play one edit in every game and form the losses of policy and value.

    :param state: ``B`` games that are not finished.
    :param noise: ``(B,)`` uniform, chooses the filters; ``None`` takes the most probable ones.
    :param generator: of the dropout noise; ``None`` turns dropout off.
    :param progress: how much of the training is done, 0 to 1: the entropy term fades with it.
    :param score_weight: of the critic's scores in the reward (published ``critic_logit_multiplier``).
    :param flatness_weight: of :attr:`Policy.excess`; published: none.
    :param arrangement: ``(B, S * S)``, of the pictures that the critic sees, the same before and after the edit
        (:mod:`.rearranging`); ``None``: as they are.
    """
    vector = game.state_vector(state)
    policy = actor(state.image, vector, generator)
    probabilities = policy.probabilities
    index = probabilities.argmax(dim=1) if noise is None else sample_filter(probabilities, noise)
    log_probability = (probabilities.gather(1, index[:, None])[:, 0] + 1e-10).log()

    step = game.transition(state, index, policy.parameters)
    score_after = critic(rearrange(step.state.image, arrangement))
    with torch.no_grad():
        score_before = critic(rearrange(state.image, arrangement))
    spread = math.log(len(game.filters)) - entropy(probabilities)
    entropy_penalty = (1.0 - progress) * entropy_weight * spread
    penalty = sum(step.penalties.values()) + entropy_penalty
    reward = score_weight * (score_after - score_before) - penalty

    next_value = value(step.state.image, game.state_vector(step.state))
    q_value = reward + discount * torch.where(step.terminated, torch.zeros_like(next_value), next_value)
    advantage = q_value.detach() - value(state.image, vector)
    policy_loss = (-q_value - log_probability * advantage.detach() + flatness_weight * policy.excess).mean()
    return ActorLosses(
        policy_loss,
        advantage.square().mean(),
        step,
        index,
        policy.parameters,
        probabilities,
        log_probability,
        entropy_penalty,
        score_before,
        score_after,
        reward,
        q_value,
        advantage,
    )
