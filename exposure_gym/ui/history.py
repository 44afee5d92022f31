"""What happened to a photograph, action by action: which edits stand, and which can be undone or made again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from exposure_gym.recipe import Edit

Actor = Literal["person", "agent"]
Kind = Literal[
    "open", "edit", "change", "remove", "undo", "redo", "ask", "finish", "ways", "choose", "saving", "done", "failed"
]
"""``edit`` appends a step, ``change`` goes back to one; ``saving`` says which files are about to be written."""

CHANGES = frozenset({"edit", "change", "remove", "finish", "choose"})


class Made(NamedTuple):
    """An edit and who made it."""

    edit: Edit
    by: Actor


Edits = tuple[Made, ...]


@dataclass(frozen=True)
class Action:
    """Something that happened to a photograph."""

    kind: Kind
    actor: Actor
    edits: Edits
    """That stand afterwards."""
    step: int | None = None
    """The step that it was about, from 0."""
    offered: tuple[tuple[Edit, ...], ...] = ()
    """By the agent: one edit for ``ask``, several lists for ``ways``."""
    saved: tuple[str, ...] = ()
    """Names of the files, for ``saving`` and ``done``."""
    score: float | None = None
    """Of the picture afterwards."""
    start_score: float | None = None
    """Of the photograph as it begins."""
    rewards: tuple[float, ...] = ()
    """Of each of ``edits``, as the environment gave them."""
    note: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class History:
    """The sum of all actions on a photograph."""

    edits: Edits = ()
    past: tuple[Edits, ...] = ()
    """To go back to, the latest last."""
    future: tuple[Edits, ...] = ()
    """To go forward to, the nearest last."""
    offered: tuple[Edit, ...] = ()
    """What the agent proposed so far."""
    saving: tuple[str, ...] = ()
    saved: tuple[str, ...] | None = None
    """The files, once it is done."""
    opened: bool = False

    @property
    def recipe(self) -> tuple[Edit, ...]:
        """The edits that stand."""
        return tuple(made.edit for made in self.edits)

    def after(self, action: Action) -> History:
        """With one action more."""
        if action.kind in CHANGES:
            return replace(self, edits=action.edits, past=(*self.past, self.edits), future=())
        if action.kind == "undo":
            return replace(self, edits=action.edits, past=self.past[:-1], future=(*self.future, self.edits))
        if action.kind == "redo":
            return replace(self, edits=action.edits, past=(*self.past, self.edits), future=self.future[:-1])
        if action.kind in ("ask", "ways"):
            return replace(self, offered=self.offered + sum(action.offered, ()))
        if action.kind == "saving":
            return replace(self, saving=action.saved)
        if action.kind == "done":
            return replace(self, saved=action.saved)
        return replace(self, opened=self.opened or action.kind == "open")

    @classmethod
    def of(cls, actions: Sequence[Action]) -> History:
        """All of them in turn."""
        history = cls()
        for action in actions:
            history = history.after(action)
        return history

    def made(self, edit: Edit) -> Made:
        """Whose an edit is: the agent's, if it is one that it proposed."""
        return Made(edit, "agent" if any(_alike(edit, other) for other in self.offered) else "person")


def _alike(one: Edit, other: Edit) -> bool:
    return one.filter == other.filter and all(
        math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) for a, b in zip(one.parameters, other.parameters, strict=True)
    )


def edits_as_json(edits: Edits) -> list[dict[str, Any]]:
    """In physical parameters, as a recipe has them."""
    return [{"filter": e.filter, "parameters": list(e.parameters), "by": by} for e, by in edits]


def edits_from_json(data: Any) -> Edits:
    """The inverse.

    :raises ValueError: they are no edits.
    """
    try:
        return tuple(
            Made(Edit(each["filter"], tuple(each["parameters"])), "agent" if each["by"] == "agent" else "person")
            for each in data
        )
    except (TypeError, LookupError):
        raise ValueError("these are no edits") from None
