"""The report: that it shows what is there, that nothing in a name or a file breaks it, and that its sliders slide."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from browser import browse, screenshot
from cli_tools import photograph, run
from numpy.typing import NDArray
from PIL import Image

from exposure_gym.photo import DisplayPhoto, list_photos, read_display, write_display
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.report import find_entries, write_report
from exposure_gym.viz import write_steps

RECIPE = Recipe((Edit("exposure", (1.0,)), Edit("gamma", (0.5,))), input_domain="display")


def retouched(folder: Path, original: Path, name: str | None = None, steps: str | None = None) -> Path:
    """The files that retouching a photograph leaves in a folder; its recipe among them."""
    folder.mkdir(exist_ok=True)
    name = name or original.stem
    recipe = Recipe(RECIPE.edits, source=original.name, input_domain="display")
    recipe.save(folder / f"{name}.recipe.json")
    pixels = read_display(original).pixels
    write_display(folder / f"{name}.jpg", DisplayPhoto(recipe.apply_photo(pixels)))
    if steps is not None:
        write_steps(folder / f"{name}.steps.{steps}", recipe, pixels)
    return folder / f"{name}.recipe.json"


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [found for name, found in self.tags if name == tag and attributes.items() <= found.items()]

    def file(self, address: str) -> Path:
        assert not re.match(r"[a-z]+:|/", address)
        return self.path.parent / os.fsdecode(unquote_to_bytes(address))

    def picture(self, address: str) -> NDArray[np.float64]:
        data = address.partition("base64,")[2]
        with Image.open(BytesIO(base64.b64decode(data)) if data else self.file(address)) as image:
            return np.asarray(image.convert("RGB"), float)


def report(folder: Path, *originals: Path, embed: bool = False) -> Page:
    entries, problems = find_entries(folder, list_photos(originals))
    assert problems == []
    assert write_report(folder, entries, embed=embed) == []
    return Page(folder / "report.html")


def test_a_report_shows_each_photo(tmp_path: Path) -> None:
    originals = [photograph(tmp_path / "in" / name, seed) for seed, name in enumerate(["b-10.jpg", "b-2.png"])]
    for original, steps in zip(originals, ("svg", "png"), strict=True):
        retouched(tmp_path / "out", original, steps=steps)
    page = report(tmp_path / "out", tmp_path / "in")
    assert page.text.index("b-2.jpg") < page.text.index("b-10.jpg")
    for said in ("2 photos", "exposure", "+1.0 EV", "1/2.00", "recipe (JSON)", "before", "after"):
        assert said in page.text
    before, after = ([each for each in page.of("img") if each["alt"].startswith(word)] for word in ("Before", "After"))
    sliders = page.of("input", type="range", min="0", max="100", value="50")
    assert len(before) == len(after) == len(sliders) == 2
    assert ["b-2.jpg" in each["aria-label"] for each in sliders] == [True, False]
    finished = read_display(tmp_path / "out" / "b-10.jpg").pixels
    np.testing.assert_allclose(page.picture(before[1]["src"]) / 255, read_display(originals[0]).pixels, atol=0.1)
    np.testing.assert_allclose(page.picture(after[1]["src"]) / 255, finished, atol=0.1)
    assert (after[1]["width"], after[1]["height"]) == ("120", "90")
    links = [page.file(link["href"]).name for link in page.of("a")]
    assert links == ["b-2.jpg", "b-2.recipe.json", "b-10.jpg", "b-10.recipe.json"]
    figures = [each for each in page.of("img") if each["alt"].startswith("Step by step")]
    assert [page.file(each["src"]).name for each in figures] == ["b-2.steps.png", "b-10.steps.svg"]
    assert all(each["alt"].endswith("exposure +1.0 EV, gamma 1/2.00") for each in figures)
    assert all(page.file(each["src"]).is_file() for each in page.of("img"))


NASTY = (
    "<img src=x onerror=alert(1)>.png",
    '"><script>alert(1)</script>.png'.replace("/", ""),
    "' onload='alert(1) &amp; %2e%41 #?.png",
    "javascript:alert(1).png",
    "new\nline\x1b[31m \u202e.png",
    "日本 café.png",
    "{0.__class__} %s ${x}.png",
    os.fsdecode(b"caf\xe9.png"),
)


TAGS = {"html", "head", "meta", "title", "style", "body", "header", "main", "section", "script", "div", "p", "h1", "h2"}
TAGS |= {
    "bdi",
    "strong",
    "ul",
    "ol",
    "li",
    "span",
    "i",
    "a",
    "details",
    "summary",
    "figure",
    "figcaption",
    "img",
    "input",
}


@pytest.mark.parametrize("embed", [False, True])
def test_names_cannot_do_anything(tmp_path: Path, embed: bool) -> None:
    for seed, name in enumerate(NASTY):
        retouched(tmp_path / "out", photograph(tmp_path / "in" / name, seed, size=(9, 12)), steps="svg")
    page = report(tmp_path / "out", tmp_path / "in", embed=embed)
    assert {tag for tag, _ in page.tags} <= TAGS
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert len(page.of("script")) == 1
    assert len(page.of("section")) == len(page.of("input")) == len(NASTY)
    shown = [name.removesuffix(".png") for name in NASTY[:3]] + ["日本 café", "caf\ufffd", "new\nline\ufffd[31m"]
    assert [name for name in shown if name not in page.text] == []
    addresses = [each["src"] for each in page.of("img")] + [each["href"] for each in page.of("a")]
    if embed:
        assert all(re.match(r"data:(image/(jpeg|svg\+xml)|application/json);base64,[\w+/=]+$", a) for a in addresses)
        assert {each["download"] for each in page.of("a")} >= {"日本 café.jpg.recipe.json"}
        assert not (tmp_path / "out" / "report_files").exists()
    else:
        assert all(page.file(address).is_file() for address in addresses)
        assert {page.file(each["href"]).name.removesuffix(".jpg") + ".png" for each in page.of("a")[::2]} == set(NASTY)


def test_the_pages_policy_lets_only_its_own_script_run(tmp_path: Path) -> None:
    retouched(tmp_path / "out", photograph(tmp_path / "a.png", 0))
    html = report(tmp_path / "out").path.read_text(encoding="utf-8")
    script = re.search("<script>(.*)</script>", html, re.DOTALL)
    assert script is not None
    code = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{code}'" in html
    assert "default-src 'none'" in html
    assert not re.search(r"https?:|url\(|@import|fetch|XMLHttp", html)


def test_the_critic_is_asked_about_both_pictures(tmp_path: Path) -> None:
    original = photograph(tmp_path / "in" / "a.png", 0)
    retouched(tmp_path / "out", original)
    retouched(tmp_path / "out", photograph(tmp_path / "b.png", 1))  # whose original is not given
    entries, _ = find_entries(tmp_path / "out", [original])
    asked: list[float] = []

    def score(pixels: NDArray[np.float32]) -> float:
        asked.append(float(pixels.mean()))
        return -0.5 if len(asked) == 1 else 0.25

    assert write_report(tmp_path / "out", entries, score=score, seconds=90.5) == []
    page = Page(tmp_path / "out" / "report.html")
    means = [read_display(path).pixels.mean() for path in (original, tmp_path / "out/a.jpg", tmp_path / "out/b.jpg")]
    np.testing.assert_allclose(asked, means, atol=0.01)
    for said in (
        "critic −0.50 → +0.25 (+0.75)",
        "critic +0.25",
        "prefers 1 of 1",
        "1 without",
        "1 min 30 s",
        "45.25 s a",
    ):
        assert said in page.text
    assert len(page.of("input")) == 1


def test_what_cannot_be_shown_is_told_and_left_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = photograph(tmp_path / "in" / "good.png", 0)
    for name in ("good", "no-photo", "bad-photo", "bad-recipe", "shape"):
        retouched(out, good, name)
    (out / "no-photo.jpg").unlink()
    (out / "bad-photo.jpg").write_bytes((out / "good.jpg").read_bytes()[:300])
    (out / "bad-recipe.recipe.json").write_text("{}")
    Recipe(source="wide.png").save(out / "shape.recipe.json")
    photograph(tmp_path / "in" / "wide.png", 1, size=(20, 120))
    photograph(tmp_path / "again" / "good.png", 2)
    # Its own result is nobody's original.
    entries, problems = find_entries(out, list_photos([tmp_path / "in", out]))
    assert [problem.partition(":")[0] for problem in problems] == [
        str(out / "bad-recipe.recipe.json"),
        str(out / "no-photo.recipe.json"),
    ]
    done: list[int] = []
    problems = write_report(out, entries, progress=done.append)
    assert done == [1, 2, 3]
    assert [problem.partition(":")[0] for problem in problems] == [
        str(out / "bad-photo.jpg"),
        str(tmp_path / "in" / "wide.png"),
    ]
    page = Page(out / "report.html")
    assert "2 photos" in page.text
    assert "1 more photo could not be shown" in page.text
    assert len(page.of("input")) == 1
    _, problems = find_entries(out, list_photos([tmp_path / "in", tmp_path / "again"]))
    assert sum("2 originals are named good.png" in problem for problem in problems) == 2
    with pytest.raises(ValueError, match="nothing to report"):
        write_report(tmp_path / "in", [])
    assert not (tmp_path / "in" / "report.html").exists()


def test_folders_within_and_a_linear_photo(tmp_path: Path) -> None:
    original = photograph(tmp_path / "in" / "c.tif", 3, size=(60, 40))
    retouched(tmp_path / "out", photograph(tmp_path / "in" / "a.png", 0))
    retouched(tmp_path / "out" / "c d", original, steps="svg")
    page = report(tmp_path / "out", tmp_path / "in")
    assert "c d/c.jpg" in page.text
    assert all(page.file(each["src"]).is_file() for each in page.of("img"))
    assert [page.file(each["href"]).is_file() for each in page.of("a")] == [True] * 4
    sheets = [each for each in page.of("img") if each["alt"].startswith("Contact sheet")]
    assert len(sheets) == 1
    assert page.picture(sheets[0]["src"]).shape[1] == 2 * 120 + 3 * 4


def test_the_command(tmp_path: Path) -> None:
    original = photograph(tmp_path / "in" / "a.png", 0)
    out = tmp_path / "out"
    retouched(out, original)
    result = run("report", out, tmp_path / "in")
    assert result.exit_code == 0, result.output
    page = Page(out / "report.html")
    assert re.search(r"critic [+−]\d\.\d\d → [+−]\d\.\d\d \([+−]\d\.\d\d\)", page.text)
    again = run("report", out)
    assert again.exit_code == 2
    assert "report.html: exists already; allow it to be replaced with --force" in again.stderr
    assert run("report", out, "--no-critic", "--force", "--embed").exit_code == 0
    page = Page(out / "report.html")
    assert "critic" not in page.text
    assert page.of("input") == []
    (out / "b.recipe.json").write_text("{}")
    result = run("report", out, "--no-critic", "--force")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "b.recipe.json" in result.stderr


@pytest.mark.parametrize(
    ("name", "message"), [("nothing", "does not exist"), ("a.png", "is no folder"), ("in", "no *")]
)
def test_folders_that_hold_no_results(tmp_path: Path, name: str, message: str) -> None:
    photograph(tmp_path / "a.png", 0)
    photograph(tmp_path / "in" / "a.png", 0)
    result = run("report", tmp_path / name)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not (tmp_path / "in" / "report.html").exists()


def test_torch_is_not_needed() -> None:
    code = "import sys, exposure_gym.report; assert not {'torch', 'stable_baselines3'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_browser_shows_before_beside_after(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    before, after = np.full((300, 600, 3), 0.2, np.float32), np.full((300, 600, 3), 0.8, np.float32)
    write_display(tmp_path / "in" / "a.png", DisplayPhoto(before))
    recipe = retouched(tmp_path / "out", tmp_path / "in" / "a.png")
    write_display(recipe.with_name("a.jpg"), DisplayPhoto(after))
    page = report(tmp_path / "out", tmp_path / "in", embed=True).path
    dom = browse(page, "--dump-dom")
    assert 'aria-valuetext="50 % before, 50 % after"' in dom  # the script ran
    shot = screenshot(page, 500, 1200).astype(int)
    dark, light = (np.abs(shot - code).max(axis=2) <= 2 for code in (51, 204))
    rows = np.flatnonzero(dark.sum(axis=1) > 150)
    assert len(rows) > 150
    middle = rows[len(rows) // 4]  # above the handle
    assert abs(int(dark[middle].sum()) - int(light[middle].sum())) <= 4
    assert np.flatnonzero(dark[middle]).max() < np.flatnonzero(light[middle]).min()
    assert (shot[middle] > 230).any()  # the line between them; the page is no brighter than 214
    # Moved as the keyboard moves it: the input's value, and an event.
    html = page.read_text(encoding="utf-8")
    moved = 'const it = document.querySelector("input"); it.value = 90; it.dispatchEvent(new Event("input"));'
    html = re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", f"<script>{moved}</script></body>")
    page.write_text(html, encoding="utf-8")
    shot = screenshot(page, 500, 1200).astype(int)
    dark, light = (np.abs(shot - code).max(axis=2) <= 2 for code in (51, 204))
    assert 8 < dark[middle].sum() / light[middle].sum() < 10
