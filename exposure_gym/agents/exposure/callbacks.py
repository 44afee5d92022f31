"""Stable-Baselines3 callbacks for a training that is left alone: held-out figures, a curve and sheets on disk,
checkpoints.

``on_step`` comes once an iteration. In a list they go in this order: what measures, what writes, what saves; and
``learn`` wants ``log_interval=1``, so that the logger holds the values of one iteration. None of them draws from the
agent's random generators: a training is the same with and without them.
"""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Image

from exposure_gym.agents.exposure.agent import ExposureAgent
from exposure_gym.agents.exposure.sheet import training_sheet
from exposure_gym.evaluation import HeldOutPhotos
from exposure_gym.files import replacing
from exposure_gym.metrics import HistogramIntersection

Row = dict[str, Any]


class ExposureCallback(BaseCallback):
    """A callback that counts iterations of an :class:`ExposureAgent`, whether it was resumed or not."""

    model: ExposureAgent

    @property
    def iteration(self) -> int:
        """Iterations done."""
        return self.model.num_timesteps // self.model.batch_size

    @property
    def is_last(self) -> bool:
        """Whether the training ends here."""
        return self.model.num_timesteps >= self.model._total_timesteps

    def is_due(self, every: int) -> bool:
        """Whether this is the first iteration, the last one, or one of every so many."""
        return self.iteration == 1 or self.iteration % every == 0 or self.is_last

    def numbers(self) -> dict[str, float]:
        """What the logger holds of this iteration, but the pictures."""
        return {name: value for name, value in self.logger.name_to_value.items() if not isinstance(value, Image)}

    def wrong_numbers(self, *, weights: bool) -> list[str]:
        """Names of what is NaN or infinite among the logged values; or where all are well, among the weights.

        :param weights: look at those too: a step along a gradient that is no number spoils them one iteration before
            the losses show it.
        """
        wrong = [name for name, value in self.numbers().items() if not math.isfinite(value)]
        if weights and not wrong:
            named = self.model.policy.named_parameters()
            wrong = [f"weights {name}" for name, value in named if not torch.isfinite(value).all()][:1]
        return wrong


class HeldOutEvaluation(ExposureCallback):
    """Records the histogram intersection on held-out photographs, as ``held_out/...``.

    :param photos: to measure on.
    :param every: iterations between two measurements; the first and the last iteration are measured too.
    """

    def __init__(self, photos: HeldOutPhotos, every: int) -> None:
        super().__init__()
        self.photos = photos
        self.every = every
        self.latest: HistogramIntersection | None = None

    def _on_step(self) -> bool:
        if self.is_due(self.every) and not self.wrong_numbers(weights=True):
            self.latest = self.photos.evaluate(self.model)
            for name, value in (self.latest._asdict() | {"mean": self.latest.mean}).items():
                self.logger.record(f"held_out/{name}", value)
        return True


