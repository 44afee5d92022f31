"""The paper's agent at work: photographs in, edits out, many at a time and within what a person asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from exposure_gym.agents.exposure.decision import Decision
from exposure_gym.agents.exposure.networks import Noise
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.photo import to_square
from exposure_gym.recipe import Edit, Recipe

if TYPE_CHECKING:
    from exposure_gym.agents.exposure.agent import ExposureAgent

BATCH = 8
"""Photographs decided at a time, always as many: matrix products of other sizes round otherwise, and an edit would
depend on which other photographs were given."""


@dataclass(frozen=True)
class Brief:
    """What a person asks of an agent.

    :param only: names of the filters that it may use, each once; None for all it knows, as often as it likes. It
        learned with all of them and that to repeat one is punished (published ``filter_usage_penalty``), so with few it
        would repeat for want of another. It stops instead when it has used them all.
    :param max_edits: how many edits it may make; None for as many as it learned to make, less those of ``start``. Never
        more than it learned.
    :param start: an edit that the person made already, which the agent goes on from. Its edits count as played.
    :raises ValueError: ``max_edits`` is below 1, or ``only`` is empty.
    """

    only: tuple[str, ...] | None = None
    max_edits: int | None = None
    start: Recipe | None = None

    def __post_init__(self) -> None:
        if self.max_edits is not None and self.max_edits < 1:
            raise ValueError(f"max_edits {self.max_edits} must be at least 1")
        if self.only is not None and not self.only:
            raise ValueError("an agent that may use no filter makes no edit; name at least one")

    def allowed(self, game: RetouchGame) -> torch.Tensor | None:
        """``(F,)`` bool: which of a game's filters may be used; None for all.

        :raises ValueError: naming a filter that is not in the game.
        """
        names = [filter_.name for filter_ in game.filters]
        if self.only is None:
            return None
        for name in self.only:
            if name not in names:
                raise ValueError(f"unknown filter {name!r}: this model's are {', '.join(names)}")
        return torch.tensor([name in self.only for name in names])

    def begin(self, game: RetouchGame, image: torch.Tensor) -> tuple[GameState, int]:
        """The games to play, after the edits of ``start``, and the number of edits to make in each.

        One edit is always left to make, unless ``start`` used all filters of ``only``.
        """
        state, before = game.start(image), list(self.start or ())
        if before and self.start is not None:
            limit = np.inf if game.image_limit is None else game.image_limit
            used = {edit.filter for edit in before}
            marks = image.new_tensor([float(filter_.name in used) for filter_ in game.filters])
            step = min(len(before), game.max_steps - 1)
            edited = self.start.apply(image).clamp(0.0, limit)
            state = GameState(edited, marks.expand_as(state.filters_used), torch.full_like(state.step, step))
        count = game.max_steps - int(state.step[0])
        if self.max_edits is not None:
            count = min(self.max_edits, game.max_steps)
        if self.only is not None:
            count = min(count, len(set(self.only) - {edit.filter for edit in before}))
        return state, count


ANYTHING = Brief()


@torch.no_grad()
def decide(agent: ExposureAgent, image: torch.Tensor, noise: Noise, brief: Brief = ANYTHING) -> list[Decision]:
    """Play whole episodes, taking the most probable filter each time.

    :param image: ``(B, 3, S, S)`` as the agent's inputs are read; :param noise: of dropout.
    :return: for each picture the recipe, which begins with the edits of ``brief.start``, and the policy's opinions
        before each edit that it made.
    :raises ValueError: the brief names a filter that the agent does not know.
    """
    game, allowed = agent.game, brief.allowed(agent.game)
    state, count = brief.begin(game, image)
    names = [filter_.name for filter_ in game.filters]
    made: list[list[Edit]] = [list(brief.start or ()) for _ in range(len(image))]
    opinions: list[list[dict[str, float]]] = [[] for _ in range(len(image))]
    for _ in range(count):
        choice = None if allowed is None else allowed.to(image.device) & (state.filters_used == 0)
        index, parameters, policy = agent.policy.act(state, noise, allowed=choice)
        for edits, edit in zip(made, game.edits(index, parameters), strict=True):
            edits.append(edit)
        for opinion, chances in zip(opinions, policy.probabilities.tolist(), strict=True):
            opinion.append(dict(zip(names, chances, strict=True)))
        state = game.transition(state, index, parameters).state
        state = state._replace(
            step=state.step.clamp(max=game.max_steps - 1)
        )  # after a long start, the last is played again
    recipes = [Recipe(tuple(edits), agent.working_space) for edits in made]
    return [Decision(recipe, tuple(opinion)) for recipe, opinion in zip(recipes, opinions, strict=True)]


def retouch(
    agent: ExposureAgent,
    photos: Sequence[NDArray[np.float32]],
    generators: Sequence[torch.Generator] | None,
    brief: Brief = ANYTHING,
) -> list[Decision]:
    """Decide how to retouch photographs: each as if it were alone.

    :param photos: ``(H, W, 3)`` each, of any sizes; the agent sees their central squares.
    :param generators: of each one's dropout noise; None for none.
    :return: a decision for each.
    """
    decisions: list[Decision] = []
    for first in range(0, len(photos), BATCH):
        views = [to_square(photo, agent.image_size) for photo in photos[first : first + BATCH]]
        empty = BATCH - len(views)
        image = np.stack([*views, *[np.zeros_like(views[0])] * empty]).transpose(0, 3, 1, 2)
        noise: Any = None
        if generators is not None:
            noise = [*generators[first : first + BATCH], *[torch.Generator(agent.device)] * empty]
        tensor = torch.from_numpy(np.ascontiguousarray(image)).to(agent.device)
        decisions += decide(agent, tensor, noise, brief)[: len(views)]
    return decisions
