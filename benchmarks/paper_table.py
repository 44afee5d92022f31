"""The paper's table on photographs at hand: how much results have in common with finished photographs.

One command makes one row, or several, and puts them in the table beside those that are there:

python benchmarks/paper_table.py fivek all --inputs fivek_linear/test --targets retouched/test
python benchmarks/paper_table.py sintel all --inputs sintel/test/inputs --targets sintel/test/outputs --model MODEL
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import harness
import numpy as np
import torch
from held_out import INTERSECTIONS, METHOD, PAIRED, TestPhotos
from numpy.typing import NDArray

from exposure_gym.agents import ExposureAgent
from exposure_gym.agents.scripted import auto_levels_player
from exposure_gym.evaluation import Player, play_pictures, random_player, retouch_pictures
from exposure_gym.game import RetouchGame
from exposure_gym.photo import Reading
from exposure_gym.recipe import Recipe
from exposure_gym.rewards import WEIGHTS

Run = NDArray[np.float32]

SETS: dict[str, Reading] = {"fivek": "linear", "sintel": "display"}
"""Sets of photographs, and how their inputs are read. Those of Sintel are pairs."""
ROWS = ("input", "auto-levels", "random", "recipe", "agent", "agent-deterministic")
"""``recipe`` is one edit for all photographs, as ``exposure-gym explain`` finds it from pairs. ``agent`` acts as
published, with dropout on; ``agent-deterministic`` without it, as the command ``retouch`` does."""
RIVALS = ("input", "auto-levels", "random")

TARGETS_DIFFER = (
    "The paper's targets are FiveK's expert C, those here are other photographers' finished photographs: its figures "
    "and these stand side by side, and cannot be compared."
)
_PAPER = f"Hu et al. 2018, table on FiveK, expert C. {TARGETS_DIFFER}"
_PUBLISHED = (
    "the authors' 2018 code on the same photographs, in ProPhoto primaries: trained for 2,000 iterations with one seed "
    "on a training set of 60"
)
KNOWN: list[harness.Row] = [
    {"name": "fixed curve: mean 0.18, gamma 1/2.2", "figures": (49.8, 50.5, 51.8, 50.7), "source": _PUBLISHED},
    {"name": "published code, 2,000 iterations", "figures": (53.1, 55.8, 56.8, 55.2), "source": _PUBLISHED},
    {"name": "paper: Exposure", "figures": (71.3, 83.7, 69.7, 74.9), "source": _PAPER},
    {"name": "paper: CycleGAN", "figures": (61.4, 71.1, 82.6, 71.7), "source": _PAPER},
    {"name": "paper: pix2pix, which needs pairs", "figures": (92.4, 83.3, 86.5, 87.4), "source": _PAPER},
]
"""Figures of others, in per cent; the paper's means are ours."""


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    load = harness.OtherLoad()
    try:
        rows = _rows(options)
    except (OSError, ValueError) as error:  # a folder, a recipe or a model that cannot be read
        sys.exit(f"paper_table: {error}")
    kept = _kept(options.out / "paper_table.json")
    replaced = {(row["set"], row["name"]) for row in rows}
    rows = [row for row in kept if (row["set"], row["name"]) not in replaced] + rows
    rows.sort(key=lambda row: list(SETS).index(row["set"]))
    known = [{"set": "fivek", "name": row["name"], "source": row["source"]} | _figures(row) for row in KNOWN]
    path = harness.save(
        "paper_table",
        rows + known,
        columns={"photographs": "set", "": "name"} | {name: name for name in INTERSECTIONS + PAIRED},
        method=f"{METHOD} {TARGETS_DIFFER}",
        settings={"smoke": options.smoke},
        load=load,
        out=options.out,
        table=[printed(row) for row in rows + known],
    )
    print(f"{TARGETS_DIFFER}\n{path}: {len(rows)} rows made here")
    for line in shortfalls(rows) or ["Every agent beats input, auto-levels and random on every measure."]:
        print(line)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rows of the paper's table on photographs at hand.")
    parser.add_argument("set", choices=SETS, help="which photographs; those of sintel are pairs")
    parser.add_argument("rows", nargs="+", choices=(*ROWS, "all"), metavar="ROW", help=", ".join((*ROWS, "all")))
    parser.add_argument("--inputs", type=Path, required=True, help="folder of test photographs")
    parser.add_argument("--targets", type=Path, required=True, help="folder of finished ones")
    parser.add_argument(
        "--model", type=Path, nargs="+", default=[WEIGHTS], help="one a training seed (the shipped one)"
    )
    parser.add_argument("--recipe", type=Path, help="file of the row recipe, which has none without it")
    parser.add_argument("--name", default="", help="put after the agent's rows, to tell models apart")
    parser.add_argument("--seeds", type=int, default=5, help="of random play, and of the agent's dropout (%(default)s)")
    parser.add_argument("--reading", choices=get_args(Reading), help="of the inputs, instead of the model's own")
    parser.add_argument("--smoke", action="store_true", help="for the tests: mark the results as none to keep")
    parser.add_argument(
        "--out", type=Path, default=harness.RESULTS, help="folder of the JSON file (benchmarks/results)"
    )
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error("--seeds must be at least 1")
    if "recipe" in options.rows and options.recipe is None:
        parser.error("the row recipe needs --recipe FILE")
    return options


