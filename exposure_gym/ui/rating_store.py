"""The judgements of a rating study in one SQLite file: each is on the disk before the page hears that it was taken.

Nothing is ever changed or removed: a rater who thinks again adds a judgement, and the last one counts. The order in
which results were shown is stored with each trial.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from exposure_gym.ui.rating import Method, Study, Trial

FILE = "ratings.sqlite"
FORMAT = "exposure-gym ratings 1"

_TABLES = """
CREATE TABLE study (
    format TEXT NOT NULL, method TEXT NOT NULL, sets TEXT NOT NULL, seed INTEGER NOT NULL, time TEXT NOT NULL
);
CREATE TABLE raters (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, time TEXT NOT NULL);
CREATE TABLE trials (
    id INTEGER PRIMARY KEY, rater INTEGER NOT NULL REFERENCES raters, place INTEGER NOT NULL, photo TEXT NOT NULL,
    shown TEXT NOT NULL, UNIQUE (rater, place)
);
CREATE TABLE judgements (
    id INTEGER PRIMARY KEY, trial INTEGER NOT NULL REFERENCES trials, chosen TEXT NOT NULL, stars INTEGER,
    time TEXT NOT NULL
);
CREATE INDEX judgements_of_trial ON judgements (trial);
"""


class StoreError(ValueError):
    """The file is not the ratings of this study; one line."""


class Judgements(NamedTuple):
    """All that was judged; the last word of every rater."""

    method: Method
    sets: tuple[str, ...]
    raters: tuple[str, ...]
    photos: tuple[str, ...]
    stars: NDArray[np.float64]
    """``(R, P, K)``, NaN where nothing was judged; all of it for pairs."""
    wins: NDArray[np.float64]
    """``(R, P, K, K)``: of pairs, 1 where the set of the row was preferred to that of the column."""


class RatingStore:
    """The file of one study, open: safe for several threads, and for several processes.

    :param path: of the file.
    :param study: the sets, method and seed are written into a new file, and must be those of an existing one. ``None``:
        the file must exist, and is only read from.
    :raises StoreError: the file is missing, something else, or another study's.
    """

    def __init__(self, path: Path, study: Study | None = None) -> None:
        if study is None and not path.is_file():
            raise StoreError(f"{path}: does not exist; name the folder that rate wrote to (its -o)")
        self.path = path
        self._lock = threading.Lock()
        self._file = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
        try:
            if study is not None:
                self._file.execute("PRAGMA journal_mode=WAL")
                self._file.execute("PRAGMA synchronous=FULL")  # a commit survives a power cut
                self._file.execute("PRAGMA foreign_keys=ON")
                self._create(study)
            self.method, self.sets, self.seed = self._read_study()
        except sqlite3.Error as error:
            self.close()
            raise StoreError(f"{path}: cannot be used as a file of ratings ({error}); name another folder") from None
        if study is not None and (study.method, tuple(study.sets), study.seed) != (self.method, self.sets, self.seed):
            self.close()
            raise StoreError(
                f"{path}: holds a study of {', '.join(self.sets)} by {self.method} with seed {self.seed}; "
                "go on with these, or name another folder with -o"
            )

    def close(self) -> None:
        self._file.close()

    def _create(self, study: Study) -> None:
        with self._transaction() as file:
            if file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return
            for statement in _TABLES.split(";"):
                file.execute(statement)
            row = (FORMAT, study.method, json.dumps(list(study.sets)), study.seed, _now())
            file.execute("INSERT INTO study VALUES (?, ?, ?, ?, ?)", row)

    def _read_study(self) -> tuple[Method, tuple[str, ...], int]:
        row = self._file.execute("SELECT format, method, sets, seed FROM study").fetchone()
        if row is None or row[0] != FORMAT:
            raise sqlite3.DatabaseError("of another version")
        return cast(Method, row[1]), tuple(json.loads(row[2])), row[3]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")

    # -- a person's session --------------------------------------------------------------------------------------------

    def join(self, name: str, plan: Sequence[Trial]) -> int:
        """Begin a rater's session, or go on with it: what of the plan is new comes after what was planned before.

        :return: the rater's number.
        """
        with self._transaction() as file:
            file.execute("INSERT OR IGNORE INTO raters (name, time) VALUES (?, ?)", (name, _now()))
            (rater,) = file.execute("SELECT id FROM raters WHERE name = ?", (name,)).fetchone()
            rows = file.execute("SELECT photo, shown FROM trials WHERE rater = ?", (rater,)).fetchall()
            planned = {(photo, frozenset(json.loads(shown))) for photo, shown in rows}
            new = [trial for trial in plan if (trial.photo, frozenset(trial.shown)) not in planned]
            file.executemany(
                "INSERT INTO trials (rater, place, photo, shown) VALUES (?, ?, ?, ?)",
                [(rater, len(rows) + i, t.photo, json.dumps(t.shown)) for i, t in enumerate(new)],
            )
        return int(rater)

    def trials(self, rater: int) -> list[tuple[Trial, dict[str, int]]]:
        """A rater's trials in order, each with what was judged: stars by set, or 1 for the set that was preferred.

        Empty for a number that is no rater's.
        """
        with self._lock:
            rows = self._file.execute(
                "SELECT id, photo, shown FROM trials WHERE rater = ? ORDER BY place", (rater,)
            ).fetchall()
            judged = self._file.execute(
                "SELECT trial, chosen, stars FROM judgements JOIN trials ON trials.id = trial WHERE rater = ? "
                "ORDER BY judgements.id",
                (rater,),
            ).fetchall()
        by_trial: dict[int, dict[str, int]] = {}
        for trial, chosen, stars in judged:
            if self.method == "pairs":
                by_trial[trial] = {chosen: 1}
            else:
                by_trial.setdefault(trial, {})[chosen] = stars
        return [(Trial(photo, tuple(json.loads(shown))), by_trial.get(id, {})) for id, photo, shown in rows]

    def judge(self, rater: int, place: int, chosen: str, stars: int | None) -> None:
        """Add a judgement; it is on the disk when this returns.

        :param chosen: the set whose result gets the stars, or, with ``None``, is preferred.
        """
        with self._transaction() as file:
            file.execute(
                "INSERT INTO judgements (trial, chosen, stars, time) "
                "SELECT id, ?, ?, ? FROM trials WHERE rater = ? AND place = ?",
                (chosen, stars, _now(), rater, place),
            )

    # -- the report ----------------------------------------------------------------------------------------------------

    def judgements(self) -> Judgements:
        """Everything that was judged, for the statistics; raters and photographs without a judgement are not in it."""
        with self._lock:
            raters = self._file.execute("SELECT id, name FROM raters ORDER BY id").fetchall()
        rows = [
            (name, trial, judged) for id, name in raters for trial, judged in self.trials(id) if judged
        ]  # in the order of raters
        names = tuple(dict.fromkeys(name for name, _, _ in rows))
        photos = tuple(sorted({trial.photo for _, trial, _ in rows}))
        count = len(self.sets)
        stars = np.full((len(names), len(photos), count), np.nan)
        wins = np.zeros((len(names), len(photos), count, count))
        for name, trial, judged in rows:
            at = names.index(name), photos.index(trial.photo)
            for chosen, value in judged.items():
                if self.method == "stars":
                    stars[at][self.sets.index(chosen)] = value
                else:
                    (other,) = set(trial.shown) - {chosen}
                    wins[at][self.sets.index(chosen), self.sets.index(other)] = 1.0
        return Judgements(self.method, self.sets, names, photos, stars, wins)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
