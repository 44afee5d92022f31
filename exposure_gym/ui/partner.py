"""The agent as a partner: what it would do next, the rest of the game, and several ways to play all of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from exposure_gym.filters import Filter
from exposure_gym.photo import Image3, Reading, Space
from exposure_gym.recipe import Edit, Recipe

if TYPE_CHECKING:
    from exposure_gym.agents.exposure import ExposureAgent

WAYS = 5


class Absent(Exception):
    """There is no agent to ask; one line."""


class Suggestion(NamedTuple):
    """The agent's next edit."""

    edit: Edit
    probabilities: dict[str, float]
    """Of choosing each filter, by name; they add up to 1."""


class Partner:
    """An agent, or the reason why there is none.

    :param agent: None where there is none; :param message: why. May be called from several threads.
    """

    def __init__(self, agent: ExposureAgent | None, message: str = "") -> None:
        self.agent, self.message = agent, message
        self.reading: Reading = "linear" if agent is None else agent.reading
        self.space: Space = "srgb" if agent is None else agent.working_space
        self._lock = threading.Lock()

    @classmethod
    def load(cls, model: Path | None, filters: Sequence[Filter]) -> Partner:
        """The agent in a file or folder, by default the shipped one.

        :param filters: of the game; an agent that plays with others is no partner in it.
        """
        from exposure_gym.agents.exposure import ExposureAgent
        from exposure_gym.rewards import WEIGHTS

        try:
            agent = ExposureAgent.load(WEIGHTS if model is None else model, device="cpu")
        except (ValueError, OSError) as error:
            return cls(None, f"there is no agent: {error}")
        strange = {each.name for each in agent.game.filters} - {each.name for each in filters}
        if strange or agent.game.masks:
            what = f"the filters {', '.join(sorted(strange))}" if strange else "local masks"
            return cls(None, f"this agent plays with {what}, which the editor does not have")
        return cls(agent)

    def suggest(self, pixels: Image3, edits: Sequence[Edit]) -> Suggestion:
        """The next edit after some others.

        :param pixels: ``(H, W, 3)`` the photograph as it begins.
        :raises Absent: there is no agent.
        """
        (made,), (chances,) = self._decide([pixels], edits, None, 1)
        return Suggestion(made[len(edits)], chances)

    def finish(self, pixels: Image3, edits: Sequence[Edit], count: int) -> list[Edit]:
        """At most ``count`` edits more: as many as the agent learned to make in all, and at least one."""
        (made,), _ = self._decide([pixels], edits, None, None)
        return made[len(edits) :][:count]

    def ways(self, pixels: Image3, edits: Sequence[Edit], count: int) -> list[list[Edit]]:
        """Several games that begin with the same edits, each of at most ``count`` edits in all.

        The first is the agent's steadiest; the others have chance in it, the same for the same photograph.
        """
        best, _ = self._decide([pixels], edits, None, None)
        others, _ = self._decide([pixels] * (WAYS - 1), edits, range(1, WAYS), None)
        return [made[:count] for made in best + others]

    def _decide(
        self, photos: Sequence[Image3], edits: Sequence[Edit], seeds: Sequence[int] | None, max_edits: int | None
    ) -> tuple[list[list[Edit]], list[dict[str, float]]]:
        if self.agent is None:
            raise Absent(self.message)
        from exposure_gym.agents.exposure.retouching import Brief

        brief = Brief(max_edits=max_edits, start=Recipe(tuple(edits), self.space) if edits else None)
        with self._lock:
            decisions = self.agent.retouch_many(photos, seeds=seeds, brief=brief)
        return [list(each.recipe.edits) for each in decisions], [each.probabilities[0] for each in decisions]
