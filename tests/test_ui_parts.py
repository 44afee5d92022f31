"""The editor's parts on their own: sliders, proofs, how photographs are read, and the command that starts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from cli_tools import run
from editor_tools import (
    GAMMA,
    WARMER,
    Page,
    close_stores,
    first_page,
    open_studio,
    partner,
    pixels_of,
    some_photos,
    two_photos,
)

from exposure_gym.filters import default_filters
from exposure_gym.photo import Reading, Space, read_display
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.ui.controls import edit_from_page, edit_to_page, figure, panel
from exposure_gym.ui.partner import Partner
from exposure_gym.ui.pictures import Proof

__all__ = ["close_stores", "first_page", "two_photos"]  # fixtures


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
