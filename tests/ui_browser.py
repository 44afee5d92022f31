"""The editor as a person has it: the command, its server and pages of a browser without a window.

Screenshots are kept where the environment variable ``EXPOSURE_GYM_SCREENSHOTS`` names a folder.
"""

from __future__ import annotations

import base64
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")

from playwright.sync_api import Browser, Page, sync_playwright

DESKTOP, PHONE = (1280, 720), (390, 844)

FLAGS = ("--no-sandbox", "--disable-gpu", "--force-color-profile=srgb", "--force-device-scale-factor=1")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; skips the test where none is installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("needs a browser: apt-get install --no-install-recommends chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Editor:
    """``exposure-gym play`` in a process of its own, which can be killed and started again on the same port.

    :param weights: where it finds the shipped agent; None where that is.
    """

    def __init__(self, output: Path, *arguments: str | Path, weights: Path | None = None) -> None:
        self.output, self.port = output, free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        moved = "" if weights is None else f"from pathlib import Path; rewards.WEIGHTS = Path({str(weights)!r}); "
        program = f"from exposure_gym import cli, rewards; {moved}cli.main()"
        self.command = [sys.executable, "-c", program, "play", *map(str, arguments)]
        self.command += ["-o", str(output), "--port", str(self.port), "--no-browser"]
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Editor:
        try:
            self.start()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGTERM)

    def start(self) -> None:
        """Start it and wait until it says where it is."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = ""
        while "The editor is at" not in said:
            assert self.process.stdout is not None
            assert select.select([self.process.stdout], [], [], 60.0)[0], f"the editor says nothing: {said}"
            line = self.process.stdout.readline()
            assert line, f"the editor ended: {said}"
            said += line

    def stop(self, how: signal.Signals) -> None:
        """End it: SIGTERM as a person would, SIGKILL as a power cut."""
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None


class Player:
    """A person with a browser of their own, in which nothing may go wrong unseen."""

    def __init__(self, browser: Browser, url: str, size: tuple[int, int] = DESKTOP) -> None:
        width, height = size
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, has_touch=size == PHONE, is_mobile=size == PHONE
        )
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.goto(url)
        self.settle()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def _heard(self, kind: str, text: str) -> None:
        # A server that is gone, or refuses a photo, is told to the person; the browser notes it here too.
        if kind == "error" and "Failed to load resource" not in text:
            self.problems.append(text)

    def settle(self) -> None:
        """Wait until what was asked for is seen: no command under way, the newest picture drawn, thumbnails there."""
        self.page.wait_for_function(
            """() => document.querySelector("#photos option") && !document.body.classList.contains("busy")
            && (document.querySelector("#viewer").getAttribute("aria-busy") === "false" || !notice.hidden)
            && [...document.querySelectorAll("#frames img")].every((image) => image.src && image.complete)""",
            timeout=60_000,
        )

    def wait_for_images(self, selector: str) -> None:
        """Wait until some images are there to be seen."""
        self.page.wait_for_function(
            "(selector) => [...document.querySelectorAll(selector)].every((image) => image.naturalWidth)", arg=selector
        )

    def press(self, *keys: str) -> None:
        """Press keys, each after what the one before it did is seen."""
        for key in keys:
            self.page.keyboard.press(key)
            self.settle()

    def click(self, selector: str) -> None:
        """Click something, and wait until what it did is seen."""
        self.page.click(selector)
        self.settle()

    def drag_slider(self, to: float, moves: int = 4, index: int = 0) -> None:
        """Drag a slider of the filter with the mouse, to a place between 0 and 1."""
        box = self.page.locator("#controls input[type=range]").nth(index).bounding_box()
        assert box is not None
        x, y, width = box["x"], box["y"] + box["height"] / 2, box["width"]
        self.page.mouse.move(x + width / 2, y)
        self.page.mouse.down()
        self.page.mouse.move(x + width * to, y, steps=moves)
        self.page.mouse.up()
        self.settle()

    def text(self, selector: str) -> str:
        """What is written somewhere, on one line."""
        return " ".join(self.page.inner_text(selector).split())

    @property
    def steps(self) -> list[str]:
        """The steps of the film strip, in words."""
        frames = self.page.locator("#frames .frame:not(.empty) .words").all_inner_texts()
        return [" ".join(words.split()) for words in frames[1:]]

    def pixels(self, canvas: str = "after") -> NDArray[np.uint8]:
        """A picture as it is drawn, ``(H, W, 3)`` RGB."""
        uri: str = self.page.evaluate("(id) => document.getElementById(id).toDataURL('image/png')", canvas)
        return decoded(uri)

    def ask_server(self, path: str, body: Any = None) -> Any:
        """What the server answers this page, as JSON; a POST where there is a body."""
        return self.page.evaluate(
            """async ([path, body]) => {
                const api = await import("/static/api.js");
                return body === null ? api.get(path) : api.post(path, body);
            }""",
            [path, body],
        )

    def screenshot(self, name: str) -> None:
        """Keep what is seen, where the tests' command wants it."""
        folder = os.environ.get("EXPOSURE_GYM_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"))

    def check(self, name: str) -> None:
        """What is seen now is accessible, fits the screen and raised no error; a screenshot of it is kept."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
        self.page.mouse.move(0, 0)
        self.screenshot(name)
        options = {"runOnly": STANDARDS, "resultTypes": ["violations"]}
        violations = axe.Axe().run(self.page, options=options).response["violations"]
        found = [f"{each['id']}: {node['html']} {node['any']}" for each in violations for node in each["nodes"]]
        assert found == [], f"{name}: {found}"
        wide, high = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        size = self.page.viewport_size
        assert size is not None
        assert wide <= size["width"], f"{name}: the page scrolls sideways"
        if size["width"] == DESKTOP[0]:
            assert high <= size["height"], f"{name}: the page scrolls"
        assert self.problems == [], name


def decoded(uri: str) -> NDArray[np.uint8]:
    """The picture in a ``data:`` address, ``(H, W, 3)`` RGB."""
    data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture is not None
    return np.ascontiguousarray(picture[:, :, ::-1], np.uint8)
