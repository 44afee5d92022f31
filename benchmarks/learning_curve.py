"""Draws how a training went: histogram intersection on held-out photographs, and the critic's view of it.

exposure-gym train --preset quick -o runs/quick
python benchmarks/learning_curve.py runs/quick -o docs/images/learning_curve.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from exposure_gym.agents.exposure.callbacks import Row, read_curve
from exposure_gym.files import replacing

COLOURS = {"luminance": "#b8860b", "contrast": "#4a6fa5", "saturation": "#b0413e", "mean": "#222222"}


def draw(rows: list[Row], title: str) -> Figure:
    """Two panels over the iterations: held-out histogram intersection, and reward with the earth mover's distance."""
    figure, (held_out, training) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    measured = [row for row in rows if "held_out" in row]
    for name, colour in COLOURS.items():
        held_out.plot(
            [row["iteration"] for row in measured],
            [100 * row["held_out"][name] for row in measured],
            color=colour,
            linewidth=2.2 if name == "mean" else 1.1,
            label=name,
        )
    held_out.set(title=title, xlabel="iterations", ylabel="histogram intersection, held out (%)", ylim=(0, 100))
    held_out.legend(frameon=False, ncols=2)
    iterations = [row["iteration"] for row in rows]
    training.plot(iterations, [row["emd"] for row in rows], color="#4a6fa5", linewidth=1.1)
    training.set(
        title="what the critic tells apart", xlabel="iterations", ylabel="earth mover's distance", yscale="log"
    )
    for axes in (held_out, training):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the learning curve of a training run.")
    parser.add_argument("run", type=Path, help="folder that `exposure-gym train` wrote")
    parser.add_argument("-o", "--output", type=Path, default=Path("learning_curve.png"))
    parser.add_argument("--title", default="photographs the agent never saw")
    arguments = parser.parse_args()
    rows = read_curve(arguments.run / "log.jsonl")
    if not any("held_out" in row for row in rows):
        sys.exit(
            f"{arguments.run}: no held-out measurements in log.jsonl; give a folder that `exposure-gym train` wrote"
        )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(arguments.output) as temporary:
        draw(rows, arguments.title).savefig(temporary, dpi=130)
    first, last = (row["held_out"]["mean"] for row in (rows[0], [row for row in rows if "held_out" in row][-1]))
    print(f"{arguments.output}: from {100 * first:.1f} % to {100 * last:.1f} % in {rows[-1]['iteration']} iterations")


if __name__ == "__main__":
    main()
