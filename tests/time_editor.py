"""Measure in the browser how long it takes until a movement of a slider is seen, filter by filter.

python tests/time_editor.py

The photograph has 24 megapixels, so that the picture that is worked on has its full 1280 pixels. A slider moves thirty
times a second, as under a hand. The clock starts when the page hears of a movement and stops in the frame in which the
picture of it is drawn; movements that newer ones overtook have no picture of their own, and are counted as overtaken.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import cv2
import numpy as np
from ui_browser import Editor, Player, chromium

MOVEMENTS = 90

MOVE = """async (movements) => {
    const slider = document.querySelector("#controls input[type=range]");
    performance.clearMeasures("movement");
    for (let i = 1; i <= movements; i++) {
        slider.value = 0.5 + 0.35 * Math.sin(i / 5);
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        await new Promise((resolve) => setTimeout(resolve, 1000 / 30));
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    return performance.getEntriesByName("movement").map((entry) => entry.duration);
}"""


def large_photo(path: Path) -> Path:
    """A JPEG of 6000 x 4000 pixels with soft colours and grain."""
    rng = np.random.default_rng(0)
    soft = cv2.resize(rng.uniform(20, 200, (20, 30, 3)).astype(np.float32), (6000, 4000), interpolation=cv2.INTER_CUBIC)
    grain = cv2.resize(rng.normal(0, 12, (2000, 3000, 3)).astype(np.float32), (6000, 4000))
    cv2.imwrite(str(path), (soft + grain).clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


def main() -> None:
    """Print a table: milliseconds from movement to picture, for the second step of a photograph."""
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        photo = large_photo(Path(name) / "photo.jpg")
        with Editor(Path(name) / "played", photo) as editor, Player(browser, editor.url) as player:
            player.drag_slider(0.5 + 0.5 / 7)
            player.press("Enter")
            height, width, _ = player.pixels().shape
            print(f"picture of {width} x {height} pixels, {MOVEMENTS} movements, 30 a second\n")
            print("| filter | median ms | 95 % under ms | seen | overtaken |\n|---|---|---|---|---|")
            for key in "12345678":
                player.press(key)
                times = sorted(player.page.evaluate(MOVE, MOVEMENTS))
                label = player.text("#tabs [aria-selected=true] span")
                slowest = times[int(0.95 * (len(times) - 1))]
                print(
                    f"| {label} | {statistics.median(times):.0f} | {slowest:.0f} | {len(times)} "
                    f"| {MOVEMENTS - len(times)} |"
                )


if __name__ == "__main__":
    main()
