"""One run, from its settings to its result: what was reached after how many steps and how much time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import harness
import torch

from compare.algorithms import ALGORITHMS, Setting
from compare.arena import Arena
from compare.config import Cell
from exposure_gym.evaluation import Player

FORMAT = "exposure-gym comparison 1"
Progress = Callable[[int], None]


class Examiner:
    """Examines players when it is time, and keeps the time of learning apart from its own."""

    def __init__(self, arena: Arena, every: int, progress: Progress) -> None:
        self.arena, self.every, self.progress = arena, every, progress
        self.curve: list[dict[str, Any]] = []
        self.player: Player | None = None
        self.steps = 0
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def show(self, steps: int, player: Player) -> None:
        """See :mod:`compare.algorithms`."""
        self.steps, self.player = steps, player
        self.progress(steps)
        if not self.curve or steps >= self.curve[-1]["due"] + self.every:
            self.examine()

    def examine(self) -> None:
        """Add a row to the curve: ``steps``, ``seconds`` and ``cpu_seconds`` of learning, and the measures."""
        assert self.player is not None
        wall, cpu = time.monotonic(), time.process_time()
        row = {"steps": self.steps, "seconds": wall - self._wall, "cpu_seconds": cpu - self._cpu}
        due = self.steps // self.every * self.every
        measures = self.arena.examine(self.player)
        if self.curve and self.curve[-1]["steps"] == self.steps:  # the last update came after the last step
            self.curve.pop()
        self.curve.append({"due": due, **row, **measures})
        self._wall += time.monotonic() - wall
        self._cpu += time.process_time() - cpu


_ARENAS: dict[str, Arena] = {}


def _arena(options: dict[str, Any]) -> Arena:
    """Made once for all runs in an environment. (Not by a cache of functools, which does not travel to other nodes.)"""
    key = json.dumps(options)
    if key not in _ARENAS:
        _ARENAS.clear()
        _ARENAS[key] = Arena(**options)
    return _ARENAS[key]


def run_cell(cell: Cell, progress: Progress = lambda steps: None) -> dict[str, Any]:
    """Play one run in one thread, and tell how it went, as JSON can hold it."""
    torch.set_num_threads(1)
    load = harness.OtherLoad()
    examiner = Examiner(_arena(cell.options), cell.evaluate_every, progress)
    setting = Setting(examiner.arena, cell.steps, cell.seed, cell.encoder, cell.hyperparameters)
    algorithm = ALGORITHMS[cell.algorithm]
    algorithm.run(setting, examiner.show)
    if algorithm.learns:
        examiner.examine()
    assert examiner.player is not None
    milliseconds = examiner.arena.milliseconds(examiner.player)
    for row in examiner.curve:
        del row["due"]
    return {
        "format": FORMAT,
        "settings": cell.settings(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": harness.machine() | {"cores_busy_with_other_processes": load.cores()},
        "versions": harness.versions() | {"sb3-contrib": _version("sb3-contrib")},
        "milliseconds_to_decide": milliseconds,
        "curve": examiner.curve,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
