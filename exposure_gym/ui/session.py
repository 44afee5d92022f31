"""A person's session: which photographs, which of them are finished, which is on the table."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exposure_gym.cli.outputs import Format
from exposure_gym.photo import PhotoError
from exposure_gym.ui import saving
from exposure_gym.ui.controls import panel
from exposure_gym.ui.history import Action, Actor, History
from exposure_gym.ui.partner import Partner
from exposure_gym.ui.pictures import Proof, full_size
from exposure_gym.ui.referee import Referee
from exposure_gym.ui.store import PhotoRow, SessionRow, Store
from exposure_gym.ui.table import Table, file_hash, reading_of_file

OPEN_TABLES = 6
"""Photographs whose pixels stay in memory, about 30 MB each; others are read again when they are looked at."""

IN_USE = 600.0
"""Seconds after its last request for which a session belongs to the browser that plays it."""

MAX_USER = 80


class Unknown(LookupError):
    """There is no such session or photograph; one line."""


class Entry:
    """A photograph of a session, as its list shows it. :attr:`lock` is held by whoever works on it."""

    def __init__(self, row: PhotoRow, history: History) -> None:
        self.row, self.history = row, history
        self.sha256 = ""
        """Of the file, when it was opened."""
        self.message = ""
        self.lock = threading.Lock()

    @property
    def status(self) -> str:
        """``"todo"``, ``"open"``, ``"done"`` or ``"failed"``."""
        if self.history.saved is not None:
            return "done"
        if self.message:
            return "failed"
        return "open" if self.history.opened else "todo"


class Session:
    """A person's photographs and what became of them."""

    def __init__(self, row: SessionRow, entries: Sequence[Entry], current: int | None) -> None:
        self.row = row
        self.entries = {entry.row.photo: entry for entry in entries}
        self.last_opened = current
        self.last_request = 0.0

    @property
    def current(self) -> int | None:
        """The photograph to go on with: the one opened last, or the first that is not finished."""
        if self.last_opened is not None and self.entries[self.last_opened].status not in ("done", "failed"):
            return self.last_opened
        return self.next_after(0)

    def next_after(self, photo: int) -> int | None:
        """The next one to work on, from the beginning again after the last."""
        waiting = [number for number, entry in self.entries.items() if entry.status not in ("done", "failed")]
        return next((number for number in waiting if number > photo), waiting[0] if waiting else None)

    def entry(self, photo: int) -> Entry:
        """A photograph by its number.

        :raises Unknown: there is none.
        """
        if photo not in self.entries:
            raise Unknown(f"there is no photo {photo} in this session")
        return self.entries[photo]


