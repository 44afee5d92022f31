"""What people did is exported as it was, and the environment gives the same rewards for it again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from cli_tools import photograph, run
from editor_tools import EXPOSURE, GAMMA, Page, close_stores, open_studio, play_a_game, some_photos

from exposure_gym.cli.play import _studio
from exposure_gym.photo import read_display
from exposure_gym.recipe import Recipe
from exposure_gym.ui.store import FILE_NAME, Store
from exposure_gym.ui.study import games

__all__ = ["close_stores"]  # a fixture


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """Two people on two photographs: one done and one begun each, and one that cannot be read."""
    broken = tmp_path / "in" / "broken.png"
    photos = [*some_photos(tmp_path / "in"), broken]
    broken.write_bytes(b"\x89PNG no picture")
    studio = open_studio(tmp_path / "out", photos)
    for user in ("ann", "Bob / Smith"):
        page = Page(studio, user=user)
        play_a_game(page)
        page.photo(2)
        page.edit(0, GAMMA, 2)
        page.get("/api/photos/3")
    return tmp_path / "out"


def tamper(folder: Path, query: str, *values: Any) -> None:
    with sqlite3.connect(folder / FILE_NAME) as file:
        assert file.execute(query, values).rowcount > 0
    file.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_export(played: Path, tmp_path: Path) -> None:
    result = run("study", "export", played, "-o", tmp_path / "export")
    assert result.exit_code == 0, result.stderr
    assert "4 games" in result.stdout
    folder = tmp_path / "export"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "Bob - Smith/photo1.jpg",
        "Bob - Smith/photo1.recipe.json",
        "Bob - Smith/photo1.steps.png",
        "Bob - Smith/photo2.recipe.json",
        "actions.jsonl",
        "ann/photo1.jpg",
        "ann/photo1.recipe.json",
        "ann/photo1.steps.png",
        "ann/photo2.recipe.json",
        "steps.jsonl",
    ]
    actions = [line for line in lines(folder / "actions.jsonl") if line["user"] == "ann"]
    kinds = [line["action"] for line in actions]
    assert kinds == [
        *("open", "edit", "edit", "edit", "ask", "edit", "change", "undo", "redo", "saving", "done"),
        *("open", "edit", "failed"),
    ]
    assert [line["time"] for line in actions] == sorted(line["time"] for line in actions)
    assert actions[5]["actor"] == "agent"
    assert actions[-1]["note"].startswith("broken.png: ")
    assert str(tmp_path) not in (folder / "actions.jsonl").read_text()

    steps = [line for line in lines(folder / "steps.jsonl") if line["user"] == "ann"]
    assert [(s["photo"], s["done"], s["step"], s["of"]) for s in steps] == [
        *(("photo1.png", True, i, 4) for i in (1, 2, 3, 4)),
        ("photo2.png", False, 1, 1),
    ]
    assert [s["reward"] for s in steps[:4]] == actions[10]["rewards"]
    exported, saved = Recipe.load(folder / "ann" / "photo1.recipe.json"), Recipe.load(played / "photo1.recipe.json")
    assert (exported.edits, exported.source) == (saved.edits, saved.source)
    assert (folder / "ann" / "photo1.jpg").read_bytes() == (played / "photo1.jpg").read_bytes()


def test_an_export_is_not_replaced_by_accident(played: Path, tmp_path: Path) -> None:
    run("study", "export", played / FILE_NAME, "-o", tmp_path / "export")
    again = run("study", "export", played, "-o", tmp_path / "export")
    assert (again.exit_code, "--force" in again.stderr) == (2, True)
    assert run("study", "export", played, "-o", tmp_path / "export", "--force").exit_code == 0
    into_itself = run("study", "export", played, "-o", played)
    assert (into_itself.exit_code, "choose another" in into_itself.stderr) == (2, True)


def test_pictures_that_are_gone_are_named(played: Path, tmp_path: Path) -> None:
    (played / "photo1.jpg").unlink()
    result = run("study", "export", played, "-o", tmp_path / "export")
    assert result.exit_code == 1
    assert "photo1.jpg: is missing" in result.stderr
    assert (tmp_path / "export" / "ann" / "photo1.recipe.json").exists()
    assert (tmp_path / "export" / "ann" / "photo1.steps.png").exists()


def test_everything_can_be_played_again(played: Path) -> None:
    result = run("study", "replay", played)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert "no problems" in result.stdout
    assert run("study", "replay", played, "--tolerance", 1e-6).exit_code == 0


def test_the_recipe_makes_the_picture_that_was_saved(played: Path, tmp_path: Path) -> None:
    """The exported recipe, applied by retouch, gives the picture that the editor wrote."""
    run("study", "export", played, "-o", tmp_path / "export")
    recipe = tmp_path / "export" / "ann" / "photo1.recipe.json"
    source = tmp_path / "in" / "photo1.png"
    how = ("--recipe", recipe, "--brightness", "raw-like", "--format", "jpg", "--no-steps")
    assert run("retouch", source, "-o", tmp_path / "again", *how).exit_code == 0
    again, saved = (read_display(folder / "photo1.jpg").pixels for folder in (tmp_path / "again", played))
    np.testing.assert_array_equal(again, saved)


@pytest.mark.parametrize(
    ("query", "values", "said"),
    [
        ("UPDATE actions SET rewards = ? WHERE kind = 'done'", ["[0.5, 0.1, 0.1, 0.1]"], "the reward of step 1 is"),
        ("UPDATE actions SET rewards = ? WHERE kind = 'done'", ["[NaN, 0.1, 0.1, 0.1]"], "the reward of step 1 is"),
        ("UPDATE actions SET rewards = ? WHERE kind = 'done'", ["[0.1]"], "4 steps have 1 rewards"),
        ("UPDATE actions SET score = score + 0.002 WHERE kind = 'redo'", [], "the last score is"),
        ("UPDATE actions SET start_score = NULL WHERE kind = 'open'", [], "the photo's score is"),
        (
            "UPDATE actions SET edits = ? WHERE kind = 'undo'",
            ['[{"filter": "exposure", "parameters": [99.0], "by": "person"}]'],
            "cannot be played",
        ),
    ],
)
def test_what_was_tampered_with_is_found(played: Path, query: str, values: list[str], said: str) -> None:
    tamper(played, query, *values)
    result = run("study", "replay", played)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "photo1.png of ann" in result.stderr
    assert "photo1.png of Bob / Smith" in result.stderr


def test_photos_that_are_missing_or_changed_are_named(played: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "photo1.png").unlink()
    photograph(tmp_path / "in" / "photo2.png", 77)
    result = run("study", "replay", played)
    assert result.exit_code == 1
    errors = result.stderr.splitlines()
    assert len(errors) == 4  # two people
    assert sum("photo1.png: is missing" in line for line in errors) == 2
    assert sum("photo2.png: has changed since" in line for line in errors) == 2


def test_photos_that_moved_are_found_by_name(played: Path, tmp_path: Path) -> None:
    (tmp_path / "in").rename(tmp_path / "moved")
    assert run("study", "replay", played).exit_code == 1
    result = run("study", "replay", played, "--photos", tmp_path / "moved")
    assert result.exit_code == 0, result.stderr
    shutil.copytree(tmp_path / "moved", played / "photos")  # where photographs of the editor's own lie
    assert run("study", "replay", played).exit_code == 0


def test_another_critic_is_named(played: Path) -> None:
    tamper(played, "UPDATE sessions SET critic = 'abc' WHERE user = 'ann'")
    result = run("study", "replay", played)
    assert result.exit_code == 1
    assert result.stderr.count("another critic judged it") == 2


def test_the_editor_and_its_sessions_know_a_style_by_name(tmp_path: Path) -> None:
    """The critic that judges is the style's own, and the partner reads photographs as the style's frames were read."""
    photos = some_photos(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    studio = _studio([str(path) for path in photos], tmp_path / "out", "ann", 2, blind=False, model=Path("sintel"))
    assert studio.partner.reading == "display"
    page = Page(studio)
    page.photo()
    page.edit(0, EXPOSURE)
    studio.store.close()
    assert "another critic" in run("study", "replay", tmp_path / "out").stderr
    again = run("study", "replay", tmp_path / "out", "--model", "sintel")
    assert (again.exit_code, again.stderr) == (0, "")


def test_sessions_of_other_lengths(tmp_path: Path) -> None:
    photos = some_photos(tmp_path / "in", 1)
    for steps in (2, 3):
        page = Page(open_studio(tmp_path / "out", photos, max_steps=steps))
        page.photo()
        for step in range(steps):
            page.edit(step, EXPOSURE)
    assert run("study", "replay", tmp_path / "out").exit_code == 0
    with Store.existing(tmp_path / "out") as store:
        assert [len(game.edits) for game in games(store)] == [2, 3]


def test_a_folder_without_sessions(tmp_path: Path) -> None:
    for command in (("export", "-o", tmp_path / "x"), ("replay",)):
        result = run("study", command[0], tmp_path, *command[1:])
        assert result.exit_code == 2
        assert "does not exist" in result.stderr
    assert not (tmp_path / FILE_NAME).exists()


def test_an_export_while_somebody_plays(played: Path, tmp_path: Path) -> None:
    """The folder is read as it lies there, with its write-ahead log."""
    assert (played / f"{FILE_NAME}-wal").exists()
    copy = tmp_path / "copy"
    shutil.copytree(played, copy)
    assert run("study", "export", copy, "-o", tmp_path / "export").exit_code == 0
    assert len(lines(tmp_path / "export" / "actions.jsonl")) == 28
