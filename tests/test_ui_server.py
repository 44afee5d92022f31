"""The editor's server: the game over HTTP, the agent as a partner, several people at once."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from cli_tools import photograph
from editor_tools import (
    CONTRAST,
    EXPOSURE,
    GAMMA,
    Page,
    close_stores,
    first_page,
    open_studio,
    pixels_of,
    play_a_game,
    some_photos,
    two_photos,
)

from exposure_gym.filters import default_filters
from exposure_gym.photo import read_display
from exposure_gym.recipe import Recipe
from exposure_gym.ui.controls import edit_from_page
from exposure_gym.ui.partner import Partner
from exposure_gym.ui.pictures import Proof
from exposure_gym.ui.server import SESSION_HEADER

__all__ = ["close_stores", "first_page", "two_photos"]  # fixtures


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
