"""A browser without a window, where one is installed: to see what a person would."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--force-device-scale-factor=1",
)


def browse(page: Path, *flags: str) -> str:
    """Open a file and return what the browser prints; skips the test where there is no browser."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("needs a browser: apt-get install --no-install-recommends chromium")
    with tempfile.TemporaryDirectory() as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", *flags, page.resolve().as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def screenshot(page: Path, width: int, height: int) -> NDArray[np.uint8]:
    """A file as a browser shows it, ``(height, width, 3)``."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "shot.png"
        browse(page, f"--window-size={width},{height}", f"--screenshot={picture}")
        return np.asarray(Image.open(picture).convert("RGB"))
