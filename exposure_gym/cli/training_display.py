"""What a person sees of a training, and how a person stops it."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

import typer
from rich.progress import TextColumn
from stable_baselines3.common.callbacks import BaseCallback

from exposure_gym.agents.exposure.callbacks import ExposureCallback, LearningCurve
from exposure_gym.cli.messages import progress_bar


class TrainingDisplay(ExposureCallback):
    """A progress bar with time left on a terminal, and a line for every measurement; a context around ``learn``.

    :param iterations: of the whole training, and how many are :param done: already.
    :param curve: gives the values; comes before this callback in the list.
    """

    def __init__(self, iterations: int, done: int, curve: LearningCurve) -> None:
        super().__init__()
        self.iterations = iterations
        self.curve = curve
        self._bar = progress_bar(TextColumn("{task.fields[values]}"))
        self._task = self._bar.add_task("training", total=iterations, completed=done, values="filling the replay pool")

    def __enter__(self) -> TrainingDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _on_step(self) -> bool:
        row = self.curve.row
        self._bar.update(self._task, completed=self.iteration, values=f"EMD {row['emd']:.2f}" if "emd" in row else "")
        if row.get("iteration") == self.iteration and "held_out" in row:
            typer.echo(f"iteration {self.iteration} of {self.iterations}: {_describe(row)}")
        return True


def _describe(row: dict[str, Any]) -> str:
    parts = {name: f"{100 * value:.1f}" for name, value in row["held_out"].items()}
    mean = parts.pop("mean")
    listed = ", ".join(f"{name} {value}" for name, value in parts.items())
    return f"EMD {row['emd']:.2f}, held-out histogram intersection {mean} % ({listed})"


class StopOnSignal(BaseCallback):
    """Ends a training after the iteration in which Ctrl-C or SIGTERM came; used as a context around ``learn``.

    A second Ctrl-C ends it at once: what came after the last checkpoint is lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.signal: int | None = None
        """The signal that came."""

    def __enter__(self) -> StopOnSignal:
        self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        os.write(2, b"exposure-gym: stopping after this iteration\n")  # printing is not safe inside a handler

    def _on_step(self) -> bool:
        return self.signal is None
