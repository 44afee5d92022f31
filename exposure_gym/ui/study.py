"""What people did, taken out of a file of sessions: to read, to keep, and to be played again by the environment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from exposure_gym.files import replacing
from exposure_gym.photo import PhotoError
from exposure_gym.recipe import Recipe
from exposure_gym.ui.history import Edits, History, edits_as_json
from exposure_gym.ui.pictures import Proof
from exposure_gym.ui.referee import Referee
from exposure_gym.ui.store import ActionRow, PhotoRow, SessionRow, Store
from exposure_gym.ui.table import file_hash
from exposure_gym.ui.uploads import FOLDER

ACTIONS, STEPS = "actions.jsonl", "steps.jsonl"
"""Files of an export: a line an action, and a line a step of the games as they stand."""

TOLERANCE = 1e-3
"""By which a reward may differ when it is computed again. A critic's convolutions round differently on another
processor, by about 1e-6, and another version of a decoder may read a JPEG a code apart, up to a few 1e-4."""


class Game(NamedTuple):
    """A photograph in somebody's session, and all that happened to one content of its file."""

    session: SessionRow
    photo: PhotoRow
    rows: tuple[ActionRow, ...]

    @property
    def history(self) -> History:
        """How it ended."""
        return History.of([row.action for row in self.rows])

    @property
    def edits(self) -> Edits:
        """That stand in the end, and who made each."""
        return self.history.edits

    @property
    def rewards(self) -> tuple[float, ...]:
        """Of each of them, as the environment gave them."""
        return self.rows[-1].action.rewards

    @property
    def recipe(self) -> Recipe:
        """The same as a recipe."""
        display = self.rows[0].reading == "display"
        return Recipe(
            self.history.recipe, self.session.space, self.photo.name, input_domain="display" if display else "linear"
        )

    @property
    def player(self) -> str:
        """Who played, for a message or a folder."""
        return self.session.user or "anonymous"


def games(store: Store) -> list[Game]:
    """All photographs that were opened, session by session."""
    found = []
    for session in store.sessions():
        rows: dict[tuple[int, str, str], list[ActionRow]] = {}
        for row in store.actions(session.id):
            if row.sha256:  # else it could not be read
                rows.setdefault((row.photo, row.sha256, row.reading), []).append(row)
        photos = {photo.photo: photo for photo in store.photos(session.id)}
        found += [Game(session, photos[photo], tuple(part)) for (photo, _, _), part in sorted(rows.items())]
    return found


# -- export ------------------------------------------------------------------------------------------------------------


def export(store: Store, folder: Path) -> tuple[int, list[str]]:
    """Write ``actions.jsonl``, ``steps.jsonl`` and, in a folder for each player, recipes and finished photographs.

    :return: how many games were written, and in one line each what is missing.
    """
    problems: list[str] = []
    played = games(store)
    _write_lines(folder / ACTIONS, _action_lines(store))
    _write_lines(folder / STEPS, (line for game in played for line in _step_lines(game)))
    taken: set[str] = set()
    for game in played:
        if game.edits or game.history.saved:
            problems += _export_files(game, folder, store.path.parent, taken)
    return len(played), problems


def _action_lines(store: Store) -> Iterator[dict[str, Any]]:
    for session in store.sessions():
        photos = {photo.photo: photo for photo in store.photos(session.id)}
        for row in store.actions(session.id):
            action = row.action
            yield {
                **_whose(session, photos[row.photo], row.sha256),
                "time": _time(row.time),
                "action": action.kind,
                "actor": action.actor,
                "step": action.step,
                "edits": edits_as_json(action.edits),
                "rewards": list(action.rewards),
                "start_score": action.start_score,
                "score": action.score,
                "offered": [
                    [{"filter": e.filter, "parameters": list(e.parameters)} for e in o] for o in action.offered
                ],
                "saved": list(action.saved),
                "note": action.note,
            }


def _step_lines(game: Game) -> Iterator[dict[str, Any]]:
    for number, (made, reward) in enumerate(zip(game.edits, game.rewards, strict=False), 1):
        yield {
            **_whose(game.session, game.photo, game.rows[0].sha256),
            "done": game.history.saved is not None,
            "step": number,
            "of": len(game.edits),
            "filter": made.edit.filter,
            "parameters": list(made.edit.parameters),
            "words": made.edit.describe(),
            "by": made.by,
            "reward": reward,
        }


