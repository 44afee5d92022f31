"""A small game with hybrid actions and a known optimum: turn, then move, to a place in the plane.

As the moving games of the gym-hybrid family, but every number is exact. The walker stands at the origin and looks
along an axis; a place lies at a distance of 0.3 to 1, anywhere around. Choices: 0 turns by pi times ``amount[0]``, 1
moves by ``amount[1]``, 2 waits and has no parameter. Seen is where the place lies from the walker: distance, and cosine
and sine of its bearing. An edit's reward is how much nearer it brought the walker, minus 0.05; within 0.1 of the place
the episode ends, and 1 more is paid. After 8 steps it is cut short.

The best play turns towards the place and moves to it: the distance is earned whole, and :func:`optimum` is its mean.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

NEAR, FAR, REACHED, COST, STEPS = 0.3, 1.0, 0.1, 0.05, 8
BLOCKS = [[0], [1], []]
"""Places of ``amount`` that belong to each choice."""

OBSERVATIONS = spaces.Box(-4.0, 10.0, (3,), np.float32)
ACTIONS = spaces.Dict(move=spaces.Discrete(3), amount=spaces.Box(-1.0, 1.0, (2,), np.float32))
BOX_ACTIONS = spaces.Box(-1.0, 1.0, (5,), np.float32)
"""The same written flat, as ``PhotoRetouchBox-v0`` is: a score for each choice, then the parameters."""


def optimum() -> float:
    """Mean return of the best play."""
    return (NEAR + FAR) / 2 + 1.0 - 2 * COST


def best_actions(observations: NDArray[Any]) -> list[dict[str, Any]]:
    """The best play: turn, and when the place lies straight ahead move."""
    distance, cosine, sine = observations.T
    bearing = np.arctan2(sine, cosine)
    turn = np.abs(bearing) > 1e-4
    amounts = np.stack([bearing / np.pi, np.minimum(distance, 1.0)], axis=1).astype(np.float32)
    return [{"move": np.int64(0 if t else 1), "amount": a} for t, a in zip(turn, amounts, strict=True)]


class Walkers:
    """The rules, for a batch of games."""

    def __init__(self, count: int) -> None:
        self.places = np.zeros((count, 2))
        self.steps = np.zeros(count, np.int64)

    def restart(self, row: int, rng: np.random.Generator) -> None:
        distance, bearing = rng.uniform(NEAR, FAR), rng.uniform(-np.pi, np.pi)
        self.places[row] = distance * np.cos(bearing), distance * np.sin(bearing)
        self.steps[row] = 0

    def observe(self) -> NDArray[np.float32]:
        distance = self.distance()
        return np.column_stack([distance, self.places / np.maximum(distance, 1e-9)[:, None]]).astype(np.float32)

    def distance(self) -> NDArray[np.float64]:
        distance: NDArray[np.float64] = np.hypot(self.places[:, 0], self.places[:, 1])
        return distance

    def play(self, move: NDArray[np.int64], amount: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Rewards, who has arrived, and whose time is over."""
        before = self.distance()
        angle = np.where(move == 0, np.pi * amount[:, 0], 0.0)
        x, y = self.places.T
        ahead = x * np.cos(angle) + y * np.sin(angle) - np.where(move == 1, amount[:, 1], 0.0)
        self.places = np.stack([ahead, y * np.cos(angle) - x * np.sin(angle)], axis=1)
        self.steps += 1
        after = self.distance()
        arrived = after < REACHED
        earned = np.where(arrived, before + 1.0, before - after)
        return (earned - COST).astype(np.float32), arrived, ~arrived & (self.steps >= STEPS)


class TurnAndMove(gym.Env[NDArray[np.float32], dict[str, Any]]):
    """One game."""

    observation_space = OBSERVATIONS

    def __init__(self, mask_waiting: bool = False) -> None:
        self.action_space = ACTIONS
        self.walkers = Walkers(1)
        self.mask_waiting = mask_waiting

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.walkers.restart(0, self.np_random)
        return self.walkers.observe()[0], {}

    def step(self, action: dict[str, Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        reward, arrived, late = self.walkers.play(np.array([action["move"]]), action["amount"][None])
        return self.walkers.observe()[0], float(reward[0]), bool(arrived[0]), bool(late[0]), {"move": action["move"]}

    def action_masks(self) -> NDArray[np.bool_]:
        return np.array([True, True, not self.mask_waiting])


class WalkerVecEnv(VecEnv):
    """Many games as one batch, for Stable-Baselines3; with hybrid actions or flat ones."""

    def __init__(self, count: int, flat: bool = False) -> None:
        self.walkers = Walkers(count)
        self.flat = flat
        self.rng = np.random.default_rng(0)
        self.render_mode = None
        super().__init__(count, OBSERVATIONS, BOX_ACTIONS if flat else ACTIONS)

    def reset(self) -> NDArray[np.float32]:
        if self._seeds[0] is not None:
            self.rng = np.random.default_rng(self._seeds[0])
        self._reset_seeds()
        for row in range(self.num_envs):
            self.walkers.restart(row, self.rng)
        self.returns, self.lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        return self.walkers.observe()

    def step_async(self, actions: Any) -> None:
        if self.flat:
            self.action = actions[:, :3].argmax(axis=1), actions[:, 3:]
        else:
            self.action = actions["move"], actions["amount"]

    def step_wait(self) -> Any:
        rewards, arrived, late = self.walkers.play(*self.action)
        self.returns += rewards
        self.lengths += 1
        seen = self.walkers.observe()
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(cut)} for cut in late]
        for row in np.flatnonzero(arrived | late).tolist():
            infos[row]["terminal_observation"] = seen[row]
            infos[row]["episode"] = {"r": self.returns[row], "l": self.lengths[row], "t": 0.0}
            self.returns[row], self.lengths[row] = 0.0, 0
            self.walkers.restart(row, self.rng)
        return self.walkers.observe(), rewards, arrived | late, infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        return [getattr(self, method_name)(*method_args, **method_kwargs) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]


def mean_return(act: Any, games: int = 256, seed: int = 12345, flat: bool = False) -> float:
    """Mean return of a player over one episode of each of ``games`` games that it has not seen.

    :param act: observations ``(B, 3)`` to actions, a list of dicts or, flat, an array.
    """
    env = WalkerVecEnv(games, flat)
    env.seed(seed)
    observations: Any = env.reset()
    over, total = np.zeros(games, np.bool_), np.zeros(games)
    for _ in range(STEPS):
        actions: Any = act(observations)
        if not flat:
            actions = {key: np.stack([action[key] for action in actions]) for key in ACTIONS}
        observations, rewards, done, _ = env.step(actions)
        total += np.where(over, 0.0, rewards)
        over |= done
    return float(total.mean())
