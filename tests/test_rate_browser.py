"""Rating as a person has it: whole sessions by keyboard, mouse and touch, through a power cut, seen and accessible."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_tools import run

pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")

from playwright.sync_api import Browser, expect
from ui_browser import DESKTOP, PHONE, Player, chromium, free_port

from exposure_gym.photo import DisplayPhoto, read_display, write_display
from exposure_gym.ui.builtin import lay_out
from exposure_gym.ui.rating import Trial
from exposure_gym.ui.rating_store import FILE, RatingStore

SETS = ("inputs", "agentOfOurs", "humanHand")
PHOTOS = ("astronaut", "coffee", "rocket")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three sets of built-in photographs: dark, and brightened in two ways."""
    root = tmp_path_factory.mktemp("sets")
    for path in lay_out(root / "all"):
        if path.stem not in PHOTOS:
            continue
        dark = read_display(path).pixels
        for name, gamma in zip(SETS, (1.0, 0.75, 0.55), strict=True):
            (root / name).mkdir(exist_ok=True)
            pixels = np.asarray((dark / dark.max()) ** gamma, np.float32)
            write_display(root / name / f"{path.stem}.jpg", DisplayPhoto(pixels))
    return root


class Rating:
    """``exposure-gym rate`` in a process of its own, which can be killed and started again on the same port."""

    def __init__(self, folders: Path, output: Path, *arguments: str) -> None:
        self.output, port = output, free_port()
        self.url = f"http://127.0.0.1:{port}/"
        sets = [f"{name}={folders / name}" for name in SETS]
        program = "from exposure_gym import cli; cli.main()"
        self.command = [sys.executable, "-c", program, "rate", "--sets", *sets, *arguments]
        self.command += ["-o", str(output), "--port", str(port), "--no-browser"]

    def __enter__(self) -> Rating:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGTERM)

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 60.0)[0], "it says nothing"
        assert self.url in self.process.stdout.readline()

    def stop(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def trials(self, rater: int = 1) -> list[tuple[Trial, dict[str, int]]]:
        """What is in the file now."""
        store = RatingStore(self.output / FILE)
        found = store.trials(rater)
        store.close()
        return found


class Rater(Player):
    """A person who judges."""

    def __enter__(self) -> Rater:
        return self

    def settle(self) -> None:
        self.page.wait_for_function("""() => document.querySelector("main").ariaBusy === "false" """, timeout=60_000)
        self.wait_for_images("#pictures img")

    def stars(self) -> list[int]:
        """The stars that are lit under each picture."""
        return [figure.locator(".lit").count() for figure in self.page.locator("#pictures figure").all()]

    @property
    def focused(self) -> str:
        found: str = self.page.evaluate(
            "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
        )
        return found


def test_stars_by_keyboard_through_a_power_cut(browser: Browser, folders: Path, tmp_path: Path) -> None:
    with Rating(folders, tmp_path, "--user", "anna") as rating, Rater(browser, rating.url) as me:
        assert me.text("#progress") == "0 of 3 judged"
        me.check("rate-stars")
        assert me.focused == "Picture A: enlarge"
        me.press("4", "ArrowRight", "3")  # the second is passed over
        assert me.stars() == [4, 0, 3]
        assert me.focused == "Picture B: enlarge"
        me.press("Enter")
        assert me.text("#large-name") == "B"
        me.check("rate-large")
        me.press("ArrowRight")
        assert me.text("#large-name") == "C ★★★"
        me.press("ArrowRight", "ArrowRight", "Enter")  # over the end to A, then B, and closed again
        assert me.focused == "Picture B: enlarge"
        expect(me.page.locator("#next")).to_be_disabled()
        me.press("5")
        assert me.focused == "Next photo"
        me.press("Enter", "1")
        assert me.text("#progress") == "1 of 3 judged"
        assert me.stars() == [1, 0, 0]

        rating.stop(signal.SIGKILL)
        me.page.keyboard.press("2")
        expect(me.page.locator("#message")).to_contain_text("The server does not answer")
        me.check("rate-server-gone")
        assert me.stars() == [1, 0, 0]  # what is not stored is not shown as if it were
        rating.start()
        with me.page.expect_navigation():  # the new server's page
            me.page.click("#again")
        me.settle()
        assert me.text("#progress") == "1 of 3 judged"
        assert me.stars() == [1, 0, 0]

        me.press("2", "3", "Enter")
        me.press("5", "5", "5")
        me.press("1")  # thought again about the last one
        assert me.stars() == [5, 5, 1]
        me.press("Backspace")
        assert me.stars() == [1, 2, 3]
        me.press("Tab", "Tab", "5")  # a star by key while a star's own button has the focus
        me.page.click("#next")
        me.settle()
        expect(me.page.get_by_text("Thank you!")).to_be_visible()
        me.check("rate-thanks")
        given = [[judged[name] for name in trial.shown] for trial, judged in rating.trials()]
    assert given[0] == [4, 5, 3]
    assert given[2] == [5, 5, 1]
    done = run("rate", "--report", tmp_path, "--json")
    assert json.loads(done.stdout)["judgements"] == 9


def test_stars_by_mouse_under_a_name_of_ones_own(browser: Browser, folders: Path, tmp_path: Path) -> None:
    with Rating(folders, tmp_path) as rating, Rater(browser, rating.url) as me, Rater(browser, rating.url) as other:
        me.check("rate-join")
        for person, name in ((me, "anna"), (other, "bert")):
            person.page.fill("#name", name)
            person.click("text=Begin")
        shown = {name: {trial.photo: trial.shown for trial, _ in rating.trials(i)} for name, i in (("a", 1), ("b", 2))}
        assert shown["a"] != shown["b"]
        for slot, count in enumerate((2, 4, 5)):
            me.page.locator("#pictures figure").nth(slot).get_by_label(f"{count} stars", exact=True).click()
            me.settle()
        assert me.stars() == [2, 4, 5]
        assert other.stars() == [0, 0, 0]
        me.page.reload()
        me.settle()
        assert me.text("#progress") == "1 of 3 judged"  # the browser knows the name
        me.click("#back")
        assert me.stars() == [2, 4, 5]
        me.page.get_by_label("Picture B: enlarge").click()
        me.page.click("#large-next")
        assert me.text("#large-name") == "C ★★★★★"
        me.page.click("#large-picture")
        expect(me.page.locator("#large")).to_be_hidden()
        seen = me.page.content() + other.page.content()
        assert not [word for word in (*SETS, *PHOTOS) if word in seen]
        assert not rating.trials(2)[0][1]
        me.check("rate-name")
        me.page.click("text=Not anna?")
        me.settle()
        expect(me.page.locator("#name")).to_be_focused()


def test_pairs_by_key_and_mouse(browser: Browser, folders: Path, tmp_path: Path) -> None:
    with Rating(folders, tmp_path, "--pairwise", "--user", "anna") as rating, Rater(browser, rating.url) as me:
        assert me.text("#progress") == "0 of 9 judged"
        me.check("rate-pairs")

        def choose(key: str) -> None:
            me.page.wait_for_timeout(350)  # a pair is looked at before it is judged
            me.press(key)

        choose("ArrowLeft")
        assert me.text("#progress") == "1 of 9 judged"
        me.page.wait_for_timeout(350)
        me.page.keyboard.press("ArrowRight")
        me.page.keyboard.press("ArrowRight")  # too soon: it was not meant for the next pair
        me.settle()
        assert me.text("#progress") == "2 of 9 judged"
        me.press("Backspace")
        pressed = me.page.locator(".choose[aria-pressed=true]")
        assert pressed.all_inner_texts() == ["B is better"]
        me.page.wait_for_timeout(350)
        me.page.click("text=A is better")
        me.settle()
        me.click("text=Skip for now")
        assert me.text("#progress") == "2 of 9 judged"
        for _ in range(7):
            choose("ArrowRight")
        expect(me.page.get_by_text("Thank you!")).to_be_visible()
        chosen = [trial.shown.index(next(iter(judged))) for trial, judged in rating.trials()]
    assert chosen == [0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert run("rate", "--report", tmp_path).exit_code == 0


def test_on_a_phone(browser: Browser, folders: Path, tmp_path: Path) -> None:
    with Rating(folders, tmp_path, "--user", "anna") as rating, Rater(browser, rating.url, PHONE) as me:
        me.check("rate-phone")
        for slot in range(3):
            me.page.locator("#pictures figure").nth(slot).get_by_label("4 stars").tap()
            me.settle()
        me.page.locator("#next").tap()
        me.settle()
        assert me.text("#progress") == "1 of 3 judged"
        me.page.get_by_label("Picture A: enlarge").tap()
        me.check("rate-phone-large")


def test_a_photo_that_cannot_be_read(browser: Browser, folders: Path, tmp_path: Path) -> None:
    for name in SETS:
        (tmp_path / name).mkdir()
        for photo in PHOTOS[:2]:
            (tmp_path / name / f"{photo}.jpg").write_bytes((folders / name / f"{photo}.jpg").read_bytes())
    (tmp_path / SETS[1] / "coffee.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph at all")
    with Rating(tmp_path, tmp_path / "out", "--user", "anna") as rating, Rater(browser, rating.url, DESKTOP) as me:
        me.press("3", "3", "3", "Enter")
        assert me.text("#progress") == "1 of 1 judged, 1 cannot be shown"
        expect(me.page.get_by_text("Thank you!")).to_be_visible()
        me.check("rate-left-out")
        assert sorted(len(judged) for _, judged in rating.trials()) == [0, 3]


def test_when_nothing_can_be_shown(browser: Browser, tmp_path: Path) -> None:
    for name in SETS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "coffee.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph at all")
    with Rating(tmp_path, tmp_path / "out", "--user", "anna") as rating, Rater(browser, rating.url) as me:
        expect(me.page.locator("#message")).to_contain_text("No photo can be shown")
