"""What people did in the editor as demonstrations: to clone their behaviour, or for any library that reads Minari.

``exposure-gym play`` keeps every game in ``sessions.sqlite``, with the picture it was played on at the size that a
player of :class:`exposure_gym.envs.PhotoRetouchEnv` sees, so the photographs themselves are not needed here. Each game
is played again through that environment: observations and actions are its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from exposure_gym.ui.study import Game

Observation = dict[str, Tensor]
Action = dict[str, Tensor]


class Episode(NamedTuple):
    """One game of ``T`` edits."""

    player: str
    """The person's name."""
    photo: str
    """The photograph's."""
    by: tuple[str, ...]
    """``"person"``, or ``"agent"`` where the person took what the agent proposed; ``T`` of them."""
    observations: dict[str, NDArray[Any]]
    """``image`` (T + 1, 64, 64, 3) float32, ``filters_used`` (T + 1, 8) int8, ``step`` (T + 1,) int64."""
    actions: dict[str, NDArray[Any]]
    """``filter`` (T,) int64, ``parameters`` (T, 39) float32 in [-1, 1], 0 where they do not act."""
    rewards: tuple[float, ...]
    """That the environment gave when the game was played."""
    max_steps: int
    """Edits that the game allowed. A person may be done with fewer: the episode was truncated then."""


class Demonstrations(Dataset[tuple[Observation, Action]]):
    """Steps that people made: ``(observation, action)`` pairs of tensors, of ``PhotoRetouch-v0``.

    ``observation`` is a dict of ``image`` (64, 64, 3) float32, ``filters_used`` (8,) int8 and ``step`` () int64;
    ``action`` one of ``filter`` () int64 and ``parameters`` (39,) float32. A ``DataLoader`` makes batches of them.

    :param episodes: whole games.
    :param by: ``"person"`` leaves out steps that the agent proposed.
    """

    def __init__(self, episodes: Sequence[Episode], by: Literal["anyone", "person"] = "anyone") -> None:
        self.episodes = list(episodes)
        self._places = [
            (i, step)
            for i, episode in enumerate(self.episodes)
            for step, maker in enumerate(episode.by)
            if by == "anyone" or maker == by
        ]

    @classmethod
    def load(
        cls,
        sessions: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        players: Iterable[str] | None = None,
        by: Literal["anyone", "person"] = "anyone",
        finished: bool = True,
    ) -> Demonstrations:
        """Read one or more files of sessions, or the folders that ``exposure-gym play`` wrote to.

        :param players: only those of these people.
        :param by: ``"person"`` leaves out steps that the agent proposed.
        :param finished: only photographs that were said to be done.
        :raises ValueError: a file is none of sessions, or damaged; one line.
        """
        from exposure_gym.ui.store import Store
        from exposure_gym.ui.study import games

        wanted = None if players is None else set(players)
        paths = [sessions] if isinstance(sessions, (str, os.PathLike)) else sessions
        episodes = []
        for path in paths:
            with Store.existing(Path(path)) as store:
                for game in games(store):
                    is_wanted = wanted is None or game.session.user in wanted
                    is_done = game.history.saved is not None or not finished
                    view = store.view(game.rows[0].sha256, game.rows[0].reading, game.session.space)
                    if game.edits and is_wanted and is_done and view is not None:
                        episodes.append(_played(game, view))
        return cls(episodes, by)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[Observation, Action]:
        i, step = self._places[index]
        episode = self.episodes[i]
        observation = {name: torch.as_tensor(values[step]) for name, values in episode.observations.items()}
        return observation, {name: torch.as_tensor(values[step]) for name, values in episode.actions.items()}

    def to_minari(self, dataset_id: str, **about: Any) -> Any:
        """Write the episodes as a Minari dataset, where Minari keeps its own (``MINARI_DATASETS_PATH``).

        Needs ``pip install "minari[hdf5]"``.

        :param dataset_id: such as ``"photo-retouch/people-v0"``.
        :param about: for ``minari.create_dataset_from_buffers``: ``author``, ``author_email``, ``description``, ...
        :return: the ``minari.MinariDataset``.
        :raises ImportError: Minari, or what it needs to write files, is not installed.
        :raises ValueError: there are no episodes, or they are of games of different lengths.
        """
        import gymnasium as gym
        import minari
        from minari.data_collector import EpisodeBuffer

        import exposure_gym  # noqa: F401  (registers the environment)
        from exposure_gym.game import RetouchGame
        from exposure_gym.spaces import action_space, observation_space

        lengths = {episode.max_steps for episode in self.episodes}
        if len(lengths) != 1:
            raise ValueError(
                "a Minari dataset is of one environment: give games that all allow the same number of steps"
            )
        (max_steps,) = lengths
        game = RetouchGame(max_steps=max_steps)
        spec = deepcopy(gym.spec("PhotoRetouch-v0"))
        spec.kwargs = {"max_steps": max_steps}
        buffers = []
        for number, episode in enumerate(self.episodes):
            last = len(episode.rewards) == max_steps
            ends = [False] * (len(episode.rewards) - 1)
            buffers.append(
                EpisodeBuffer(
                    id=number,
                    observations=episode.observations,
                    actions=episode.actions,
                    rewards=list(episode.rewards),
                    terminations=[*ends, last],
                    truncations=[*ends, not last],
                )
            )
        size = self.episodes[0].observations["image"].shape[1]
        options = {"algorithm_name": "people in exposure-gym play", "description": __doc__, "eval_env": spec} | about
        return minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            env=spec,
            observation_space=observation_space(game, size),
            action_space=action_space(game),
            **options,
        )


def _played(game: Game, view: NDArray[np.float32]) -> Episode:
    """A game once more, for what its player saw."""
    from exposure_gym.ui.referee import NoCritic, Referee

    env = Referee(game.session.max_steps, NoCritic()).env
    observation, _ = env.reset(options={"photo": view})
    observations, actions = [observation], []
    for made in game.edits:
        actions.append(env.form.action_from_edit(made.edit))
        observations.append(env.step(actions[-1])[0])
    return Episode(
        game.session.user,
        game.photo.name,
        tuple(made.by for made in game.edits),
        _stacked(observations),
        _stacked(actions),
        game.rewards,
        game.session.max_steps,
    )


def _stacked(rows: Sequence[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