class LearningCurve(ExposureCallback):
    """Appends to a JSON Lines file: the means of all logged values since the row before.

    A row has ``iteration``, ``seconds`` of training, the ``train/...`` values by their bare names, and the others by
    group: ``filters`` (how often each was used) and, where it was measured, ``held_out``.

    :param path: the file; rows of it that lie ahead of the training are dropped, so that it holds one curve.
    :param every: iterations a row; the first, the last and a measured iteration have rows too.
    """

    def __init__(self, path: Path, every: int = 10) -> None:
        super().__init__()
        self.path = path
        self.every = every
        self.row: Row = {}
        self._sums: dict[str, list[float]] = {}

    def _on_training_start(self) -> None:
        rows = [row for row in read_curve(self.path) if row["iteration"] <= self.iteration]
        with replacing(self.path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self._began = time.monotonic() - (rows[-1]["seconds"] if rows else 0.0)

    def _on_step(self) -> bool:
        values = self.numbers()
        for name, value in values.items():
            self._sums.setdefault(name, []).append(float(value))
        measured = any(name.startswith("held_out/") for name in values)
        if measured or self.is_due(self.every):
            self._write()
        return True

    def _write(self) -> None:
        self.row = {"iteration": self.iteration, "seconds": round(time.monotonic() - self._began, 1)}
        for name, values in self._sums.items():
            group, _, bare = name.partition("/")
            place = self.row if group == "train" else self.row.setdefault(group, {})
            place[bare] = float(f"{math.fsum(values) / len(values):.6g}")
        self._sums = {}
        with self.path.open("a") as file:
            file.write(json.dumps(self.row) + "\n")


def read_curve(path: Path) -> list[Row]:
    """The rows of a :class:`LearningCurve`'s file; none if it is missing, and without a last one cut short."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class Sheets(ExposureCallback):
    """Draws the training sheet every so often, as PNG and for TensorBoard (``sheet``).

    :param folder: of the files, ``<iteration>.png``; made when the first is due.
    :param every: iterations between two; the first and the last iteration have one too. (Published: 400.)
    """

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__()
        self.folder = folder
        self.every = every

    def _on_training_start(self) -> None:
        _remove_half_written(self.folder)

    def _on_step(self) -> bool:
        from exposure_gym.agents.exposure.sheet_figure import draw_sheet
        from exposure_gym.viz import write_png

        if self.is_due(self.every) and not self.wrong_numbers(weights=True):
            figure = draw_sheet(training_sheet(self.model))
            self.folder.mkdir(exist_ok=True)
            write_png(self.folder / f"{self.iteration:06d}.png", figure)
            self.logger.record("sheet", Image(figure, "HWC"), exclude=("stdout", "log", "json", "csv"))
        return True


class Checkpoints(ExposureCallback):
    """Saves everything every so often, keeps the last ones, and stops a training whose values are no numbers.

    :param folder: of the files, ``checkpoint-<iteration>.safetensors``.
    :param every: iterations between two.
    :param keep: how many stay.
    """

    def __init__(self, folder: Path, every: int, keep: int = 2) -> None:
        super().__init__()
        self.folder = folder
        self.every = every
        self.keep = keep
        self.broken: list[str] = []
        """Names of what was NaN or infinite; the training was stopped, and nothing saved after it."""
        self._saved = -1

    def _on_training_start(self) -> None:
        tidy(self.folder, self.iteration, self.keep)

    def _on_step(self) -> bool:
        self.broken = self.wrong_numbers(weights=False)
        if not self.broken and (self.iteration % self.every == 0 or self.is_last):
            self.save()
        return not self.broken

    def save(self) -> None:
        """Save now, if that was not done and all is well; then remove all but the last ones, and those that lie ahead.

        Ahead of the training lie only damaged ones, which it could not go on from.
        """
        self.broken = self.broken or self.wrong_numbers(weights=True)
        if self.broken or self._saved == self.iteration:
            return
        self.model.save(self.folder / f"checkpoint-{self.iteration:06d}.safetensors")
        self._saved = self.iteration
        tidy(self.folder, self.iteration, self.keep)
        for path in list_checkpoints(self.folder):
            if _iteration(path) > self.iteration:
                path.unlink()


def tidy(folder: Path, iteration: int, keep: int = 2) -> None:
    """Remove all but the last checkpoints up to an iteration, and what a training that was killed left half-written."""
    _remove_half_written(folder)
    for path in [path for path in list_checkpoints(folder) if _iteration(path) <= iteration][keep:]:
        path.unlink()


def _remove_half_written(folder: Path) -> None:
    for path in folder.iterdir() if folder.exists() else ():
        if re.fullmatch(r"\..+-[0-9a-f]{8}\.(safetensors|jsonl?|png)", path.name):  # see exposure_gym.files.replacing
            path.unlink()


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in a folder, newest first."""
    return sorted(folder.glob("checkpoint-*.safetensors"), key=_iteration, reverse=True)


def _iteration(path: Path) -> int:
    number = path.stem.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else -1
