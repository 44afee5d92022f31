"""Makes the README's film strips from what ``exposure-gym demo`` wrote, reduced.

exposure-gym demo -o demo
python docs/make_images.py demo
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

from exposure_gym.files import replacing

PHOTOGRAPHS = ("astronaut", "coffee", "motorcycle", "cat", "rocket")


def main(demo: Path) -> None:
    """Stack the strips of the sample photographs: the upper five of eight rows of ``strips.png``."""
    strips = cv2.imread(str(demo / "strips.png"))
    if strips is None:
        sys.exit(f"{demo}: no strips.png; run exposure-gym demo -o {demo} first")
    rows = strips[: len(strips) * len(PHOTOGRAPHS) // 8]
    smaller = cv2.resize(rows, None, fx=0.65, fy=0.65, interpolation=cv2.INTER_AREA)
    output = Path(__file__).parent / "images" / "strips.jpg"
    output.parent.mkdir(exist_ok=True)
    with replacing(output) as temporary:
        cv2.imwrite(str(temporary), smaller, [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(output)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
