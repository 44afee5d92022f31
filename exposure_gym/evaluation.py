"""Playing whole episodes without learning, and how good an agent is on photographs it never saw.

The measure is the paper's: the histogram intersection of a set of results with a set of finished photographs, which
may show other things (:func:`exposure_gym.metrics.histogram_intersection`). Every photograph of a folder enters with
five crops (:func:`exposure_gym.metrics.five_crops`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exposure_gym.color import Space
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.metrics import HistogramIntersection, five_crops, histogram_intersection, photo_statistics
from exposure_gym.photo import PhotoError, Reading, read_display, read_input
from exposure_gym.rewards import RewardModel

if TYPE_CHECKING:
    from exposure_gym.agents.exposure import ExposureAgent
    from exposure_gym.data import Photos

Player = Callable[[GameState], tuple[Tensor, Tensor]]
"""Chooses an edit for each game: filter index ``(B,)`` int64 and parameters ``(B, num_parameters)`` in [-1, 1]."""

BATCH = 128
"""Pictures that :func:`retouch_pictures` works on at a time."""


class Episode(NamedTuple):
    """``B`` whole games side by side."""

    images: list[Tensor]
    """``max_steps + 1`` times ``(B, 3, S, S)``: linear light first, display values last."""
    penalty: Tensor
    """``(B,)``: the sum of all penalties."""


@torch.no_grad()
def play(game: RetouchGame, image: Tensor, player: Player) -> Episode:
    """Play one episode on each picture: ``(B, 3, S, S)`` linear light."""
    state = game.start(image)
    images, penalty = [image], image.new_zeros(len(image))
    for _ in range(game.max_steps):
        step = game.transition(state, *player(state))
        state = step.state
        images.append(state.image)
        penalty = penalty + torch.stack(list(step.penalties.values())).sum(dim=0)
    return Episode(images, penalty)


def agent_player(agent: ExposureAgent, seed: int | None = 0) -> Player:
    """The agent as published: dropout stays on, and the most probable filter is taken.

    :param seed: of the dropout noise, which is the player's own: the agent's generators are not touched. ``None``
        turns dropout off.
    """
    noise = None if seed is None else torch.Generator(agent.device).manual_seed(seed)
    return lambda state: agent.policy.act(state, noise)[:2]


def random_player(game: RetouchGame, generator: torch.Generator) -> Player:
    """Any filter with any parameters, all alike probable. :param generator: on the CPU."""

    def player(state: GameState) -> tuple[Tensor, Tensor]:
        count, device = len(state.step), state.step.device
        index = torch.randint(len(game.filters), (count,), generator=generator)
        parameters = 2.0 * torch.rand(count, game.num_parameters, generator=generator) - 1.0
        return index.to(device), parameters.to(device)

    return player


def episode_reward(reward: RewardModel, episode: Episode) -> Tensor:
    """``(B,)``: the sum of each game's rewards, as the environment gives them; doing nothing earns 0."""
    gain = reward.potential(episode.images[-1]) - reward.potential(episode.images[0])
    return gain - episode.penalty.to(gain.device)


def retouch_pictures(agent: ExposureAgent, pictures: NDArray[np.float32], seed: int | None = 0) -> NDArray[np.float32]:
    """Retouch small square pictures.

    :param pictures: ``(N, S, S, 3)`` linear light in the agent's working space, S as its networks want it.
    :param seed: as for :func:`agent_player`.
    :return: ``(N, S, S, 3)`` display values, at least 0, not clipped at 1.
    """
    return play_pictures(agent.game, pictures, agent_player(agent, seed), agent.device)


def play_pictures(
    game: RetouchGame, pictures: NDArray[np.float32], player: Player, device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """The last pictures of whole games: ``(N, S, S, 3)`` to start from, and as many that came out, not clipped at 1."""
    results = np.empty_like(pictures)
    for start in range(0, len(pictures), BATCH):
        batch = torch.from_numpy(np.ascontiguousarray(pictures[start : start + BATCH].transpose(0, 3, 1, 2)))
        after = play(game, batch.to(device), player).images[-1]
        results[start : start + BATCH] = after.cpu().numpy().transpose(0, 2, 3, 1)
    return results


@dataclass(frozen=True, eq=False)
class HeldOutPhotos:
    """Photographs kept from training, to measure an agent on.

    :param inputs: ``(N, S, S, 3)``, read as the agent's own inputs are.
    :param targets: ``(M, 3)`` statistics of finished photographs (:func:`exposure_gym.metrics.photo_statistics`).
    """

    inputs: NDArray[np.float32]
    targets: NDArray[np.float64]

    @classmethod
    def from_files(
        cls,
        inputs: Iterable[str | PathLike[str]],
        targets: Iterable[str | PathLike[str]],
        *,
        size: int = 64,
        space: Space = "srgb",
        reading: Reading = "linear",
        on_error: Callable[[Path, ValueError], None] | None = None,
    ) -> HeldOutPhotos:
        """Five crops of every file.

        :param space: of the inputs, the agent's ``working_space``; :param reading: of the inputs, the agent's
            ``reading``.
        :param on_error: called for a file that cannot be read, which is left out; without it such a file raises.
        :raises exposure_gym.photo.PhotoError: a file cannot be read; :class:`ValueError`: there are none.
        """

        def each(paths: Iterable[str | PathLike[str]], measure: Callable[[Path], NDArray[Any]]) -> list[NDArray[Any]]:
            found = []
            for path in map(Path, paths):
                try:
                    found.append(measure(path))
                except PhotoError as error:
                    if on_error is None:
                        raise
                    on_error(path, error)
            return found

        crops = each(
            inputs, lambda path: five_crops(read_input(path, reading, space=space, half_size=True).pixels, size)
        )
        statistics = np.concatenate([np.empty((0, 3)), *each(targets, lambda path: display_statistics([path], size))])
        if not crops or not len(statistics):
            raise ValueError("held-out photos need at least one input and one target")
        return cls(np.concatenate(crops), statistics)

    @classmethod
    def from_photos(cls, photos: Photos, size: int = 64) -> HeldOutPhotos:
        """Every crop of a photo set, whole."""
        inputs, targets = (
            np.stack([set_.get(i, size) for i in range(len(set_))]).transpose(0, 2, 3, 1)
            for set_ in (photos.inputs, photos.targets)
        )
        return cls(inputs, photo_statistics(targets))

    def evaluate(self, agent: ExposureAgent) -> HistogramIntersection:
        """How much the agent's results share with the finished photographs, with dropout noise of seed 0."""
        return histogram_intersection(photo_statistics(retouch_pictures(agent, self.inputs)), self.targets)


def display_statistics(paths: Iterable[str | PathLike[str]], size: int = 64) -> NDArray[np.float64]:
    """Statistics of five crops of every finished photograph: ``(5 N, 3)``.

    :raises exposure_gym.photo.PhotoError: a file cannot be read.
    """
    rows: Sequence[NDArray[np.float64]] = [
        photo_statistics(five_crops(read_display(path).pixels, size)) for path in paths
    ]
    return np.concatenate([np.empty((0, 3)), *rows])
