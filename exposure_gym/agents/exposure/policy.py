"""Stable-Baselines3's policy object for the paper's agent: its networks, and acting with them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from exposure_gym.agents.exposure.networks import Actor, Noise, Policy, sample_filter
from exposure_gym.critic import Critic
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.networks import initialise

Observation = dict[str, NDArray[Any]]
Action = dict[str, Any]


class ExposurePolicy(BasePolicy):
    """Actor, value and critic networks of the paper.

    :param game: the rules the networks are built for.
    :param base_channels: channels of the first convolution, doubled layer by layer.
    :param features: length of the actor's encoder outputs.
    :param hidden: width of every fully connected layer.
    :param dropout_keep: probability of keeping an encoder feature of the actor, when acting too.
    :param exploration: weight of the uniform distribution mixed into the choice of filter.
    :param averaged: keep a second actor, :attr:`average`, which acts instead of the one that learns.
    :param generator: of the initial weights (CPU).
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Dict,
        game: RetouchGame,
        generator: torch.Generator,
        base_channels: int = 32,
        features: int = 4096,
        hidden: int = 128,
        dropout_keep: float = 0.5,
        exploration: float = 0.05,
        averaged: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.game = game
        image = observation_space["image"].shape
        assert image is not None
        size = image[0]
        with torch.random.fork_rng(devices=[]):  # layers draw initial weights, which are replaced below
            self.actor = Actor(game, size, base_channels, features, hidden, dropout_keep, exploration)
            self.value = Critic(size, base_channels, hidden, state_size=3 + len(game.filters))
            self.critic = Critic(size, base_channels, hidden)
        for network in (self.actor, self.value, self.critic):
            initialise(network, generator)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: Actor | None = deepcopy(self.actor).requires_grad_(False) if averaged else None

    @property
    def acting(self) -> Actor:
        """The actor that acts: the average of those that were, where one is kept."""
        return self.actor if self.average is None else self.average

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """``average = decay * average + (1 - decay) * actor``, weight by weight; nothing where none is kept."""
        if self.average is not None:
            torch._foreach_lerp_(list(self.average.parameters()), list(self.actor.parameters()), 1.0 - decay)

    def state_from_observation(self, observation: Observation) -> GameState:
        """A batch of observations, ``image`` (B, S, S, 3), as the game's state on the policy's device."""
        image = torch.as_tensor(observation["image"], dtype=torch.float32, device=self.device)
        used = torch.as_tensor(observation["filters_used"], dtype=torch.float32, device=self.device)
        step = torch.as_tensor(observation["step"], dtype=torch.int64, device=self.device)
        return GameState(image.permute(0, 3, 1, 2), used, step)

    @torch.no_grad()
    def act(
        self,
        state: GameState,
        generator: Noise,
        noise: torch.Generator | None = None,
        allowed: torch.Tensor | None = None,
        actor: Actor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, Policy]:
        """Choose an edit for each game.

        :param generator: of the dropout noise; ``None`` turns dropout off.
        :param noise: of the choice of filter; ``None`` takes the most probable one.
        :param allowed: ``(F,)`` or ``(B, F)`` bool: choose among these filters, as if the others were not there.
        :param actor: who chooses; :attr:`acting` by default.
        :return: filter index ``(B,)``, parameters ``(B, num_parameters)`` and the whole :class:`Policy`.
        """
        policy = (actor or self.acting)(state.image, self.game.state_vector(state), generator)
        if allowed is not None:
            chosen = policy.probabilities * allowed
            policy = policy._replace(probabilities=chosen / chosen.sum(dim=1, keepdim=True))
        if noise is None:
            index = policy.probabilities.argmax(dim=1)
        else:
            uniform = torch.rand(len(state.step), generator=noise, device=state.step.device)
            index = sample_filter(policy.probabilities, uniform)
        return index, policy.parameters, policy

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        raise NotImplementedError("an action of this policy is a dict: call ExposureAgent.predict")
