"""The training sheet in numbers: whole episodes and what the critic makes of them, and the three sets of pictures
that the critic learns from (published ``visualize``, ``net.py``; the paper shows such a sheet as its training figure).

:mod:`exposure_gym.agents.exposure.sheet_figure` draws it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exposure_gym.agents.exposure.agent import ExposureAgent
from exposure_gym.filters import ALL_FILTERS
from exposure_gym.recipe import Edit

Array = NDArray[np.float32]

SEED = 0
"""Of the photographs shown and of the dropout noise: every sheet of a training shows the same ones."""

WISHES = {
    ("gamma", 0.8): ("brighter", "darker"),  # in the shadows too, where exposure changes next to nothing
    ("contrast", 1.0): ("more contrast", "less contrast"),
    ("saturation", 1.0): ("more colour", "less colour"),
}
"""Plain edits that a gradient is put into words with: a filter with its parameter, what it does and its opposite."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """One photograph's episode of T edits."""

    frames: Array
    """``(T + 1, S, S, 3)``: linear light first, display values last."""
    gradients: Array
    """``(T + 1, S, S, 3)``: how the critic's score changes with each value: the change that it asks for."""
    wishes: tuple[str, ...]
    """``T + 1`` times that change in a word or two."""
    scores: Array
    """``(T + 1,)`` of the critic, centred as in :class:`TrainingSheet`."""
    values: Array
    """``(T,)``: the reward that the agent expects from each frame on; none is left after the last."""
    edits: tuple[Edit, ...]
    rewards: Array
    """``(T,)``, with the game's penalties and without the entropy term, which is no matter of the edit."""
    probabilities: Array
    """``(T, F)`` of choosing each filter."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures and the critic's scores of them, centred as in :class:`TrainingSheet`."""

    pictures: Array
    """``(N, S, S, 3)``."""
    scores: Array
    """``(N,)``."""


@dataclass(frozen=True, eq=False)
class TrainingSheet:
    """A training at one moment. A score says little by itself, so that 0 is halfway between results and targets."""

    iteration: int
    iterations: int
    filters: tuple[str, ...]
    sequences: tuple[Sequence, ...]
    pool: Gallery
    """Games from the replay pool, in the order of their edits."""
    pool_steps: NDArray[np.int64]
    """``(N,)`` edits made in them."""
    results: Gallery
    """Fresh photographs at the end of their episodes; the first ones are those of ``sequences``."""
    targets: Gallery

    @property
    def emd(self) -> float:
        """How far the critic holds results and targets apart."""
        return float(self.targets.scores.mean() - self.results.scores.mean())


def training_sheet(agent: ExposureAgent, sequences: int = 4, pictures: int = 32) -> TrainingSheet:
    """Look at an agent that is learning; nothing of it is changed, and none of its random states.

    The agent plays as it is measured: dropout on, the most probable filter taken.

    :param agent: with a replay pool: one that has begun to learn.
    :param sequences: photographs shown step by step.
    :param pictures: in each of the three galleries; the pool may have fewer.
    :raises ValueError: the agent has not begun to learn.
    """
    if agent.pool is None:
        raise ValueError("this agent has no replay pool yet: let it learn first")
    size, rng = agent.policy.critic.image_size, np.random.default_rng(SEED)
    inputs, targets = (
        torch.from_numpy(photos.sample(pictures, rng, size)).to(agent.device)
        for photos in (agent.photos.inputs, agent.photos.targets)
    )
    pool = agent.pool.state
    order = torch.argsort(pool.step, stable=True)
    shown = order[torch.linspace(0, len(order) - 1, min(pictures, len(order)), device=order.device).long()]
    episodes = _play(agent, inputs, sequences)
    with torch.no_grad():
        pool_scores, target_scores = (agent.policy.critic(each).float() for each in (pool.image[shown], targets))
    centre = (episodes.scores[-1].mean() + target_scores.mean()) / 2.0
    return TrainingSheet(
        iteration=agent.num_timesteps // agent.batch_size,
        iterations=agent._total_timesteps // agent.batch_size,
        filters=tuple(filter_.name for filter_ in agent.game.filters),
        sequences=tuple(episodes.sequence(agent, i, centre) for i in range(min(sequences, pictures))),
        pool=Gallery(_pictures(pool.image[shown]), _array(pool_scores - centre)),
        pool_steps=pool.step[shown].cpu().numpy(),
        results=Gallery(_pictures(episodes.frames[-1]), _array(episodes.scores[-1] - centre)),
        targets=Gallery(_pictures(targets), _array(target_scores - centre)),
    )


@dataclass(frozen=True, eq=False)
class _Episodes:
    """``B`` episodes side by side; the first axis of all is time. Only the first few have gradients."""

    frames: Tensor
    gradients: Tensor
    scores: Tensor
    values: Tensor
    rewards: Tensor
    probabilities: Tensor
    edits: list[list[Edit]]

    def sequence(self, agent: ExposureAgent, i: int, centre: Tensor) -> Sequence:
        return Sequence(
            frames=_pictures(self.frames[:, i]),
            gradients=_pictures(self.gradients[:, i]),
            wishes=tuple(map(wish, self.frames[:, i], self.gradients[:, i])),
            scores=_array(self.scores[:, i] - centre),
            values=_array(self.values[:, i]),
            edits=tuple(step[i] for step in self.edits),
            rewards=_array(self.rewards[:, i]),
            probabilities=_array(self.probabilities[:, i]),
        )


def _play(agent: ExposureAgent, inputs: Tensor, gradients: int) -> _Episodes:
    game, policy = agent.game, agent.policy
    noise = torch.Generator(agent.device).manual_seed(SEED)
    state = game.start(inputs)
    rows: dict[str, list[Tensor]] = {name: [] for name in ("frames", "gradients", "scores", "values", "costs", "odds")}
    edits = []
    for step in range(game.max_steps + 1):
        rows["frames"].append(state.image)
        rows["gradients"].append(policy.critic.slope(state.image[:gradients])[0])
        with torch.no_grad():
            rows["scores"].append(policy.critic(state.image))
            if step == game.max_steps:
                break
            rows["values"].append(policy.value(state.image, game.state_vector(state)))
            index, parameters, opinion = policy.act(state, noise)
            transition = game.transition(state, index, parameters)
        state = transition.state
        rows["costs"].append(torch.stack(list(transition.penalties.values())).sum(dim=0))
        rows["odds"].append(opinion.probabilities)
        edits.append(game.edits(index, parameters))
    frames, slopes, scores, values, costs, odds = (torch.stack(row) for row in rows.values())
    return _Episodes(frames, slopes, scores, values, agent.score_weight * scores.diff(dim=0) - costs, odds, edits)


def wish(image: Tensor, gradient: Tensor) -> str:
    """Which of the plain edits in :data:`WISHES`, or its opposite, raises the score most for its size.

    :param image: ``(3, S, S)``; :param gradient: ``(3, S, S)`` of the score.
    """
    slopes = {}
    for (name, parameter), words in WISHES.items():
        edited = ALL_FILTERS[name].apply(image[None], image.new_full((1, 1), parameter))[0]
        change = edited - image
        slope = float((gradient * change).sum() / (change.norm() + 1e-12))
        slopes[words[slope < 0]] = abs(slope)
    return max(slopes, key=lambda words: slopes[words])


def _pictures(images: Tensor) -> Array:
    """``(N, 3, S, S)`` to ``(N, S, S, 3)``."""
    return _array(images.permute(0, 2, 3, 1))


def _array(values: Tensor) -> Array:
    array: Array = values.detach().float().cpu().numpy()
    return array
