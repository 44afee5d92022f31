"""Makes the screenshots of docs/play.md: the editor on built-in photographs, in a browser without a window.

python docs/make_play_screenshots.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from exposure_gym.files import replacing

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from ui_browser import PHONE, Editor, Player, chromium

HERE = Path(__file__).resolve().parent

LARGEST = 150_000
"""Bytes of an image."""


def keep(player: Player, name: str) -> None:
    """Write what is seen to docs/images/play-NAME.jpg, as fine as fits in :data:`LARGEST`."""
    player.page.mouse.move(0, 0)
    shot = cv2.imdecode(np.frombuffer(player.page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert shot is not None
    for quality in range(92, 40, -4):
        data = cv2.imencode(".jpg", shot, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= LARGEST:
            break
    path = HERE / "images" / f"play-{name}.jpg"
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    print(f"{path.relative_to(HERE.parent)}: {len(data) // 1000} kB")


def main() -> None:
    """Play a little, and keep what is seen."""
    with tempfile.TemporaryDirectory() as name, chromium() as browser, Editor(Path(name) / "played") as editor:
        with Player(browser, f"{editor.url}?user=desktop") as me:
            me.press("n", "n")
            me.drag_slider(0.66)
            me.press("Enter", "2")
            me.drag_slider(0.82)
            me.press("Enter", "3")
            me.drag_slider(0.56)
            keep(me, "edit")
            me.press("Enter", "a")
            keep(me, "ask")
            me.press("Enter", "5")
            for piece, to in enumerate((-12, -8, 0, 8, 12, 8, 0, -6)):
                slider = me.page.locator("#controls .slope input[type=range]").nth(piece)
                slider.focus()
                me.press(*["ArrowUp" if to > 0 else "ArrowDown"] * abs(to))
            keep(me, "curve")
            me.press("n")
            me.page.keyboard.press("w")
            me.page.wait_for_selector("#ways-dialog[open] img")
            me.wait_for_images("#cards img")
            keep(me, "ways")
        with Player(browser, f"{editor.url}?user=phone", PHONE) as me:
            me.press("n", "n")
            me.drag_slider(0.66)
            me.page.tap("#apply")
            me.settle()
            me.page.tap("#tab-gamma")
            me.drag_slider(0.82)
            keep(me, "phone")


if __name__ == "__main__":
    main()
