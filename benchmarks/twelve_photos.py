"""Twelve test photographs before, step by step, and after: chosen by a rule and not by eye.

The rule: of the folder's photographs sorted by name, those at twelve evenly spaced places, the first and the last
among them. The agent retouches each as `exposure-gym retouch` does, deterministically.

python benchmarks/twelve_photos.py fivek_linear/test -o twelve.png
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from exposure_gym.agents import ExposureAgent
from exposure_gym.photo import Reading, list_photos, read_display, read_input
from exposure_gym.rewards import WEIGHTS
from exposure_gym.viz import contact_sheet, steps_figure, write_png

COUNT = 12


def chosen(paths: list[Path], count: int = COUNT) -> list[Path]:
    """Evenly spaced ones; all, where there are no more."""
    places = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [paths[place] for place in places]


def strip(agent: ExposureAgent, path: Path, reading: Reading, targets: Path | None) -> NDArray[np.uint8]:
    """One photograph's way, in the middle of it that has the shape of a film frame; its true grade last, if known."""
    pixels = read_input(path, reading, space=agent.working_space).pixels
    recipe = replace(agent.retouch(pixels), input_domain="display" if reading == "display" else "linear")
    wanted = None
    if targets is not None:
        same = [other for other in list_photos([targets]) if other.stem == path.stem]
        wanted = _frame(read_display(same[0]).pixels) if same else None
    return steps_figure(recipe, _frame(pixels), wanted=wanted)


def _frame(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The middle, three to two, so that the strips line up."""
    height, width = min(pixels.shape[0], pixels.shape[1] * 2 // 3), min(pixels.shape[1], pixels.shape[0] * 3 // 2)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def main() -> None:
    parser = argparse.ArgumentParser(description="Twelve test photographs, chosen by a rule: before, steps, after.")
    parser.add_argument("folder", type=Path, help="of test photographs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG file; mind the photographs' licence")
    parser.add_argument("--targets", type=Path, help="folder of their true grades, under the same names")
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="folder or file (the shipped one)")
    parser.add_argument("--reading", choices=get_args(Reading), help="of the photographs, instead of the model's own")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        agent = ExposureAgent.load(options.model, device="cpu")
        paths = chosen(list_photos([options.folder]))
        reading = options.reading or agent.reading
        strips = [strip(agent, path, reading, options.targets) for path in paths]
    except ValueError as error:
        sys.exit(f"twelve_photos: {error}")
    if not strips:
        sys.exit(f"twelve_photos: {options.folder}: no photograph in this folder")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_png(options.output, contact_sheet(strips, columns=1))
    print(f"{options.output}: {', '.join(path.name for path in paths)}")


if __name__ == "__main__":
    main()
