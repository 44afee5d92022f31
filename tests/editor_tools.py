"""What the tests of the editor share: a studio on some photographs, a page's client, a game to play."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from cli_tools import photograph
from PIL import Image

from exposure_gym.ui.guard import MAX_UPLOAD, TOKEN_HEADER, Hosts
from exposure_gym.ui.partner import Partner
from exposure_gym.ui.referee import Referee, load_referee
from exposure_gym.ui.server import SESSION_HEADER, make_app
from exposure_gym.ui.session import Studio
from exposure_gym.ui.store import FILE_NAME, Store

with warnings.catch_warnings():  # that httpx has a successor, which starlette would rather use
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

PORT = 8765
BASE = f"http://127.0.0.1:{PORT}"
TOKEN = "the token of the tests"

EXPOSURE = {"filter": "exposure", "parameters": [1.5]}
GAMMA = {"filter": "gamma", "parameters": [0.45]}
WARMER = {"filter": "white_balance", "parameters": [0.2, -0.05]}
CONTRAST = {"filter": "contrast", "parameters": [0.3]}


@cache
def referee(max_steps: int = 5) -> tuple[Referee, str]:
    torch.set_num_threads(1)
    return load_referee(None, max_steps)


@cache
def partner() -> Partner:
    return Partner.load(None, referee()[0].filters)


stores: list[Store] = []


@pytest.fixture(autouse=True)
def close_stores() -> Iterator[None]:
    """Close what :func:`open_studio` opened, after each test of a file that imports this."""
    yield
    while stores:
        stores.pop().close()


def some_photos(folder: Path, count: int = 2) -> list[Path]:
    return [photograph(folder / f"photo{i}.png", i) for i in range(1, count + 1)]


def open_studio(
    output: Path, photos: Sequence[Path], *, agent: Partner | None = None, max_steps: int = 5, **options: Any
) -> Studio:
    """A studio as ``exposure-gym play`` makes it; once more on the same folder is a restart."""
    output.mkdir(exist_ok=True)
    judge, critic = referee(max_steps)
    stores.append(Store(output / FILE_NAME))
    return Studio(
        stores[-1],
        photos,
        output,
        judge,
        partner() if agent is None else agent,
        **{"critic": critic, **options},
    )


class Page(TestClient):
    """A browser's page: it knows the token, and keeps its session."""

    def __init__(self, studio: Studio, *, max_upload: int = MAX_UPLOAD, enter: bool = True, **who: Any) -> None:
        app = make_app(studio, Hosts("127.0.0.1", PORT), TOKEN, max_upload=max_upload)
        super().__init__(app, base_url=BASE, headers={TOKEN_HEADER: TOKEN}, raise_server_exceptions=False)
        if enter:
            self.session = self.did("/api/session", who)
            self.headers[SESSION_HEADER] = self.session["session"]

    def see(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def did(self, path: str, data: Any = None) -> Any:
        answer = self.post(path, json={} if data is None else data)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, path: str, data: Any = None, status: int = 400) -> str:
        answer = self.post(path, json={} if data is None else data)
        assert answer.status_code == status, answer.text
        error: str = answer.json()["error"]
        assert "\n" not in error
        return error

    def photo(self, number: int = 1) -> Any:
        return self.see(f"/api/photos/{number}")

    def edit(self, step: int, edit: dict[str, Any], number: int = 1) -> Any:
        return self.did(f"/api/photos/{number}/edits", {"step": step, "edit": edit})


def pixels_of(data: bytes) -> Any:
    """A picture from its file's bytes: ``(H, W, 3)`` display values."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32) / 255


@pytest.fixture(name="photos")
def two_photos(tmp_path: Path) -> list[Path]:
    """Photographs in a folder of their own."""
    return some_photos(tmp_path / "in")


@pytest.fixture(name="page")
def first_page(tmp_path: Path, photos: list[Path]) -> Page:
    """The page of a studio on ``photos``, before anything is done."""
    return Page(open_studio(tmp_path / "out", photos))


def play_a_game(page: Page, number: int = 1) -> Any:
    """Three edits by hand, one by the agent, a step changed, one taken back and made again, done."""
    page.photo(number)
    page.edit(0, EXPOSURE, number)
    page.edit(1, GAMMA, number)
    page.edit(2, WARMER, number)
    page.edit(3, page.did(f"/api/photos/{number}/ask")["suggestion"], number)
    page.edit(0, {"filter": "exposure", "parameters": [1.0]}, number)
    page.did(f"/api/photos/{number}/undo")
    page.did(f"/api/photos/{number}/redo")
    return page.did(f"/api/photos/{number}/done", {"format": "jpg"})


@contextmanager
def editor(photos: Path, output: Path) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """``exposure-gym play`` as a process, and a client of it."""
    command = [
        sys.executable,
        "-m",
        "exposure_gym",
        "play",
        str(photos),
        "-o",
        str(output),
        "--no-browser",
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found, process.stderr.read()
        with httpx.Client(base_url=found[0], timeout=60, trust_env=False) as client:
            token = re.search(r'name="exposure-token" content="([^"]+)"', client.get("/").text)
            assert token
            client.headers["X-Exposure-Token"] = token[1]
            yield process, client
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
