"""A progress bar for ``learn``: Stable-Baselines3's own counts one edit a call and needs another library."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback


class ProgressBar(BaseCallback):
    """Edits done, and the time left, on the terminal."""

    def _on_training_start(self) -> None:
        columns = (
            TextColumn("learning"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("edits"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns)
        total = self.model._total_timesteps
        self.task = self.bar.add_task("", total=total, completed=self.num_timesteps)
        self.bar.start()

    def _on_step(self) -> bool:
        self.bar.update(self.task, completed=self.model.num_timesteps)
        return True

    def _on_training_end(self) -> None:
        self.bar.stop()


def with_progress_bar(callback: MaybeCallback) -> CallbackList:
    """The callbacks that ``learn`` was given, and a :class:`ProgressBar`."""
    given = callback if isinstance(callback, list) else [] if callback is None else [callback]
    bar: list[BaseCallback] = [ProgressBar()]
    return CallbackList([each if isinstance(each, BaseCallback) else ConvertCallback(each) for each in given] + bar)
