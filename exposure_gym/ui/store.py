"""Sessions in one SQLite file: every action with its time, committed when it happens.

What a person sees is what the file says: after a crash or a power cut a session goes on from the last action.
The file is in WAL mode with ``synchronous=FULL``: a commit is on the disk before the page hears of it.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from exposure_gym.photo import Image3, Reading, Space
from exposure_gym.recipe import Edit
from exposure_gym.ui.history import Action, Actor, Kind, edits_as_json, edits_from_json
from exposure_gym.ui.pictures import VIEW

FILE_NAME = "sessions.sqlite"
APPLICATION = 0x45475359  # "EGSY": whose file this is
VERSION = 1

_SCHEMA = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, user TEXT NOT NULL, started REAL NOT NULL, blind INTEGER NOT NULL, max_steps INTEGER NOT NULL,
    photos TEXT NOT NULL, critic TEXT NOT NULL, reading TEXT NOT NULL, space TEXT NOT NULL) STRICT;
CREATE TABLE photos (
    session TEXT NOT NULL REFERENCES sessions, photo INTEGER NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL,
    PRIMARY KEY (session, photo)) STRICT;
CREATE TABLE views (sha256 TEXT, reading TEXT, space TEXT, pixels BLOB NOT NULL,
    PRIMARY KEY (sha256, reading, space)) STRICT;
CREATE TABLE actions (
    id INTEGER PRIMARY KEY, session TEXT NOT NULL, photo INTEGER NOT NULL, sha256 TEXT NOT NULL, reading TEXT NOT NULL,
    time REAL NOT NULL, actor TEXT NOT NULL, kind TEXT NOT NULL, step INTEGER, edits TEXT NOT NULL,
    rewards TEXT NOT NULL, start_score REAL, score REAL, offered TEXT NOT NULL, saved TEXT NOT NULL, note TEXT NOT NULL,
    FOREIGN KEY (session, photo) REFERENCES photos) STRICT;
CREATE INDEX actions_of_a_photo ON actions (session, photo);
"""


class StoreError(ValueError):
    """The file cannot be used; one line."""


class SessionRow(NamedTuple):
    """A person's session."""

    id: str
    user: str
    started: float
    """Seconds since 1970."""
    blind: bool
    max_steps: int
    photos: str
    """Which photographs it was begun with: their paths, as JSON."""
    critic: str
    """SHA-256 of the critic that judged; empty for none."""
    reading: Reading
    """The agent's, see :attr:`exposure_gym.agents.ExposureAgent.reading`."""
    space: Space


class PhotoRow(NamedTuple):
    """A photograph of a session."""

    session: str
    photo: int
    """Number in the session, from 1."""
    name: str
    path: str


class ActionRow(NamedTuple):
    """What happened, when, and to which content of the file."""

    id: int
    session: str
    photo: int
    sha256: str
    """Of the photograph's file; empty if it could not be read."""
    reading: Reading
    """How it was read."""
    time: float
    """Seconds since 1970."""
    action: Action


