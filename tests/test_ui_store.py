"""Sessions are kept: what happened is in the file as soon as the page hears of it, whatever ends the server."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

import httpx
from cli_tools import photograph, run
from editor_tools import CONTRAST, EXPOSURE, GAMMA, Page, close_stores, editor, open_studio, play_a_game, some_photos
from hypothesis import given
from hypothesis import strategies as st

from exposure_gym.recipe import Edit
from exposure_gym.ui.history import Action, Edits, History, Made, edits_from_json
from exposure_gym.ui.store import FILE_NAME, SessionRow, Store, StoreError

__all__ = ["close_stores"]  # a fixture

SESSION = SessionRow("", "ann", 0.0, False, 5, "[]", "", "linear", "srgb")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / FILE_NAME) as store:
        yield store


def some_edits(*exposures: float) -> Edits:
    return tuple(Made(Edit("exposure", (each,)), "person") for each in exposures)


# -- history -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["edit", "undo", "redo"]), max_size=30))
def test_undo_and_redo_are_those_of_any_editor(kinds: list[str]) -> None:
    history, number = History(), 0
    past: list[Edits] = []
    future: list[Edits] = []
    now: Edits = ()
    for kind in kinds:
        if kind == "edit":
            number += 1
            past, future, now = [*past, now], [], (*now[:3], *some_edits(number / 10))
        elif kind == "undo":
            if not past:
                continue
            future, now, past = [*future, now], past[-1], past[:-1]
        else:
            if not future:
                continue
            past, now, future = [*past, now], future[-1], future[:-1]
        history = history.after(Action(kind, "person", now))  # type: ignore[arg-type]
        assert history.edits == now
        assert (list(history.past), list(history.future)) == (past, future)


def test_whose_an_edit_is() -> None:
    offered = Edit("gamma", (0.45,))
    history = History().after(Action("ask", "person", (), offered=((offered,),)))
    assert history.made(Edit("gamma", (0.45 + 1e-9,))).by == "agent"
    assert history.made(Edit("gamma", (0.46,))).by == "person"
    assert history.made(Edit("exposure", (0.45,))).by == "person"


@pytest.mark.parametrize(
    "data", [3, [3], [{}], [{"filter": "gamma"}], [{"filter": "glow", "parameters": [], "by": ""}]]
)
def test_what_are_no_edits(data: Any) -> None:
    with pytest.raises(ValueError, match=r"no edits|unknown filter"):
        edits_from_json(data)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_what_was_written_comes_back(store: Store, tmp_path: Path) -> None:
    row = store.begin(SESSION, [("a.png", "/x/a.png"), ("ü.png", "/x/ü.png")])
    photo = store.photos(row.id)[1]
    actions = [
        Action("open", "person", (), start_score=0.25, score=0.25),
        Action("edit", "agent", some_edits(1 / 3), 0, score=0.5, start_score=0.25, rewards=(0.1 + 0.2,)),
        Action("ways", "person", (), offered=((Edit("gamma", (0.5,)),), ())),
        Action("done", "person", some_edits(-0.0), saved=("ü.png", "ü.recipe.json"), note="a\n'b'"),
    ]
    for action in actions:
        store.record(photo, "abc", "raw-like", action)
    with Store.existing(tmp_path) as again:
        assert again.sessions() == [row]
        assert [(p.photo, p.name) for p in again.photos(row.id)] == [(1, "a.png"), (2, "ü.png")]
        rows = again.actions(row.id)
        assert [each.action for each in rows] == actions
        assert {(each.photo, each.sha256, each.reading) for each in rows} == {(2, "abc", "raw-like")}
        assert sorted(each.time for each in rows) == [each.time for each in rows]
        assert again.add_photo(row.id, "c.png", "/x/c.png").photo == 3


def test_views_come_back_bit_for_bit(store: Store) -> None:
    view = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    store.keep_view("abc", "linear", "srgb", view)
    store.keep_view("abc", "linear", "srgb", view)
    found = store.view("abc", "linear", "srgb")
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, view)
    assert store.view("abc", "raw-like", "srgb") is None


def test_every_commit_is_on_the_disk(store: Store) -> None:
    assert store._file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._file.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    row = store.begin(SESSION, [("a.png", "/x/a.png")])
    with sqlite3.connect(store.path) as other:  # sees only what was committed
        assert other.execute("SELECT user FROM sessions WHERE id = ?", (row.id,)).fetchall() == [("ann",)]
    other.close()


def test_an_action_that_cannot_be_kept_leaves_nothing(store: Store) -> None:
    row = store.begin(SESSION, [("a.png", "/x/a.png")])
    with pytest.raises(StoreError, match="damaged"):
        store.record(store.photos(row.id)[0]._replace(photo=7), "abc", "linear", Action("open", "person", ()))
    assert store.actions(row.id) == []
    store.record(store.photos(row.id)[0], "abc", "linear", Action("open", "person", ()))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        Store.existing(tmp_path)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE birds (name)")
    file.close()
    before = other.read_bytes()
    with pytest.raises(StoreError, match="no file of sessions"):
        Store(other)
    assert other.read_bytes() == before
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(StoreError, match="is damaged"):
        Store(tmp_path / "text")


@pytest.mark.parametrize("column", ["edits", "rewards", "offered", "saved"])
@pytest.mark.parametrize("value", ["", "{", "3", '[{"filter": 0}]'])
def test_damaged_rows_are_one_line(store: Store, column: str, value: str) -> None:
    row = store.begin(SESSION, [("a.png", "/x/a.png")])
    store.record(store.photos(row.id)[0], "abc", "linear", Action("open", "person", ()))
    store._file.execute(f"UPDATE actions SET {column} = ?", (value,))
    with pytest.raises(StoreError, match=r"^[^\n]*an action is damaged[^\n]*$"):
        store.actions(row.id)


# -- restarts ----------------------------------------------------------------------------------------------------------


def test_a_session_goes_on_after_a_restart(tmp_path: Path) -> None:
    photos = some_photos(tmp_path / "in")
    first = Page(open_studio(tmp_path / "out", photos), user="ann")
    first.photo()
    first.edit(0, EXPOSURE)
    first.edit(1, GAMMA)
    asked = first.did("/api/photos/1/ask")
    before = first.did("/api/photos/1/undo")

    second = Page(open_studio(tmp_path / "out", photos), user="ann")  # a browser that forgot its session
    assert second.session["session"] == first.session["session"]
    assert second.session["current"] == 1
    assert second.photo() == before
    assert len(second.did("/api/photos/1/redo")["steps"]) == 2
    assert second.edit(2, asked["suggestion"])["steps"][2]["by"] == "agent"
    second.did("/api/photos/1/done")

    third = Page(open_studio(tmp_path / "out", photos), session=first.session["session"])
    assert [p["status"] for p in third.session["photos"]] == ["done", "todo"]
    assert third.session["current"] == 2
    assert third.photo(1)["saved"] == ["photo1.png", "photo1.recipe.json", "photo1.steps.png"]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_done_a_restart_shows_the_same(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    photos = some_photos(tmp_path / "in", 1)
    page = Page(open_studio(tmp_path / "out", photos))
    photo = page.photo()
    for _ in range(30):
        names = ["edits", "edits", "edits", "edits/remove", "undo", "undo", "redo", "ask", "finish", "ways", "choose"]
        name = names[rng.integers(len(names))]
        step = int(rng.integers(len(photo["steps"]) + 1))
        edit = [EXPOSURE, GAMMA, CONTRAST, {"filter": "exposure", "parameters": [rng.uniform(-2, 2)]}][rng.integers(4)]
        kept = [each["edit"] for each in photo["steps"][:step]]
        answer = page.post(f"/api/photos/1/{name}", json={"step": step, "edit": edit, "edits": kept})
        assert answer.status_code in (200, 400, 409), answer.text
        photo = page.photo()
        assert len(photo["steps"]) + photo["steps_left"] == 5
        if rng.random() < 0.2:
            page = Page(open_studio(tmp_path / "out", photos), session=page.session["session"])
            assert page.photo() == photo
    result = run("study", "replay", tmp_path / "out")
    assert result.exit_code == 0, result.stderr


def test_other_rules_or_photos_are_other_sessions(tmp_path: Path) -> None:
    photos = some_photos(tmp_path / "in")
    ids = {
        Page(open_studio(tmp_path / "out", photos, **options), session=None).session["session"]
        for options in ({}, {"max_steps": 3}, {"blind": True}, {"user": "ann"}, {"critic": "another"})
    }
    other = Page(open_studio(tmp_path / "out", photos[:1]))
    assert len(ids | {other.session["session"]}) == 6
    named = Page(open_studio(tmp_path / "out", photos), session=other.session["session"])
    assert named.session["session"] != other.session["session"]
    assert len(named.session["photos"]) == 2


def test_a_changed_photo_begins_anew(tmp_path: Path) -> None:
    (photo,) = some_photos(tmp_path / "in", 1)
    original = photo.read_bytes()
    page = Page(open_studio(tmp_path / "out", [photo]))
    page.photo()
    before = page.edit(0, EXPOSURE)
    photograph(photo, 9)
    page = Page(open_studio(tmp_path / "out", [photo]), session=page.session["session"])
    assert page.photo()["steps"] == []
    page.edit(0, GAMMA)
    photo.write_bytes(original)
    page = Page(open_studio(tmp_path / "out", [photo]), session=page.session["session"])
    assert page.photo() == before


def test_saving_that_was_cut_short_uses_the_same_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = some_photos(tmp_path / "in", 1)
    studio = open_studio(tmp_path / "out", photos)
    page = Page(studio)
    page.photo()
    page.edit(0, EXPOSURE)
    with monkeypatch.context() as patched:  # the files are there, but not yet the word that it is done
        record = studio.store.record

        def cut_short(*row: Any) -> None:
            if row[-1].kind == "done":
                raise OSError("the power failed")
            record(*row)

        patched.setattr(studio.store, "record", cut_short)
        page.refused("/api/photos/1/done", status=500)
    assert (tmp_path / "out" / "photo1.png").exists()
    page = Page(open_studio(tmp_path / "out", photos), session=page.session["session"])
    page.edit(1, CONTRAST)
    assert page.did("/api/photos/1/done")["saved"][0] == "photo1.png"
    assert not (tmp_path / "out" / "photo1-2.png").exists()


def test_nobodys_work_is_replaced(tmp_path: Path) -> None:
    photos = some_photos(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo1.recipe.json").write_text("mine")
    page = Page(open_studio(tmp_path / "out", photos))
    assert play_a_game(page)["saved"][0] == "photo1-2.jpg"
    assert (tmp_path / "out" / "photo1.recipe.json").read_text() == "mine"
    assert not (tmp_path / "out" / "photo1.jpg").exists()


# -- kill -9 -----------------------------------------------------------------------------------------------------------


def test_killed_in_the_middle_it_goes_on(tmp_path: Path) -> None:
    some_photos(tmp_path / "in")
    with editor(tmp_path / "in", tmp_path / "out") as (process, client):
        session = client.post("/api/session", json={}).json()["session"]
        client.headers["X-Exposure-Session"] = session
        client.get("/api/photos/1")
        photo = client.post("/api/photos/1/edits", json={"step": 0, "edit": EXPOSURE}).json()
        confirmed = [photo["steps"]]

        def fidget() -> None:
            with suppress(httpx.HTTPError):
                for i in range(1000):
                    edit = {"filter": "gamma", "parameters": [0.4 + 0.5 * (i % 100) / 100]}
                    answer = client.post("/api/photos/1/edits", json={"step": min(i, 1), "edit": edit})
                    confirmed.append(answer.json()["steps"])

        thread = threading.Thread(target=fidget)
        thread.start()
        while len(confirmed) < 12:
            thread.join(0.01)
        os.kill(process.pid, signal.SIGKILL)
        thread.join()

    with editor(tmp_path / "in", tmp_path / "out") as (process, client):
        resumed = client.post("/api/session", json={"session": session}).json()
        assert resumed["session"] == session
        client.headers["X-Exposure-Session"] = session
        assert resumed["photos"][0]["status"] == "todo" or resumed["current"] == 1
        steps = client.get("/api/photos/1").json()["steps"]
        with Store.existing(tmp_path / "out") as store:
            rows = store.actions(session)
        # All that was confirmed is there, and at most one action more, whose answer was lost.
        kept = [row.action for row in rows if row.action.kind in ("edit", "change")]
        assert len(confirmed) <= len(kept) <= len(confirmed) + 1
        for steps_then, action in zip(confirmed, kept, strict=False):
            assert [step["reward"] for step in steps_then] == list(action.rewards)
        assert [step["reward"] for step in steps] == pytest.approx(list(kept[-1].rewards), abs=1e-6)
        answer = client.post("/api/photos/1/done", json={}).json()
        assert answer["saved"][0] == "photo1.png"
        assert answer["next"] == 2
        client.get("/api/photos/2")
        assert len(client.post("/api/photos/2/finish").json()["steps"]) == 5

        # Another editor on the same folder would not know of this one.
        result = run("play", "-o", tmp_path / "out", "--no-browser", "--port", 0)
        assert result.exit_code == 2
        assert "another editor works in this folder" in result.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)

    result = run("study", "replay", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert json.loads((tmp_path / "out" / "photo1.recipe.json").read_text())["source"] == "photo1.png"
