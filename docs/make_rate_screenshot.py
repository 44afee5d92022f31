"""Make the screenshot of ``rating.md``: built-in photographs as they are, retouched, and retouched half as strongly.

python docs/make_rate_screenshot.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

from exposure_gym.files import replacing
from exposure_gym.ui.builtin import lay_out

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from ui_browser import chromium

PICTURE = Path(__file__).parent / "images" / "rate.jpg"
COMMAND = [sys.executable, "-m", "exposure_gym"]


def main() -> None:
    """Retouch, serve a rating, and keep what is seen of it."""
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder, "inputs"))
        for name, strength in (("agent", "1"), ("gentle", "0.5")):
            retouch = ["retouch", "inputs", "-o", name, "--strength", strength, "--deterministic"]
            subprocess.run(COMMAND + retouch, cwd=folder, check=True)
        rate = ["rate", "--sets", "inputs,agent,gentle", "--user", "anna", "--port", "0", "--no-browser"]
        with subprocess.Popen(COMMAND + rate, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = re.search(r"http://\S+", server.stdout.readline())
                assert address is not None
                picture = screenshot(address[0])
            finally:
                server.terminate()
    with replacing(PICTURE) as temporary:
        Image.open(BytesIO(picture)).convert("RGB").save(temporary, "JPEG", quality=85, optimize=True)


def screenshot(address: str) -> bytes:
    """A page on which two of three results have got their stars, as PNG."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(address)
        page.wait_for_selector("#pictures img")
        page.keyboard.press("3")
        page.keyboard.press("4")
        page.wait_for_function("() => document.querySelectorAll('.lit').length === 7")
        page.wait_for_load_state("networkidle")
        shot: bytes = page.screenshot()
    return shot


if __name__ == "__main__":
    main()