class Store:
    """The file. May be used from several threads.

    :param path: of the file; made if need be.
    :raises StoreError: it is something else, damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with _complaining(path):
            self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._file.close()
                raise

    @classmethod
    def existing(cls, path: Path) -> Store:
        """The file, or the one in a folder.

        :raises StoreError: there is none.
        """
        path = path / FILE_NAME if path.is_dir() else path
        if not path.is_file():
            raise StoreError(f"{path}: does not exist; name the folder that exposure-gym play wrote to (its -o)")
        return cls(path)

    def _prepare(self) -> None:
        version = self._file.execute("PRAGMA user_version").fetchone()[0]
        application = self._file.execute("PRAGMA application_id").fetchone()[0]
        tables = self._file.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and (application, version) != (APPLICATION, VERSION):
            raise StoreError(f"{self.path}: is no file of sessions of this version; choose another folder")
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=FULL")
        self._file.execute("PRAGMA foreign_keys=ON")
        if not tables:
            begin = f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION};"
            self._file.executescript(f"{begin} COMMIT;")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing -------------------------------------------------------------------------------------------------------

    def begin(self, row: SessionRow, photos: Sequence[tuple[str, str]]) -> SessionRow:
        """A new session; its id is made here.

        :param photos: name and path of each.
        """
        row = row._replace(id=secrets.token_hex(12), started=time.time())
        with self._transaction():
            self._file.execute(f"INSERT INTO sessions VALUES ({_marks(len(row))})", row)
            for number, (name, path) in enumerate(photos, 1):
                self._file.execute("INSERT INTO photos VALUES (?, ?, ?, ?)", (row.id, number, name, path))
        return row

    def add_photo(self, session: str, name: str, path: str) -> PhotoRow:
        """One photograph more for a session."""
        with self._transaction():
            (last,) = self._file.execute("SELECT max(photo) FROM photos WHERE session = ?", (session,)).fetchone()
            row = PhotoRow(session, (last or 0) + 1, name, path)
            self._file.execute("INSERT INTO photos VALUES (?, ?, ?, ?)", row)
        return row

    def record(self, photo: PhotoRow, sha256: str, reading: Reading, action: Action) -> None:
        """Something happened."""
        offered = [edits_as_json(tuple((edit, "agent") for edit in edits)) for edits in action.offered]  # type: ignore[misc]
        row = (
            *(photo.session, photo.photo, sha256, reading, time.time(), action.actor, action.kind, action.step),
            *(json.dumps(edits_as_json(action.edits)), json.dumps(action.rewards), action.start_score, action.score),
            *(json.dumps(offered), json.dumps(action.saved), action.note),
        )
        with self._transaction():
            self._file.execute(f"INSERT INTO actions VALUES (NULL, {_marks(len(row))})", row)

    def keep_view(self, sha256: str, reading: Reading, space: Space, view: Image3) -> None:
        """Keep what a game is played on, so that demonstrations need no photographs."""
        row = (sha256, reading, space, np.ascontiguousarray(view, "<f4").tobytes())
        with self._transaction():
            self._file.execute("INSERT OR IGNORE INTO views VALUES (?, ?, ?, ?)", row)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, _complaining(self.path):
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")

    # -- reading -------------------------------------------------------------------------------------------------------

    def sessions(self) -> list[SessionRow]:
        """All of them, from the first to the last."""
        rows = self._all("SELECT * FROM sessions ORDER BY started, rowid")
        return [SessionRow(*row)._replace(blind=bool(row[3])) for row in rows]

    def photos(self, session: str) -> list[PhotoRow]:
        """Those of a session, in order."""
        return [PhotoRow(*row) for row in self._all("SELECT * FROM photos WHERE session = ? ORDER BY photo", session)]

    def actions(self, session: str) -> list[ActionRow]:
        """Those of a session, in order.

        :raises StoreError: one of them cannot be understood.
        """
        rows = self._all("SELECT * FROM actions WHERE session = ? ORDER BY id", session)
        try:
            return [_action(*row) for row in rows]
        except (ValueError, TypeError, LookupError) as error:
            raise StoreError(f"{self.path}: an action is damaged ({error}); restore the file from a copy") from None

    def view(self, sha256: str, reading: Reading, space: Space) -> Image3 | None:
        """What :meth:`keep_view` kept, ``(64, 64, 3)`` float32."""
        query = "SELECT pixels FROM views WHERE sha256 = ? AND reading = ? AND space = ?"
        rows = self._all(query, sha256, reading, space)
        if not rows or len(rows[0][0]) != VIEW * VIEW * 3 * 4:
            return None
        return np.frombuffer(rows[0][0], "<f4").astype(np.float32).reshape(VIEW, VIEW, 3)

    def _all(self, query: str, *values: object) -> list[Any]:
        with self._lock, _complaining(self.path), closing(self._file.execute(query, values)) as cursor:
            return cursor.fetchall()


def _action(
    id: int, session: str, photo: int, sha256: str, reading: str, when: float, actor: str, kind: str, step: int | None,
    edits: str, rewards: str, start_score: float | None, score: float | None, offered: str, saved: str, note: str,
) -> ActionRow:  # fmt: skip
    offers: tuple[tuple[Edit, ...], ...] = tuple(
        tuple(made.edit for made in edits_from_json(each)) for each in json.loads(offered)
    )
    action = Action(
        cast(Kind, kind),
        cast(Actor, actor),
        edits_from_json(json.loads(edits)),
        step,
        offers,
        _names(json.loads(saved)),
        score,
        start_score,
        tuple(map(float, json.loads(rewards))),
        note,
    )
    return ActionRow(id, session, photo, sha256, cast(Reading, reading), when, action)


def _names(data: Any) -> tuple[str, ...]:
    if not isinstance(data, list) or not all(isinstance(name, str) for name in data):
        raise ValueError("these are no names")
    return tuple(data)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


@contextmanager
def _complaining(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{path}: cannot be used ({error}); check the folder, its permissions and free space"
        ) from None
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: is damaged ({error}); restore it from a copy or choose another folder") from None
