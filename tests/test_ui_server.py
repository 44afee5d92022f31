"""The editor's server: the game over HTTP, several people at once, requests that mean no good."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from cli_tools import photograph, run
from editor_tools import (
    BASE,
    CONTRAST,
    EXPOSURE,
    GAMMA,
    PORT,
    TOKEN,
    WARMER,
    Page,
    close_stores,
    editor,
    open_studio,
    partner,
    play_a_game,
    some_photos,
)
from PIL import Image

from exposure_gym.filters import default_filters
from exposure_gym.photo import Reading, Space, read_display
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.ui.controls import edit_from_page, edit_to_page, figure, panel
from exposure_gym.ui.guard import HEADERS, TOKEN_HEADER, Hosts
from exposure_gym.ui.partner import Partner
from exposure_gym.ui.pictures import Proof
from exposure_gym.ui.server import SESSION_HEADER
from exposure_gym.ui.uploads import clean_name

__all__ = ["close_stores"]  # a fixture


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return some_photos(tmp_path / "in")


@pytest.fixture
def page(tmp_path: Path, photos: list[Path]) -> Page:
    return Page(open_studio(tmp_path / "out", photos))


def pixels_of(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32) / 255


# -- the game ----------------------------------------------------------------------------------------------------------


def test_a_whole_game(page: Page, tmp_path: Path) -> None:
    assert [(p["id"], p["status"]) for p in page.session["photos"]] == [(1, "todo"), (2, "todo")]
    assert page.session["current"] == 1
    assert [f["name"] for f in page.session["filters"]] == [f.name for f in default_filters()]

    result = play_a_game(page)

    assert result["saved"] == ["photo1.jpg", "photo1.recipe.json", "photo1.steps.png"]
    assert result["next"] == 2
    assert [p["status"] for p in result["session"]["photos"]] == ["done", "todo"]
    assert all((tmp_path / "out" / name).is_file() for name in result["saved"])
    photo = page.photo()
    assert photo["done"]
    assert [step["by"] for step in photo["steps"]] == ["person"] * 3 + ["agent"]
    recipe = Recipe.load(tmp_path / "out" / "photo1.recipe.json")
    assert [edit.describe() for edit in recipe] == [step["words"] for step in photo["steps"]]
    assert recipe.edits[0].parameters == (1.0,)
    assert recipe.source == "photo1.png"


def test_the_finished_photo_is_what_the_page_showed(page: Page, tmp_path: Path) -> None:
    page.photo()
    page.edit(0, EXPOSURE)
    page.edit(1, GAMMA)
    shown = pixels_of(page.get("/api/photos/1/picture?step=2").content)
    page.did("/api/photos/1/done", {"format": "png"})
    finished = read_display(tmp_path / "out" / "photo1.png").pixels
    assert finished.shape == shown.shape == (90, 120, 3)
    assert np.abs(finished - shown).mean() < 0.01  # a JPEG's


def test_rewards_are_the_environments(page: Page, photos: list[Path]) -> None:
    from exposure_gym.envs import PhotoRetouchEnv

    page.photo()
    for step, edit in enumerate([EXPOSURE, EXPOSURE, CONTRAST]):
        photo = page.edit(step, edit)
    env = PhotoRetouchEnv()
    env.reset(options={"photo": Proof.of_file(photos[0], "raw-like", "srgb").pixels})
    score = photo["start_score"]
    for step in photo["steps"]:
        _, reward, _, _, info = env.step(env.form.action_from_edit(edit_from_page(step["edit"])))
        assert step["reward"] == pytest.approx(reward, abs=1e-6)
        assert step["penalties"]["reuse"] == pytest.approx(-info["rewards"]["reuse"])
        score += info["rewards"]["critic"]
        assert step["score"] == pytest.approx(score, abs=1e-5)
    assert photo["steps"][1]["penalties"]["reuse"] == 1.0


def test_going_back_recomputes_what_follows(page: Page) -> None:
    page.photo()
    page.edit(0, EXPOSURE)
    before = page.edit(1, GAMMA)
    after = page.edit(0, {"filter": "exposure", "parameters": [-1.0]})
    assert after["steps"][1]["edit"] == before["steps"][1]["edit"]
    assert after["steps"][1]["reward"] != before["steps"][1]["reward"]
    assert page.did("/api/photos/1/undo")["steps"] == before["steps"]
    assert page.did("/api/photos/1/redo")["steps"] == after["steps"]
    removed = page.did("/api/photos/1/edits/remove", {"step": 0})
    assert [step["edit"] for step in removed["steps"]] == [before["steps"][1]["edit"]]
    assert not removed["can_redo"]


def test_the_games_rules(page: Page) -> None:
    page.photo()
    assert "nothing to undo" in page.refused("/api/photos/1/undo", status=409)
    assert "no step 1" in page.refused("/api/photos/1/edits", {"step": 1, "edit": EXPOSURE})
    for step in range(5):
        photo = page.edit(step, CONTRAST)
    assert (photo["steps_left"], photo["max_steps"]) == (0, 5)
    for path, data in (
        ("edits", {"step": 5, "edit": EXPOSURE}),
        ("preview", {"step": 5, "edit": EXPOSURE}),
        ("ask", {}),
    ):
        assert "no steps are left" in page.refused(f"/api/photos/1/{path}", data, 409)
    assert page.photo() == photo
    page.did("/api/photos/1/done")
    for path, data in (("edits", {"step": 0, "edit": EXPOSURE}), ("undo", {}), ("done", {}), ("finish", {})):
        assert page.refused(f"/api/photos/1/{path}", data, 409) == "this photo is done"
    assert page.photo()["steps"] == photo["steps"]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (None, "an edit is an object"),
        ({"filter": "level", "parameters": [0.0, 1.0]}, "no filter 'level'"),
        ({"filter": "glow", "parameters": [1.0]}, "unknown filter 'glow'"),
        ({"filter": "exposure", "parameters": [9.0]}, "no action reaches"),
        ({"filter": "exposure", "parameters": ["1"]}, "list of numbers"),
        ({"filter": "exposure", "parameters": [1.0, 2.0]}, "takes 1 value"),
        ({"filter": "tone", "parameters": [1.0]}, "takes 8 values"),
        ({"filter": "white_balance", "parameters": [1.0, 1.0, 1.0]}, "temperature, tint"),
        ({"filter": "gamma", "parameters": [-1.0]}, "above 0"),
        ({"filter": "exposure", "parameters": [True]}, "list of numbers"),
        ({"filter": "exposure", "parameters": [1e999]}, "list of numbers"),
    ],
)
def test_what_is_no_edit_changes_nothing(page: Page, edit: Any, said: str) -> None:
    before = page.edit(0, GAMMA) if page.photo() else None
    answer = page.post("/api/photos/1/edits", content=json.dumps({"step": 1, "edit": edit}))
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert page.photo() == before


def test_a_preview_is_not_kept(page: Page) -> None:
    page.photo()
    before = page.edit(0, EXPOSURE)
    seen = page.did("/api/photos/1/preview", {"step": 1, "edit": GAMMA})
    assert page.photo() == before
    after = page.edit(1, GAMMA)
    assert seen["reward"] == after["steps"][1]["reward"]
    assert seen["score"] == after["score"]
    assert seen["curve"] == after["steps"][1]["curve"]
    head, data = seen["image"].split(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(data) == page.get("/api/photos/1/picture?step=2").content
    for channel in "rgb":
        assert len(seen["histogram"][channel]) == 64
        assert sum(seen["histogram"][channel]) == pytest.approx(1.0, abs=1e-3)
    assert page.see("/api/photos/1/histogram?step=2")["histogram"] == seen["histogram"]


def test_a_preview_of_an_earlier_step_goes_through(page: Page) -> None:
    page.photo()
    page.edit(0, EXPOSURE)
    page.edit(1, GAMMA)
    change = {"step": 0, "edit": CONTRAST}
    alone, through = (page.did("/api/photos/1/preview", {**change, "through": t}) for t in (False, True))
    after = page.edit(0, CONTRAST)
    assert alone["reward"] == through["reward"] == after["steps"][0]["reward"]
    assert (alone["score"], through["score"]) == (after["steps"][0]["score"], after["score"])
    pictures = [page.get(f"/api/photos/1/picture?step={step}").content for step in (1, 2)]
    assert [base64.b64decode(seen["image"].split(",")[1]) for seen in (alone, through)] == pictures


def test_the_reuse_penalty_is_shown_beforehand(page: Page) -> None:
    page.photo()
    page.edit(0, EXPOSURE)
    assert page.did("/api/photos/1/preview", {"step": 1, "edit": EXPOSURE})["reuse_penalty"] == 1.0
    assert page.did("/api/photos/1/preview", {"step": 1, "edit": GAMMA})["reuse_penalty"] == 0.0


def test_pictures(page: Page) -> None:
    photo = page.photo()
    assert (photo["width"], photo["height"]) == (120, 90)
    before = page.get("/api/photos/1/picture?step=0")
    assert before.headers["content-type"] == "image/jpeg"
    assert pixels_of(before.content).shape == (90, 120, 3)
    assert page.get("/api/photos/1/picture?step=1").status_code == 400
    assert page.get("/api/photos/1/picture?step=-1").status_code == 400
    assert page.get("/api/photos/1/picture").status_code == 400
    assert page.get("/api/photos/1/picture?step=0&size=huge").status_code == 400


def test_a_large_photo_is_made_small(tmp_path: Path) -> None:
    page = Page(open_studio(tmp_path / "out", [photograph(tmp_path / "in" / "large.jpg", 1, size=(1500, 2400))]))
    photo = page.photo()
    assert (photo["width"], photo["height"]) == (2400, 1500)
    assert photo["preview"] == {"width": 1280, "height": 800}
    small = pixels_of(page.get("/api/photos/1/picture?step=0&size=thumb").content)
    assert small.shape == (160, 256, 3)
    page.edit(0, GAMMA)
    page.did("/api/photos/1/done")
    assert read_display(tmp_path / "out" / "large.jpg").pixels.shape == (1500, 2400, 3)


# -- the agent ---------------------------------------------------------------------------------------------------------


def test_asking_the_agent(page: Page) -> None:
    page.photo()
    page.edit(0, EXPOSURE)
    answer = page.did("/api/photos/1/ask")
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    assert answer["suggestion"]["filter"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert len(page.photo()["steps"]) == 1
    photo = page.edit(1, answer["suggestion"])
    assert [step["by"] for step in photo["steps"]] == ["person", "agent"]
    assert photo["steps"][1]["words"] == answer["words"]
    assert photo["steps"][1]["reward"] == pytest.approx(answer["reward"], abs=1e-6)
    changed = page.edit(1, CONTRAST)
    assert changed["steps"][1]["by"] == "person"


def test_the_agent_finishes(page: Page) -> None:
    page.photo()
    page.edit(0, EXPOSURE)
    photo = page.did("/api/photos/1/finish")
    assert photo["steps_left"] == 0
    assert [step["by"] for step in photo["steps"]] == ["person"] + ["agent"] * 4
    assert len(page.did("/api/photos/1/undo")["steps"]) == 1


def test_five_ways(page: Page) -> None:
    page.photo()
    page.edit(0, EXPOSURE)
    ways = page.did("/api/photos/1/ways")["ways"]
    assert len(ways) == 5
    assert len({str(way["edits"]) for way in ways}) == 5
    photo = page.did("/api/photos/1/choose", {"edits": ways[3]["edits"]})
    assert [step["words"] for step in photo["steps"]] == ways[3]["words"]
    assert {step["by"] for step in photo["steps"]} == {"agent"}
    assert photo["score"] == pytest.approx(ways[3]["score"], abs=1e-5)
    from_step = page.did("/api/photos/1/ways", {"step": 2})["ways"]
    assert all(way["words"][:2] == ways[3]["words"][:2] for way in from_step)
    assert page.did("/api/photos/1/undo")["steps"][0]["edit"] == EXPOSURE


def test_without_an_agent_everything_else_works(tmp_path: Path, photos: list[Path]) -> None:
    page = Page(open_studio(tmp_path / "out", photos, agent=Partner(None, "there is no agent: no weights")))
    assert page.session["agent"] == {"available": False, "message": "there is no agent: no weights"}
    page.photo()
    for what in ("ask", "finish", "ways"):
        assert page.refused(f"/api/photos/1/{what}", status=503) == "there is no agent: no weights"
    page.edit(0, EXPOSURE)
    page.did("/api/photos/1/done")


def test_an_agent_that_cannot_be_loaded_is_absent(tmp_path: Path) -> None:
    absent = Partner.load(tmp_path / "nothing", default_filters())
    assert absent.agent is None
    assert "there is no agent" in absent.message


def test_fewer_steps_than_the_agent_learned(tmp_path: Path, photos: list[Path]) -> None:
    page = Page(open_studio(tmp_path / "out", photos, max_steps=3))
    page.photo()
    page.edit(0, EXPOSURE)
    assert len(page.did("/api/photos/1/ways")["ways"][0]["edits"]) == 3
    assert len(page.did("/api/photos/1/finish")["steps"]) == 3


def test_blind(tmp_path: Path, photos: list[Path]) -> None:
    studio = open_studio(tmp_path / "out", photos, blind=True)
    page = Page(studio)
    page.photo()
    photo = page.edit(0, EXPOSURE)
    answers = [
        photo["score"],
        photo["start_score"],
        photo["steps"][0]["reward"],
        photo["steps"][0]["score"],
        page.did("/api/photos/1/preview", {"step": 1, "edit": GAMMA})["reward"],
        page.did("/api/photos/1/ask")["score"],
        *(way["score"] for way in page.did("/api/photos/1/ways")["ways"]),
    ]
    assert answers == [None] * len(answers)
    assert studio.store.actions(page.session["session"])[1].action.rewards[0] != 0.0  # they are kept all the same


# -- people and photographs --------------------------------------------------------------------------------------------


def test_two_people_at_once(tmp_path: Path, photos: list[Path]) -> None:
    studio = open_studio(tmp_path / "out", photos)
    ann, bob, other = Page(studio, user="ann"), Page(studio, user="bob"), Page(studio, user="ann")
    assert len({page.session["session"] for page in (ann, bob, other)}) == 3
    errors: list[BaseException] = []

    def play(page: Page, exposure: float) -> None:
        try:
            page.photo()
            page.edit(0, {"filter": "exposure", "parameters": [exposure]})
            for i in range(10):
                page.did(
                    "/api/photos/1/preview", {"step": 1, "edit": {"filter": "gamma", "parameters": [0.4 + i / 50]}}
                )
            page.edit(1, GAMMA)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=play, args=pair) for pair in ((ann, 1.0), (bob, 2.0), (other, 3.0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    first = [page.photo()["steps"][0]["edit"]["parameters"][0] for page in (ann, bob, other)]
    assert first == pytest.approx([1.0, 2.0, 3.0])
    assert ann.did("/api/photos/1/done")["saved"][0] == "photo1.png"
    assert bob.did("/api/photos/1/done")["saved"][0] == "photo1-2.png"


def test_one_session_from_two_places_stays_consistent(page: Page) -> None:
    page.photo()
    edits = [{"step": 0, "edit": {"filter": "exposure", "parameters": [i / 10]}} for i in range(12)]
    threads = [threading.Thread(target=page.did, args=("/api/photos/1/edits", edit)) for edit in edits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    photo = page.photo()
    assert len(photo["steps"]) == 1
    for left in range(11, -1, -1):
        assert len(page.did("/api/photos/1/undo")["steps"]) == (1 if left else 0)


def test_sessions_are_named_and_resumed(tmp_path: Path, photos: list[Path]) -> None:
    studio = open_studio(tmp_path / "out", photos, user="ann")
    first = Page(studio)
    assert first.session["user"] == "ann"
    first.photo(2)
    assert first.did("/api/session", {"session": first.session["session"]})["current"] == 2
    assert first.did("/api/session", {"user": "bob", "session": first.session["session"]})["user"] == "bob"
    assert (
        "such session" in Page(studio, enter=False).get("/api/session", headers={SESSION_HEADER: "x"}).json()["error"]
    )
    first.refused("/api/session", {"user": "a" * 100})
    first.refused("/api/session", {"user": 3})
    assert first.did("/api/session", {"user": " bob\n\x00 b "})["user"] == "bob b"


def test_requests_without_a_session_share_one(tmp_path: Path, photos: list[Path]) -> None:
    studio = open_studio(tmp_path / "out", photos)
    page = Page(studio, enter=False)
    page.photo()
    page.edit(0, EXPOSURE)
    assert len(page.photo()["steps"]) == 1
    assert len(studio.store.sessions()) == 1


def test_a_photo_that_changed_is_not_finished_with_edits_for_another(page: Page, photos: list[Path]) -> None:
    page.photo()
    page.edit(0, EXPOSURE)
    photograph(photos[0], 9)
    assert "has changed since it was opened" in page.refused("/api/photos/1/done", status=422)
    assert page.photo()["steps"] == []
    page.did("/api/photos/1/done")


def test_more_photos_than_stay_in_memory(tmp_path: Path) -> None:
    studio = open_studio(tmp_path / "out", some_photos(tmp_path / "in", 8))
    page = Page(studio)
    for number in range(1, 9):
        page.photo(number)
        page.edit(0, {"filter": "exposure", "parameters": [number / 4]}, number)
    assert len(studio._tables) < 8
    for number in range(1, 9):
        assert page.photo(number)["steps"][0]["edit"]["parameters"] == pytest.approx([number / 4])
        assert page.photo(number)["can_undo"]


def test_a_photo_that_cannot_be_read_fails_alone(tmp_path: Path, photos: list[Path]) -> None:
    broken = tmp_path / "in" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    page = Page(open_studio(tmp_path / "out", [broken, tmp_path / "in" / "gone.png", *photos]))
    for number, name in ((1, "broken.jpg"), (2, "gone.png")):
        answer = page.get(f"/api/photos/{number}")
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(f"{name}: ")
        assert str(tmp_path) not in answer.json()["error"]
    session = page.see("/api/session")
    assert [p["status"] for p in session["photos"]] == ["failed", "failed", "todo", "todo"]
    assert session["photos"][0]["message"].startswith("broken.jpg: ")
    assert session["current"] == 3
    page.photo(3)
    photograph(tmp_path / "in" / "gone.png", 5)
    assert page.photo(2)["status"] == "open"
    assert page.get("/api/photos/9").status_code == 404


def test_a_full_disk_loses_nothing(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from exposure_gym.ui import saving

    page.photo()
    photo = page.edit(0, EXPOSURE)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(saving, "save", full)
        assert "No space" in page.refused("/api/photos/1/done", status=500)
    assert page.photo() == photo
    assert page.did("/api/photos/1/done")["saved"][0] == "photo1.png"


def test_unexpected_errors_are_one_line(page: Page, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from exposure_gym.ui.table import Table

    page.photo()

    def stumble(*_: Any) -> None:
        raise RuntimeError("secret\ndetails")

    monkeypatch.setattr(Table, "undo", stumble)
    assert "something went wrong" in page.refused("/api/photos/1/undo", status=500)
    assert capsys.readouterr().err == "exposure-gym: /api/photos/1/undo: RuntimeError: secret details\n"


# -- uploads -----------------------------------------------------------------------------------------------------------


def test_an_upload_joins_the_session(page: Page, tmp_path: Path, photos: list[Path]) -> None:
    data = photos[0].read_bytes()
    for name, stored in (("my photo.png", "my photo.png"), ("../../my photo.PNG", "my photo-2.png")):
        answer = page.post(f"/api/upload?name={name}", content=data)
        assert answer.status_code == 200, answer.text
        assert answer.json()["photos"][-1]["name"] == stored
        assert (tmp_path / "out" / "photos" / stored).read_bytes() == data
    assert page.photo(3)["width"] == 120
    assert len(page.edit(0, EXPOSURE, 3)["steps"]) == 1
    assert not list((tmp_path / "out" / "photos").glob(".*"))
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize(
    ("name", "data", "status", "said"),
    [
        ("a.png", b"no picture", 422, "a.png: "),
        ("a.exe", b"MZ", 400, "no photograph's name"),
        ("", b"", 400, "no photograph's name"),
        ("a.jpg", b"", 422, "a.jpg: "),
    ],
)
def test_uploads_that_are_no_photographs(
    page: Page, tmp_path: Path, name: str, data: bytes, status: int, said: str
) -> None:
    answer = page.post(f"/api/upload?name={name}", content=data)
    assert answer.status_code == status
    assert said in answer.json()["error"]
    folder = tmp_path / "out" / "photos"
    assert not folder.exists() or not list(folder.iterdir())
    assert len(page.see("/api/session")["photos"]) == 2


def test_uploads_are_limited_while_they_arrive(tmp_path: Path, photos: list[Path]) -> None:
    page = Page(open_studio(tmp_path / "out", photos), max_upload=1 << 20)
    sent = 0

    def endless() -> Any:
        nonlocal sent
        for _ in range(10_000):
            sent += 1 << 16
            yield bytes(1 << 16)

    for content in (bytes((1 << 20) + 1), endless()):
        answer = page.post("/api/upload?name=a.png", content=content)
        assert answer.status_code == 413
        assert "1 MB" in answer.json()["error"]
    assert not list((tmp_path / "out").glob("photos/*"))
    assert page.post("/api/photos/1/edits", content=b" " * 100_000).status_code == 413


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a.jpg", "a.jpg"),
        ("C:\\photos\\a.JPEG", "a.jpeg"),
        ("../../etc/passwd.png", "passwd.png"),
        ("..png", "photo.png"),
        (".hidden.png", "hidden.png"),
        ("a\x00\nb.tif", "a--b.tif"),
        ("con.png", "con-.png"),
        ("<script>.png", "script.png"),
        ("Füße 3.dng", "Füße 3.dng"),
        ("x" * 300 + ".png", "x" * 80 + ".png"),
        ("\ud800.png", "photo.png"),
    ],
)
def test_names_are_made_harmless(name: str, clean: str) -> None:
    assert clean_name(name) == clean


# -- hostile requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", "", "10.0.0.1:8765"]
)
def test_other_names_of_the_server_are_refused(page: Page, host: str) -> None:
    for path in ("/", "/static/style.css", "/api/session"):
        assert page.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"LOCALHOST:{PORT}", f"[::1]:{PORT}"])
def test_its_own_names_are_not(page: Page, host: str) -> None:
    assert page.get("/api/session", headers={"host": host}).status_code == 200


def test_a_server_for_all_answers_to_addresses_but_not_to_names() -> None:
    hosts = Hosts("0.0.0.0", PORT)
    assert f"192.168.1.7:{PORT}" in hosts
    assert f"[fe80::1]:{PORT}" in hosts
    assert f"192.168.1.7:{PORT + 1}" not in hosts
    assert f"999.1.1.1:{PORT}" not in hosts
    assert f"evil.example:{PORT}" not in hosts
    assert "192.168.1.7:8765" in Hosts("192.168.1.7", PORT)
    assert "192.168.1.8:8765" not in Hosts("192.168.1.7", PORT)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_pages_change_nothing(page: Page, headers: dict[str, str]) -> None:
    before = page.photo()
    answer = page.post("/api/photos/1/edits", json={"step": 0, "edit": EXPOSURE}, headers=headers)
    assert answer.status_code == 403
    assert answer.json() == {"error": "requests from other pages are refused"}
    assert page.photo() == before
    own = {"origin": BASE, "sec-fetch-site": "same-origin"}
    assert page.post("/api/photos/1/edits", json={"step": 0, "edit": EXPOSURE}, headers=own).status_code == 200


def test_nothing_without_the_token(page: Page) -> None:
    for token in ("", "wrong", TOKEN + "x", TOKEN[:-1], "é"):
        for method, path in (
            ("GET", "/api/session"),
            ("POST", "/api/session"),
            ("GET", "/api/photos/1/picture?step=0"),
        ):
            answer = page.request(method, path, headers={TOKEN_HEADER: token.encode()})
            assert answer.status_code == 403
            assert "token" in answer.json()["error"]


def test_headers_keep_the_page_to_itself(page: Page) -> None:
    for answer in (page.get("/api/session"), page.get("/api/none"), page.get("/", headers={"host": "evil"})):
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert "access-control-allow-origin" not in answer.headers
    assert "'unsafe" not in HEADERS["Content-Security-Policy"]
    assert page.options("/api/session").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/..%5cserver.py",
        "/api/photos/../../etc/passwd",
        "/api/photos/-1",
        "/api/photos/1e3",
        "/api/photos/99999999999999999999999",
        "/api/photos/1/picture/../../../x",
    ],
)
def test_paths_lead_nowhere(page: Page, path: str) -> None:
    assert page.get(path).status_code == 404


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"3", b"null", b'"x"', b"\xff", b"[" * 50_000, b'{"step": 0.5}', b'{"step": true}', b'{"step": "0"}'],
)
def test_bodies_that_are_nothing(page: Page, body: bytes) -> None:
    page.photo()
    answer = page.post("/api/photos/1/edits", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].isprintable()


def test_raw_requests_to_the_real_server(tmp_path: Path) -> None:
    """What a browser would never send."""
    some_photos(tmp_path / "in", 1)
    with editor(tmp_path / "in", tmp_path / "out") as (_, client):
        port = client.base_url.port
        own = f"Host: 127.0.0.1:{port}"
        token = f"X-Exposure-Token: {client.headers['X-Exposure-Token']}"

        def status(*lines: str, body: bytes = b"") -> int:
            """Of the answer, with the connection closed by the server or by us."""
            with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
                line.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
                answer = line.makefile("rb").readline()
            return int(answer.split()[1]) if answer else 0

        assert status("GET / HTTP/1.1", own) == 200
        assert status("GET / HTTP/1.0") == 403
        assert status("GET / HTTP/1.1", own, "Host: evil.example") in (400, 403)
        assert status("GET http://evil.example/ HTTP/1.1", "Host: evil.example") == 403
        assert status("GET /api/session HTTP/1.1", own) == 403
        assert status("GET /api/session HTTP/1.1", own, token) == 200
        assert status("GET //api/session HTTP/1.1", own) == 404
        assert status("GET /static/../../../../etc/passwd HTTP/1.1", own) == 404
        assert status("GET /static/%00 HTTP/1.1", own) == 404
        assert status("POST /api/upload?name=a.png HTTP/1.1", own, token, f"Content-Length: {10**12}") == 413
        assert status("POST /api/session HTTP/1.1", own, token, "Content-Length: -1") == 400
        chunked = ("POST /api/session HTTP/1.1", own, token, "Transfer-Encoding: chunked")
        assert status(*chunked, body=b"20000\r\n" + b" " * 0x20000 + b"\r\n") == 413
        assert status(*chunked, body=b"zz\r\n") == 400
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
        assert status("GET /api/session HTTP/1.1", own, *upgrade) == 403
        upload = ("POST /api/upload?name=a.png HTTP/1.1", own, token, "Content-Length: 9", "", "ab")
        with socket.create_connection(("127.0.0.1", port)) as line:  # and gone in the middle
            line.sendall("\r\n".join(upload).encode())
        for _ in range(100):
            assert client.get("/api/session").status_code == 200
            if not list((tmp_path / "out").glob("photos/*")):
                break
            time.sleep(0.1)
        else:
            pytest.fail("half an upload was left")


# -- its parts ---------------------------------------------------------------------------------------------------------


def test_edits_survive_the_page() -> None:
    rng = np.random.default_rng(0)
    for filter_ in default_filters():
        (shown,) = (each for each in panel(default_filters()) if each["name"] == filter_.name)
        for _ in range(20):
            edit = Edit.from_action(filter_.name, rng.uniform(-1, 1, filter_.num_actions))
            sent = edit_to_page(edit)
            assert len(sent["parameters"]) == len(shown["parameters"])
            assert edit_from_page(sent).parameters == pytest.approx(edit.parameters, abs=1e-9)
        neutral = {"filter": filter_.name, "parameters": [each["neutral"] for each in shown["parameters"]]}
        assert edit_from_page(neutral).parameters == pytest.approx(filter_.neutral, abs=1e-4)


def test_sliders_reach_what_the_filter_does(page: Page) -> None:
    page.photo()
    for shown in page.session["filters"]:
        for end in ("low", "high"):
            edit = {"filter": shown["name"], "parameters": [each[end] for each in shown["parameters"]]}
            page.did("/api/photos/1/preview", {"step": 0, "edit": edit})


def test_temperature_and_tint() -> None:
    red, green, blue = edit_from_page({"filter": "white_balance", "parameters": [0.5, 0.0]}).parameters
    assert red / blue == pytest.approx(2**0.5)
    assert green == pytest.approx((red * blue) ** 0.5)
    assert "warmer" in edit_from_page(WARMER).describe()
    red, green, blue = edit_from_page({"filter": "white_balance", "parameters": [0.0, 0.3]}).parameters
    assert red == pytest.approx(blue)
    assert green / red == pytest.approx(2**-0.3)


def test_figures() -> None:
    curve = figure(Edit("gamma", (0.5,)))["points"]["rgb"]
    assert len(curve) == 33
    assert curve[8] == pytest.approx([0.25, 0.5])
    colour = figure(Edit("color", (0.9,) * 8 + (1.1,) * 4 + (0.9,) * 4 + (1.0,) * 8))["points"]
    assert colour["g"][16][1] > 0.51
    assert colour["r"][16][1] == pytest.approx(0.5)
    grey = figure(Edit("black_white", (1.0,)))
    assert all(code[1:3] == code[3:5] == code[5:7] for code in grey["after"])
    assert grey["before"] != grey["after"]


def test_a_proof_is_the_recipe_applied() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random((40, 60, 3)).astype(np.float32)
    edits = [Edit("exposure", (0.5,)), Edit("contrast", (0.4,)), Edit("saturation", (0.7,)), Edit("gamma", (0.8,))]
    wanted = np.rint(255 * Recipe(tuple(edits)).apply_photo(pixels).clip(0, 1))
    proof = Proof(pixels)
    for keep in (0, 3, 2, 3, 1, 4, 0):
        assert np.abs(proof.edited(edits, keep) - wanted).max() <= 1


@pytest.mark.parametrize(("reading", "space"), [("display", "srgb"), ("linear", "prophoto"), ("raw-like", "prophoto")])
def test_photos_are_read_as_the_agent_learned_it(
    tmp_path: Path, photos: list[Path], reading: Reading, space: Space
) -> None:
    agent = Partner(None, "none")
    agent.reading, agent.space = reading, space
    page = Page(open_studio(tmp_path / "out", photos, agent=agent))
    assert page.photo()["display"] == (reading == "display")
    original = read_display(photos[0]).pixels
    if reading == "display":  # as it came, with no edit and with none that does anything
        assert np.abs(pixels_of(page.get("/api/photos/1/picture?step=0").content) - original).mean() < 0.01
    page.edit(0, {"filter": "contrast", "parameters": [0.0]})
    page.edit(1, GAMMA)
    shown = pixels_of(page.get("/api/photos/1/picture?step=2").content)
    page.did("/api/photos/1/done", {"format": "png"})
    assert np.abs(read_display(tmp_path / "out" / "photo1.png").pixels - shown).mean() < 0.01
    recipe = Recipe.load(tmp_path / "out" / "photo1.recipe.json")
    assert recipe.working_space == space
    assert recipe.input_domain == ("display" if reading == "display" else "linear")
    assert run("study", "replay", tmp_path / "out").exit_code == 0
    exported = tmp_path / "export"
    assert run("study", "export", tmp_path / "out", "-o", exported).exit_code == 0
    assert Recipe.load(exported / "anonymous" / "photo1.recipe.json").edits == recipe.edits


def test_agents_with_other_rules_are_no_partners() -> None:
    agent = partner().agent
    assert agent is not None
    assert Partner.load(None, default_filters()[:3]).agent is None


# -- the command -------------------------------------------------------------------------------------------------------


def test_play_without_its_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run("play", "-o", tmp_path / "out", "--no-browser")
    assert result.exit_code == 1
    assert 'pip install "exposure-gym[play]"' in result.stderr
    assert not (tmp_path / "out").exists()


def test_play_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    some_photos(tmp_path / "in")
    other = tmp_path / "other"
    other.mkdir()
    (other / "sessions.sqlite").write_bytes(b"no database at all" * 100)
    for arguments, said in (
        ([tmp_path / "empty", "-o", tmp_path / "out"], "no photograph in this folder"),
        (["-o", other], "is damaged"),
        ([tmp_path / "nothing.jpg", "-o", tmp_path / "out"], "nothing.jpg: does not exist"),
        ([tmp_path / "in", "-o", tmp_path / "in"], "choose another with -o"),
        (["-o", tmp_path / "out", "--user", "x" * 100], "at most 80 letters"),
        (["-o", tmp_path / "out", "--host", "203.0.113.7"], "cannot listen there"),
    ):
        result = run("play", "--no-browser", "--port", 0, *arguments)
        assert result.exit_code == 2, result.output
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