class Studio:
    """All sessions on one output folder. May be used from several threads.

    :param store: what happened so far; :param photos: the photographs of new sessions.
    :param output: where the finished ones go; :param user: of sessions that are begun without a name.
    :param critic: SHA-256 of the critic's file, empty for none.
    """

    def __init__(
        self,
        store: Store,
        photos: Sequence[Path],
        output: Path,
        referee: Referee,
        partner: Partner,
        *,
        user: str = "",
        blind: bool = False,
        critic: str = "",
    ) -> None:
        self.store, self.output, self.referee, self.partner = store, output, referee, partner
        self.user, self.blind, self.critic = user, blind, critic
        self.photos = [(path.name, str(path.resolve())) for path in photos]
        self.key = json.dumps([path for _, path in self.photos])
        self._sessions: dict[str, Session] = {}
        self._unnamed: str | None = None
        self._tables: OrderedDict[tuple[str, int], Table] = OrderedDict()
        self._lock = threading.RLock()
        self._saving = threading.Lock()  # one full-size photograph in memory at a time

    # -- sessions ------------------------------------------------------------------------------------------------------

    def session(self, id: str) -> Session:
        """A session by its id.

        :raises Unknown: there is none, or it is on other photographs.
        """
        with self._lock:
            session = self._sessions.get(id) or self._resumed(id)
            if session is None:
                raise Unknown("there is no such session; reload the page")
            session.last_request = time.monotonic()
            return session

    def enter(self, user: str | None = None, id: str | None = None) -> Session:
        """Go on with a session, or begin one: the named one if it fits, else an unfinished one that nobody plays."""
        wanted = self.user or None if user is None else clean_user(user)
        with self._lock:
            named = None if id is None else self._sessions.get(id) or self._resumed(id)
            if named is not None and wanted in (None, named.row.user):
                return self.session(named.row.id)
            for row in reversed(self.store.sessions()):
                if row.user != (wanted or "") or not self._fits(row):
                    continue
                session = self._sessions.get(row.id) or self._resumed(row.id)
                if session is not None and session.current is not None and not self._in_use(session):
                    return self.session(row.id)
            space, reading = self.partner.space, self.partner.reading
            row = SessionRow(
                "", wanted or "", 0.0, self.blind, self.referee.max_steps, self.key, self.critic, reading, space
            )
            return self.session(self.store.begin(row, self.photos).id)

    def unnamed(self) -> Session:
        """The session of requests that name none, always the same."""
        with self._lock:
            if self._unnamed is None:
                self._unnamed = self.enter().row.id
            return self.session(self._unnamed)

    def _fits(self, row: SessionRow) -> bool:
        """Whether a session is on these photographs, by these rules and before this critic."""
        reading = self.partner.reading, self.partner.space
        ours = (self.key, self.referee.max_steps, self.blind, self.critic, *reading)
        return ours == (row.photos, row.max_steps, row.blind, row.critic, row.reading, row.space)

    @staticmethod
    def _in_use(session: Session) -> bool:
        return session.last_request > 0.0 and time.monotonic() - session.last_request < IN_USE

    def _resumed(self, id: str) -> Session | None:
        row = next((row for row in self.store.sessions() if row.id == id), None)
        if row is None or not self._fits(row):
            return None
        actions = self.store.actions(id)
        entries = []
        for photo in self.store.photos(id):
            mine = [each for each in actions if each.photo == photo.photo and each.sha256]
            entries.append(Entry(photo, History.of([e.action for e in mine if e.sha256 == mine[-1].sha256])))
        opened = [each.photo for each in actions if each.action.kind != "failed"]
        self._sessions[id] = Session(row, entries, opened[-1] if opened else None)
        return self._sessions[id]

    def as_json(self, session: Session) -> dict[str, Any]:
        """The contract's ``Session``."""
        agent: dict[str, Any] = {"available": self.partner.agent is not None}
        if self.partner.agent is None:
            agent["message"] = self.partner.message
        return {
            "session": session.row.id,
            "user": session.row.user,
            "blind": session.row.blind,
            "max_steps": session.row.max_steps,
            "output": str(self.output),
            "photos": [
                {"id": number, "name": entry.row.name, "status": entry.status}
                | ({"message": entry.message} if entry.message else {})
                for number, entry in session.entries.items()
            ],
            "current": session.current,
            "agent": agent,
            "filters": panel(self.referee.filters),
        }

    # -- photographs ---------------------------------------------------------------------------------------------------

    @contextmanager
    def table(self, session: Session, photo: int) -> Iterator[Table]:
        """A photograph of a session for one thread, opened if need be.

        :raises Unknown: there is none. :raises exposure_gym.photo.PhotoError: it cannot be read; the session goes on.
        """
        entry = session.entry(photo)
        with entry.lock:
            yield self._opened(session, entry)

    def _opened(self, session: Session, entry: Entry) -> Table:
        key = session.row.id, entry.row.photo
        with self._lock:
            if key in self._tables:
                self._tables.move_to_end(key)
                return self._tables[key]
        try:
            table = self._open(session, entry)
        except (PhotoError, OSError, MemoryError) as error:
            entry.message = _without_folder(error, entry.row.path)
            self.store.record(entry.row, "", "linear", Action("failed", "person", (), note=entry.message))
            raise PhotoError(entry.row.name, *_reason(error)) from None
        entry.message = ""
        with self._lock:
            self._tables[key] = table
            while len(self._tables) > OPEN_TABLES:
                self._tables.popitem(last=False)
        return table

    def _forget(self, session: Session, entry: Entry) -> None:
        with self._lock:
            self._tables.pop((session.row.id, entry.row.photo), None)

    def _open(self, session: Session, entry: Entry) -> Table:
        path, row = Path(entry.row.path), session.row
        reading = reading_of_file(path, row.reading)
        proof = Proof.of_file(path, reading, row.space)
        sha256 = file_hash(path)
        actions = [
            each.action
            for each in self.store.actions(row.id)
            if (each.photo, each.sha256, each.reading) == (entry.row.photo, sha256, reading)
        ]
        entry.sha256, entry.history = sha256, History.of(actions)  # of another content of the file nothing is left

        def record(action: Action) -> None:
            self.store.record(entry.row, sha256, reading, action)
            entry.history = entry.history.after(action)

        table = Table(proof, full_size(path, proof), entry.history, self.referee, record)
        if not table.history.opened:
            self.store.keep_view(sha256, reading, row.space, table.view)
            table.note("open")
        return table

    def photo_json(self, session: Session, photo: int, table: Table) -> dict[str, Any]:
        """The contract's ``Photo``."""
        entry = session.entry(photo)
        session.last_opened = photo
        head = {"id": photo, "name": entry.row.name, "status": entry.status}
        return head | table.as_json(session.row.blind)

    def done(self, session: Session, photo: int, format: Format | None) -> dict[str, Any]:
        """Save a photograph at full size; go on with the next.

        :raises ValueError: it is done already, or cannot be written. :raises OSError: likewise.
        """
        entry = session.entry(photo)
        with self.table(session, photo) as table:
            table.check_open()
            path = Path(entry.row.path)
            with self._saving:
                if path.is_file() and file_hash(path) != entry.sha256:
                    self._forget(session, entry)
                    raise PhotoError(entry.row.name, "has changed since it was opened", "look at it again")
                plan = saving.free_plan(path, self.output, format, table.history.saving)
                names = tuple(file.name for file in plan)
                table.note("saving", saved=names)
                edits = table.history.edits
                makers: set[Actor] = {made.by for made in edits}
                names_of = {"person": session.row.user or "a person", "agent": "the agent"}
                by = " and ".join(names_of[actor] for actor in sorted(makers, reverse=True))
                reading = reading_of_file(path, session.row.reading)
                saving.save(path, reading, session.row.space, table.history.recipe, by or "nobody", plan)
            table.note("done", saved=names)
        return {"saved": list(names), "next": session.next_after(photo), "session": self.as_json(session)}

    def add(self, session: Session, path: Path) -> None:
        """A photograph more, which lies in the output folder already."""
        with self._lock:
            row = self.store.add_photo(session.row.id, path.name, str(path.resolve()))
            session.entries[row.photo] = Entry(row, History())


def clean_user(name: str) -> str:
    """A person's name on one line.

    :raises ValueError: it is too long.
    """
    name = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    if len(name) > MAX_USER:
        raise ValueError(f"a name has at most {MAX_USER} letters")
    return name


def _reason(error: BaseException) -> tuple[str, str]:
    if isinstance(error, PhotoError):
        return error.reason, error.remedy
    return f"cannot be read ({getattr(error, 'strerror', None) or error})", "check the file and its permissions"


def _without_folder(error: BaseException, path: str) -> str:
    reason, remedy = _reason(error)
    return str(PhotoError(Path(path).name, reason, remedy))
