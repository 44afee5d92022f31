"""One photograph on the table: a person's game, driven through the environment and written down move by move."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from exposure_gym.photo import Reading
from exposure_gym.recipe import Edit
from exposure_gym.ui import pictures
from exposure_gym.ui.controls import edit_to_page, figure
from exposure_gym.ui.history import Action, Actor, Edits, History, Kind, Made
from exposure_gym.ui.partner import Partner
from exposure_gym.ui.pictures import WAY_EDGE, Print, Proof
from exposure_gym.ui.referee import Referee, Trajectory
from exposure_gym.viz import Rgb8


class GameOver(ValueError):
    """What was asked for does not go any more; one line."""


class Table:
    """A photograph that was opened.

    Every method that changes something asks the referee, hands the action to ``record``, and only then changes the
    table: what could not be written down did not happen. One thread at a time.

    :param record: writes an action down.
    """

    def __init__(
        self,
        proof: Proof,
        size: tuple[int, int] | None,
        history: History,
        referee: Referee,
        record: Callable[[Action], None],
    ) -> None:
        self.proof, self.size = proof, size
        self.history, self._referee, self._record = history, referee, record
        self.view = proof.view
        self.trajectory = referee.play(self.view, history.recipe)

    # -- playing -------------------------------------------------------------------------------------------------------

    @property
    def steps_left(self) -> int:
        """Edits that may still be made."""
        return 0 if self.history.saved is not None else self._referee.max_steps - len(self.history.edits)

    def edit(self, step: int, edit: Edit) -> None:
        """Append an edit, or go back to a step and change it.

        :raises GameOver: no steps are left, or the photograph is done.
        :raises ValueError: no such step, or the game does not have the edit.
        """
        edits = self._with(step, edit, through=True)
        self._play("edit" if step == len(self.history.edits) else "change", edits, step)

    def remove(self, step: int) -> None:
        """Take a step out; errors as for :meth:`edit`."""
        edits = self.history.edits
        self._check_step(step, len(edits) - 1)
        self._play("remove", edits[:step] + edits[step + 1 :], step)

    def undo(self) -> None:
        """Take back what was done last."""
        self._to("undo", self.history.past, "undo")

    def redo(self) -> None:
        """Do again what was taken back."""
        self._to("redo", self.history.future, "do again")

    def choose(self, edits: Sequence[Edit]) -> None:
        """Replace all steps, for example by one of the agent's ways."""
        made = tuple(map(self.history.made, edits))
        agent = bool(made) and all(each.by == "agent" for each in made)
        self._play("choose", made, None, "agent" if agent else "person")

    def finish(self, partner: Partner) -> None:
        """Let the agent play the rest."""
        self.check_open()
        if not self.steps_left:
            raise GameOver("no steps are left; undo one or press done")
        edits = partner.finish(self.proof.pixels, self.history.recipe, self.steps_left)
        self._play("finish", self.history.edits + tuple(Made(edit, "agent") for edit in edits), None, "agent")

    def note(self, kind: Kind, actor: Actor = "person", **more: Any) -> None:
        """Write down what changes no edit."""
        trajectory = self.trajectory
        self._add(
            Action(
                kind,
                actor,
                self.history.edits,
                score=trajectory.last_score,
                start_score=trajectory.score,
                rewards=tuple(trajectory.rewards),
                **more,
            )
        )

    def _to(self, kind: Kind, states: tuple[Edits, ...], what: str) -> None:
        self.check_open()
        if not states:
            raise GameOver(f"there is nothing to {what}")
        self._play(kind, states[-1], None)

    def _play(self, kind: Kind, edits: Edits, step: int | None, actor: Actor | None = None) -> None:
        self.check_open()
        trajectory = self._referee.play(self.view, [made.edit for made in edits])
        played = tuple(Made(move.edit, made.by) for move, made in zip(trajectory.moves, edits, strict=True))
        if actor is None:
            actor = played[step].by if kind in ("edit", "change") and step is not None else "person"
        rewards = tuple(trajectory.rewards)
        action = Action(
            kind, actor, played, step, score=trajectory.last_score, start_score=trajectory.score, rewards=rewards
        )
        self._add(action)
        self.trajectory = trajectory

    def _add(self, action: Action) -> None:
        self._record(action)
        self.history = self.history.after(action)

    def _with(self, step: int, edit: Edit, through: bool) -> Edits:
        """The edits with one at this step, and those behind it if they are wanted."""
        edits = self.history.edits
        self.check_open()
        self._check_step(step, len(edits))
        if step == self._referee.max_steps:
            raise GameOver("no steps are left; undo one, change one or press done")
        return (*edits[:step], self.history.made(edit), *(edits[step + 1 :] if through else ()))

    def check_open(self) -> None:
        """Raise :class:`GameOver` if the photograph is done."""
        if self.history.saved is not None:
            raise GameOver("this photo is done")

    def _check_step(self, step: int, last: int) -> None:
        if not 0 <= step <= last:
            raise ValueError(f"there is no step {step}")

    # -- seeing --------------------------------------------------------------------------------------------------------

    def picture(self, step: int, long_edge: int | None = None) -> bytes:
        """A JPEG of the photograph after so many edits; before the first one, encoded as a screen shows light."""
        codes = self._codes(step)
        return pictures.jpeg(codes if long_edge is None else pictures.small(codes, long_edge))

    def histogram(self, step: int) -> dict[str, Any]:
        """That of the same picture."""
        bins, clipped = pictures.histogram(self._codes(step))
        return {"histogram": bins, "clipped": clipped}

    def _codes(self, step: int) -> Rgb8:
        edits = self.history.recipe
        self._check_step(step, len(edits))
        return self.proof.edited(edits[:step], max(0, step - 1)) if step else self.proof.before()

    def preview(self, step: int, edit: Edit, through: bool, blind: bool) -> dict[str, Any]:
        """What an edit at a step would look like and earn; nothing is changed and nothing written down."""
        made = self._with(step, edit, through)
        trajectory = self._referee.play(self.view, [each.edit for each in made])
        edits = [move.edit for move in trajectory.moves]
        seen = pictures.printed(self.proof.edited(edits, step))
        return self._seen(seen, trajectory, step, blind)

    def ask(self, partner: Partner, blind: bool) -> dict[str, Any]:
        """What the agent would do next, and what that would look like and earn."""
        self.check_open()
        if not self.steps_left:
            raise GameOver("no steps are left; undo one or press done")
        edit, probabilities = partner.suggest(self.proof.pixels, self.history.recipe)
        step = len(self.history.edits)
        trajectory = self._referee.play(self.view, [*self.history.recipe, edit])
        edit = trajectory.moves[step].edit
        self.note("ask", offered=((edit,),), step=step)
        seen = pictures.printed(self.proof.edited([*self.history.recipe, edit], step))
        return {
            "probabilities": probabilities,
            "suggestion": edit_to_page(edit),
            "words": edit.describe(),
            **self._seen(seen, trajectory, step, blind),
        }

    def ways(self, partner: Partner, step: int, blind: bool) -> dict[str, Any]:
        """Several games of the agent's that begin with the first edits of this one."""
        self.check_open()
        self._check_step(step, len(self.history.edits))
        kept = self.history.recipe[:step]
        if step == self._referee.max_steps:
            raise GameOver("no steps are left; undo one or press done")
        games = [
            self._referee.play(self.view, edits)
            for edits in partner.ways(self.proof.pixels, kept, self._referee.max_steps)
        ]
        offered = [tuple(move.edit for move in game.moves) for game in games]
        self.note("ways", offered=tuple(offered), step=step)
        found = []
        for game, edits in zip(games, offered, strict=True):
            codes = pictures.small(self.proof.edited(edits, step), WAY_EDGE)
            found.append(
                {
                    "edits": [edit_to_page(edit) for edit in edits],
                    "words": [edit.describe() for edit in edits],
                    "image": Print(pictures.jpeg(codes), {}, {}).data_uri,
                    "score": self._score(game.last_score, blind),
                }
            )
        return {"ways": found}

    def _seen(self, seen: Print, trajectory: Trajectory, step: int, blind: bool) -> dict[str, Any]:
        move = trajectory.moves[step]
        return {
            **pictures.as_json(seen),
            "curve": figure(move.edit),
            "reuse_penalty": move.penalties.get("reuse", 0.0),
            "reward": self._score(move.reward, blind),
            "score": self._score(trajectory.last_score, blind),
        }

    def _score(self, score: float, blind: bool) -> float | None:
        return score if self._referee.judges and not blind else None

    def as_json(self, blind: bool) -> dict[str, Any]:
        """The photograph's part of the contract's ``Photo``."""
        history, trajectory = self.history, self.trajectory
        done = history.saved is not None
        height, width = self.size or (None, None)
        return {
            "width": width,
            "height": height,
            "display": self.proof.display,
            "preview": {"width": self.proof.size[1], "height": self.proof.size[0]},
            "steps": [
                {
                    "edit": edit_to_page(move.edit),
                    "words": move.edit.describe(),
                    "by": made.by,
                    "reward": self._score(move.reward, blind),
                    "score": self._score(move.score, blind),
                    "penalties": move.penalties,
                    "curve": figure(move.edit),
                }
                for move, made in zip(trajectory.moves, history.edits, strict=True)
            ],
            "steps_left": self.steps_left,
            "max_steps": self._referee.max_steps,
            "score": self._score(trajectory.last_score, blind),
            "start_score": self._score(trajectory.score, blind),
            "can_undo": bool(history.past) and not done,
            "can_redo": bool(history.future) and not done,
            "done": done,
            "saved": None if history.saved is None else list(history.saved),
            "blind": blind,
        }


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def reading_of_file(path: Path, usual: Reading) -> Reading:
    """How a photograph is read where the agent's photographs usually are, as ``exposure-gym retouch`` decides it."""
    from exposure_gym.cli.deciding import reading_of
    from exposure_gym.cli.outputs import kind_of

    return reading_of("auto", usual, kind_of(path).format == "tif")
