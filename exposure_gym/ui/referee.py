"""The game's referee: plays a list of edits through the environment, and says what each of them earned."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from exposure_gym.critic import load_critic
from exposure_gym.data import Photos, generate_scene
from exposure_gym.data.photo_set import PhotoSet
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.filters import Filter
from exposure_gym.photo import Image3
from exposure_gym.recipe import Edit
from exposure_gym.rewards import CRITIC, CriticReward, RewardModel

KEPT_GAMES = 8
"""Photographs whose last game is kept, with all its positions: some 0.1 MB a position."""


class Move(NamedTuple):
    """An edit as the environment played it."""

    edit: Edit
    reward: float
    penalties: dict[str, float]
    """Costs by name, at least 0, that are part of the reward."""
    score: float
    """Of the picture afterwards: the reward model's potential."""


class Trajectory(NamedTuple):
    """A game so far."""

    score: float
    """Of the photograph as it begins."""
    moves: tuple[Move, ...]

    @property
    def last_score(self) -> float:
        """Of the picture as it is."""
        return self.moves[-1].score if self.moves else self.score

    @property
    def rewards(self) -> list[float]:
        """Of each edit."""
        return [move.reward for move in self.moves]


class NoCritic:
    """Judges nothing, where there are no weights to judge with: every picture is worth 0."""

    name = "none"

    def potential(self, image: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B,)``."""
        return image.new_zeros(len(image))


class _Position(NamedTuple):
    """A game after some edits."""

    env: PhotoRetouchEnv
    """The environment as it stands there. Never stepped: a copy of it is."""
    score: float
    """Of the picture."""
    asked: Edit | None
    """The edit that led there, as it was asked for."""
    move: Move | None
    """The same, as it was played; both are None at the beginning."""


class Referee:
    """An environment in which every game is played from its beginning: nothing is left over from the game before.

    Going back to a step and changing it is therefore what it is for any player: a reset on the same photograph, and
    the steps again. The positions of the game that was played last on a photograph are kept, and the next one there
    goes on from a copy of the last position that both share: a slider that moves costs one step of the environment.
    May be called from several threads.

    :param max_steps: edits in a game.
    :param reward: judges the pictures; the shipped critic by default.
    """

    def __init__(self, max_steps: int = 5, reward: RewardModel | None = None) -> None:
        self.env = PhotoRetouchEnv(_some_photos(), reward="critic" if reward is None else reward, max_steps=max_steps)
        self._kept: OrderedDict[bytes, list[_Position]] = OrderedDict()  # by photograph, the one used last at the end
        self._lock = threading.Lock()

    @property
    def filters(self) -> list[Filter]:
        """What may be chosen."""
        return self.env.game.filters

    @property
    def max_steps(self) -> int:
        """Edits in a game."""
        return self.env.game.max_steps

    @property
    def judges(self) -> bool:
        """Whether its scores mean anything."""
        return not isinstance(self.env.reward_model, NoCritic)

    def play(self, view: Image3, edits: Sequence[Edit]) -> Trajectory:
        """Reset on a photograph, then a step an edit.

        :param view: ``(S, S, 3)``, what the game is played on, see :attr:`exposure_gym.ui.pictures.Proof.view`.
        :return: the edits as they were played: no further than the filters reach.
        :raises ValueError: an edit that the game does not have, or more of them than it allows.
        """
        if len(edits) > self.max_steps:
            raise ValueError(f"a game has {self.max_steps} steps, not {len(edits)}")
        with self._lock:
            photo = view.tobytes()
            before = self._kept.get(photo) or [self._beginning(view)]
            pairs = zip(before[1:], edits, strict=False)
            shared = 1 + sum(1 for _ in takewhile(lambda pair: pair[0].asked == pair[1], pairs))
            game = before[:shared]
            for edit in edits[shared - 1 :]:
                game.append(self._after(game[-1], edit))
            self._kept[photo] = game
            self._kept.move_to_end(photo)
            if len(self._kept) > KEPT_GAMES:
                self._kept.popitem(last=False)
        return Trajectory(game[0].score, tuple(position.move for position in game if position.move is not None))

    def _beginning(self, view: Image3) -> _Position:
        env = self._copy(self.env)
        observation, _ = env.reset(options={"photo": view})
        image = torch.from_numpy(np.ascontiguousarray(observation["image"].transpose(2, 0, 1)))[None]
        return _Position(env, float(env.reward_model.potential(image)[0]), None, None)

    def _after(self, position: _Position, edit: Edit) -> _Position:
        env = self._copy(position.env)
        _, reward, _, _, info = env.step(env.form.action_from_edit(edit))
        terms = dict(info["rewards"])
        score = position.score + terms.pop(env.reward_model.name)
        penalties = {name: -value + 0.0 for name, value in terms.items()}
        return _Position(env, score, edit, Move(env.recipe.edits[-1], reward, penalties, score))

    @staticmethod
    def _copy(env: PhotoRetouchEnv) -> PhotoRetouchEnv:
        """The environment with a game of its own; rules, critic and photographs, which never change, are shared."""
        shared = env.game, env.form, env.reward_model, env.photos, env.observation_space, env.action_space
        return deepcopy(env, {id(each): each for each in shared})


def load_referee(model: Path | None, max_steps: int) -> tuple[Referee, str]:
    """A referee with a model's own critic, or the shipped one where none lies beside it.

    :return: it, and the SHA-256 of the critic's file; empty where there is none that can be read.
    """
    beside = None if model is None else (model if model.is_dir() else model.parent) / CRITIC.name
    path = beside if beside is not None and beside.exists() else CRITIC
    try:
        digest = sha256(path.read_bytes()).hexdigest()
        reward = CriticReward() if path == CRITIC else CriticReward(load_critic(path), name="own critic")
    except (ValueError, OSError):
        return Referee(max_steps, NoCritic()), ""
    return Referee(max_steps, reward), digest


def _some_photos() -> Photos:
    """The environment wants photographs to draw from; here all are given."""
    scene = generate_scene(np.random.default_rng(0), 64)
    inputs, targets = (pixels.transpose(2, 0, 1)[None].copy() for pixels in scene)
    return Photos(PhotoSet(inputs, "linear", ["scene"]), PhotoSet(targets, "display", ["scene"]), paired=True)