def _rows(options: argparse.Namespace) -> list[harness.Row]:
    test = TestPhotos(options.inputs, options.targets, paired=options.set == "sintel")
    reading = options.reading or SETS[options.set]
    game = RetouchGame()
    seeds = range(options.seeds)

    def agents(play: Callable[[ExposureAgent, Run], list[Run]]) -> list[Run]:
        loaded = (ExposureAgent.load(path, device="cpu") for path in options.model)
        return [
            run
            for agent in loaded
            for run in play(agent, test.crops(options.reading or agent.reading, agent.working_space))
        ]

    def as_published(agent: ExposureAgent, crops: Run) -> list[Run]:
        return [retouch_pictures(agent, crops, seed) for seed in seeds]

    def applied() -> list[Run]:
        recipe = Recipe.load(options.recipe)
        crops = test.crops(reading, recipe.working_space)
        return [recipe.apply(crops.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)]

    def plays(players: list[Player]) -> list[Run]:
        return [play_pictures(game, test.crops(reading, "srgb"), player) for player in players]

    makers: dict[str, Callable[[], list[Run]]] = {
        "input": lambda: [test.crops(reading, "srgb")],
        "auto-levels": lambda: plays([auto_levels_player(game, reading)]),
        "random": lambda: plays([random_player(game, torch.Generator().manual_seed(seed)) for seed in seeds]),
        "recipe": applied,
        "agent": lambda: agents(as_published),
        "agent-deterministic": lambda: agents(lambda agent, crops: [retouch_pictures(agent, crops, None)]),
    }
    rows = []
    for name in ROWS:
        if name not in options.rows and ("all" not in options.rows or (name == "recipe" and options.recipe is None)):
            continue
        runs = makers[name]()
        learned = name.startswith("agent")
        rows.append(
            {
                "set": options.set,
                "name": f"{name}, {options.name}" if learned and options.name else name,
                "photos": len(test.paths),
                "targets": len(test.targets) // 5,
                "training_seeds": len(options.model) if learned else None,
                "seeds_each": len(runs) // len(options.model) if learned else len(runs),
            }
            | {measure: estimate.row() for measure, estimate in test.measure(runs).items()}
        )
    return rows


def _kept(path: Path) -> list[harness.Row]:
    """The rows that earlier commands made."""
    if not path.exists():
        return []
    return [row for row in json.loads(path.read_text(encoding="utf-8"))["rows"] if "source" not in row]


def _figures(row: harness.Row) -> harness.Row:
    return {name: {"value": figure / 100} for name, figure in zip(INTERSECTIONS, row["figures"], strict=True)}


def printed(row: harness.Row) -> harness.Row:
    """Cells for the eye: per cent for intersections, and half of the interval."""
    cells: harness.Row = {key: row[key] for key in ("set", "name") if key in row}
    for measure in INTERSECTIONS + PAIRED:
        if measure not in row:
            continue
        scale, digits = (100, 1) if measure in INTERSECTIONS else (1, 3 if measure == "ssim" else 2)
        estimate = row[measure]
        cells[measure] = f"{scale * estimate['value']:.{digits}f}"
        if "interval" in estimate:
            cells[measure] += f" ± {scale * (estimate['interval'][1] - estimate['value']):.{digits}f}"
    return cells


def shortfalls(rows: list[dict[str, Any]]) -> list[str]:
    """Where an agent is not better than input, auto-levels and random on the same photographs, one line each."""
    lines = []
    for row in rows:
        if not row["name"].startswith("agent"):
            continue
        for rival in (other for other in rows if other["set"] == row["set"] and other["name"] in RIVALS):
            for measure in INTERSECTIONS + PAIRED:
                if measure not in row or measure not in rival:
                    continue
                ours, theirs = row[measure]["value"], rival[measure]["value"]
                if (ours >= theirs) if measure == "ciede2000" else (ours <= theirs):
                    lines.append(
                        f"{row['set']}: {row['name']} does not beat {rival['name']} on {measure}: "
                        f"{ours:.3f} against {theirs:.3f}"
                    )
    return lines


if __name__ == "__main__":
    main()
