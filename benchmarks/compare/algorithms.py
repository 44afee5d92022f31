"""Who is compared. A new algorithm is one entry in :data:`ALGORITHMS`: a function that learns, and shows its player.

The function gets a :class:`Setting` and calls ``show(steps, player)`` at the beginning, whenever what it would play has
changed, and at the end; when it is time, the player is examined. ``steps`` are edits made in the environment so far.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from frozen_agent import frozen_agent
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from compare.arena import Arena, bare
from exposure_gym.agents import ExposureAgent
from exposure_gym.agents.baselines import BASELINES, make_baseline, tuned_hyperparameters
from exposure_gym.agents.scripted import (
    auto_levels_player,
    gradient_player,
    greedy_player,
    identity_player,
    random_player,
)
from exposure_gym.evaluation import Player, agent_player
from exposure_gym.game import GameState
from exposure_gym.rewards import WEIGHTS, CriticReward


class Setting(NamedTuple):
    """What an algorithm is given."""

    arena: Arena
    steps: int
    seed: int
    encoder: dict[str, Any]
    hyperparameters: dict[str, Any]

    def generator(self) -> torch.Generator:
        """For what is drawn, seeded."""
        return torch.Generator().manual_seed(self.seed)


Show = Callable[[int, Player], None]


class Algorithm(NamedTuple):
    """An entry of the table."""

    label: str
    """In tables and figures."""
    run: Callable[[Setting, Show], None]
    by_chance: bool = True
    """Whether the seed matters: what has no chance is run once."""
    learns: bool = True


# -- players that do not learn -----------------------------------------------------------------------------------------


def fixed(make: Callable[[Setting], Player], setting: Setting, show: Show) -> None:
    """A player as it is, with no step to learn from."""
    show(0, make(setting))


def _greedy(setting: Setting) -> Player:
    arena = setting.arena
    return greedy_player(arena.game, arena.potential, setting.generator(), **setting.hyperparameters)


def _gradient(setting: Setting) -> Player:
    arena = setting.arena
    return gradient_player(arena.game, arena.score, setting.generator(), **setting.hyperparameters)


def _shipped(setting: Setting) -> Player:
    return agent_player(ExposureAgent.load(WEIGHTS, device="cpu"), seed=None)


# -- learners ----------------------------------------------------------------------------------------------------------


class Showing(BaseCallback):
    """Shows the player of an agent when its policy has changed, and at the end."""

    def __init__(self, show: Show, player: Player, every_step: bool = False) -> None:
        super().__init__()
        self.show, self.player, self.every_step = show, player, every_step

    def _on_training_start(self) -> None:
        self.show(self.num_timesteps, self.player)

    def _on_rollout_start(self) -> None:  # between updates: what is learned so far
        self.show(self.num_timesteps, self.player)

    def _on_step(self) -> bool:
        if self.every_step:
            self.show(self.num_timesteps, self.player)
        return True

    def _on_training_end(self) -> None:
        self.show(self.num_timesteps, self.player)


def baseline(name: str, setting: Setting, show: Show, **fixed: Any) -> None:
    """An algorithm of :data:`exposure_gym.agents.baselines.BASELINES`, by the gradient-free door.

    :param fixed: hyperparameters that make it this entry.
    """
    arena, options = setting.arena, fixed | setting.hyperparameters
    tuned = tuned_hyperparameters(name)
    env = arena.env(tuned["id"], options.pop("n_envs", tuned["n_envs"]), tuned["preview"])
    agent = make_baseline(name, env, encoder=setting.encoder, seed=setting.seed, device="cpu", **options)
    agent.learn(setting.steps, callback=Showing(show, baseline_player(agent)))


def baseline_player(agent: BaseAlgorithm) -> Player:
    """What an agent of :func:`make_baseline` has learned, as a player of the bare game: its likeliest edits."""
    env = agent.get_env()
    assert env is not None
    games = bare(env)
    form = games.base.form
    memory: list[Any] = [None]
    masks = type(agent).__name__ == "MaskablePPO" or getattr(agent, "use_masking", False)

    def player(state: GameState) -> tuple[Tensor, Tensor]:
        observation = games.envs.observations if games.envs is not games.base else lambda seen: seen
        seen = observation(
            {
                "image": state.image.permute(0, 2, 3, 1).contiguous().numpy(),
                "filters_used": state.filters_used.numpy().astype("int8"),
                "step": state.step.numpy(),
            }
        )
        starts = state.step.numpy() == 0
        more: dict[str, Any] = {}
        if masks:
            more["action_masks"] = form.unused(state.filters_used)
        if starts.all():
            memory[0] = None
        actions: Any
        actions, memory[0] = agent.predict(seen, state=memory[0], episode_start=starts, deterministic=True, **more)
        if isinstance(actions, list):  # of a hybrid agent: one action a game
            actions = {key: np.stack([action[key] for action in actions]) for key in actions[0]}
        return form.decode(actions, len(state.step))

    return player


def exposure(frozen: bool, setting: Setting, show: Show) -> None:
    """The paper's agent, by the gradient door.

    :param frozen: learn against the environment's own frozen critic, as the others must, instead of one that learns
        beside it from finished photographs. What is left of the difference to others is the gradient.
    :raises ValueError: the environment's reward is no critic.
    """
    given = setting.hyperparameters
    policy_kwargs = setting.encoder | given.get("policy_kwargs", {})
    env = setting.arena.env("PhotoRetouch-v0", 1)
    options = given | {"env": env, "seed": setting.seed, "device": "cpu", "policy_kwargs": policy_kwargs}
    reward = setting.arena.reward
    if frozen:
        if not isinstance(reward, CriticReward):
            raise ValueError("exposure_frozen needs an environment with the reward 'critic'")
        if reward.critic.image_size != setting.arena.image_size:
            raise ValueError(f"exposure_frozen needs pictures of {reward.critic.image_size} pixels, as the critic sees")
        agent = frozen_agent(reward, options)
    else:
        agent = ExposureAgent(**options)
    agent.learn(setting.steps, callback=Showing(show, agent_player(agent, seed=None), every_step=True))


ALGORITHMS: dict[str, Algorithm] = {
    "identity": Algorithm("nothing", partial(fixed, lambda s: identity_player(s.arena.game)), False, False),
    "random": Algorithm("random", partial(fixed, lambda s: random_player(s.arena.game, s.generator())), learns=False),
    "auto_levels": Algorithm("auto levels", partial(fixed, lambda s: auto_levels_player(s.arena.game)), False, False),
    "greedy": Algorithm("greedy search", partial(fixed, _greedy), learns=False),
    "gradient": Algorithm("gradient search", partial(fixed, _gradient), learns=False),
    "shipped": Algorithm("Exposure, shipped", partial(fixed, _shipped), False, False),
    "exposure": Algorithm("Exposure", partial(exposure, False)),
    "exposure_frozen": Algorithm("Exposure, frozen critic", partial(exposure, True)),
    **{
        name: Algorithm(label, partial(baseline, name))
        for name, label in {
            "ppo": "PPO",
            "a2c": "A2C",
            "sac": "SAC",
            "td3": "TD3",
            "ddpg": "DDPG",
            "dqn": "DQN",
            "tqc": "TQC",
            "recurrent_ppo": "Recurrent PPO",
            "maskable_ppo": "Maskable PPO",
            "hybrid_ppo": "Hybrid PPO",
            "pdqn": "P-DQN",
        }.items()
        if name in BASELINES
    },
    "hybrid_ppo_masked": Algorithm("Hybrid PPO, masked", partial(baseline, "hybrid_ppo", use_masking=True)),
}
"""Everyone, by the name that configs use."""