def _whose(session: SessionRow, photo: PhotoRow, sha256: str) -> dict[str, Any]:
    return {
        "session": session.id,
        "user": session.user,
        "blind": session.blind,
        "photo": photo.name,
        "photo_sha256": sha256,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _export_files(game: Game, folder: Path, results: Path, taken: set[str]) -> Iterator[str]:
    """The recipe, and the files that were written when the photograph was done."""
    place = folder / folder_name(game.player)
    place.mkdir(exist_ok=True)
    stem, number = Path(game.photo.name).stem, 1
    while f"{place.name}/{stem}".casefold() in taken:
        number += 1
        stem = f"{Path(game.photo.name).stem}-{number}"
    taken.add(f"{place.name}/{stem}".casefold())
    game.recipe.save(place / f"{stem}.recipe.json")
    for name in game.history.saved or ():
        source = results / Path(name).name
        suffix = next(end for end in (".recipe.json", ".steps.png", source.suffix) if name.endswith(end))
        if suffix == ".recipe.json":
            continue
        try:
            with replacing(place / f"{stem}{suffix}") as temporary:
                shutil.copyfile(source, temporary)
        except FileNotFoundError:
            yield f"{source}: is missing; its recipe is {place / stem}.recipe.json"


def folder_name(player: str) -> str:
    """A player's name as a folder's."""
    kept = "".join(letter if letter.isalnum() or letter in " -_" else "-" for letter in player).strip(" -")
    return kept or "anonymous"


def _write_lines(path: Path, lines: Iterator[dict[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


# -- replay ------------------------------------------------------------------------------------------------------------

Referees = Callable[[SessionRow], Referee | str]
"""The referee for a session, or in one line why there is none."""


def replay(
    store: Store, referees: Referees, tolerance: float = TOLERANCE, folders: Sequence[Path] = ()
) -> tuple[int, list[str]]:
    """Play everything again: reset the environment on the photograph, and step through the edits of every action.

    :param tolerance: by which rewards and scores may differ.
    :param folders: where photographs are looked for by name, if they are not where they were.
    :return: how many trajectories were played, and in one line each what does not agree or cannot be played.
    """
    count, problems = 0, []
    for game in games(store):
        name = f"{game.photo.name} of {game.player}"
        referee = referees(game.session)
        if isinstance(referee, str):
            problems.append(f"{name}: {referee}")
            continue
        try:
            proof = _read(game, [store.path.parent / FOLDER, *folders])
        except ValueError as error:
            problems.append(str(error))
            continue
        played: dict[tuple[Edits, tuple[float, ...]], str] = {}
        for row in game.rows:
            key = row.action.edits, (*row.action.rewards, row.action.start_score or 0.0, row.action.score or 0.0)
            if key not in played:
                count += 1
                played[key] = _difference(row, referee, proof, tolerance)
                if played[key]:
                    problems.append(f"{name}, {row.action.kind} at {_time(row.time)}: {played[key]}")
    return count, problems


def _read(game: Game, folders: Sequence[Path]) -> Proof:
    """The photograph as it was played on.

    :raises ValueError: it is missing, cannot be read, or is another one now; one line.
    """
    path, first = Path(game.photo.path), game.rows[0]
    there = [place for place in (path, *(folder / path.name for folder in folders)) if place.is_file()]
    for place in there:
        if file_hash(place) == first.sha256:
            return Proof.of_file(place, first.reading, game.session.space)
    if there:
        raise PhotoError(there[0], "has changed since it was played on", "put back the one that was")
    raise PhotoError(path, "is missing, so this game cannot be played again", "put it back or name its folder")


def _difference(row: ActionRow, referee: Referee, proof: Proof, tolerance: float) -> str:
    """What does not agree when a trajectory is played again; empty if all does."""
    action = row.action
    try:
        again = referee.play(proof.view, [made.edit for made in action.edits])
    except ValueError as error:
        return f"cannot be played ({error})"
    if len(action.rewards) != len(action.edits):
        return f"{len(action.edits)} steps have {len(action.rewards)} rewards"
    pairs: list[tuple[str, float | None, float]] = [("the photo's score", action.start_score, again.score)]
    steps: Sequence[float] = again.rewards
    pairs += [
        (f"the reward of step {i}", old, new) for i, (old, new) in enumerate(zip(action.rewards, steps, strict=True), 1)
    ]
    pairs.append(("the last score", action.score, again.last_score))
    for what, recorded, new in pairs:
        if recorded is None or not abs(recorded - new) <= tolerance:  # NaN is no agreement
            was = "not recorded" if recorded is None else f"recorded as {recorded:.6f}"
            return f"{what} is {new:.6f} and was {was}"
    return ""
