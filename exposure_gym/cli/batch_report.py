"""What a batch says: a line for each photograph, a progress bar meanwhile, a summary at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from exposure_gym.cli.messages import complain, progress_bar

if TYPE_CHECKING:
    from exposure_gym.cli.batch import Outcome
    from exposure_gym.cli.outputs import Plan


class Report:
    """Lines on standard output, in words or as JSON; errors and the summary on standard error.

    :param as_json: an object a photograph: ``source``, ``status`` (``done``, ``failed``, ``skipped`` or ``planned``),
        ``results`` with the files ``photo``, ``recipe`` and ``steps`` and, of those that are done, the ``edit`` in
        words; ``samples``, the figure of all of them, where there is one; ``seconds``, or the ``error``.
    :param total: photographs that were given.
    """

    def __init__(self, as_json: bool, total: int) -> None:
        self.as_json, self.total = as_json, total
        self.counts = dict.fromkeys(("done", "planned", "skipped", "failed"), 0)
        self._start = time.monotonic()
        self._advance: Callable[[], None] = lambda: None

    def skipped(self, source: Path, plan: Plan) -> None:
        """A photograph is left out, since its results are there."""
        self._count("skipped", source, plan)
        if not self.as_json:
            typer.echo(f"{source}: is finished already ({plan.results[0].photo})")

    def planned(self, source: Path, plan: Plan) -> None:
        """A photograph would be worked on."""
        self._count("planned", source, plan)
        if not self.as_json:
            typer.echo(f"{source} → {', '.join(str(file) for file in plan)}")

    def failed(self, source: Path, error: Exception) -> None:
        """A photograph cannot be worked on."""
        message = " ".join(str(error).split()) or f"{source}: does not fit in memory; make it smaller"
        complain(message)
        self._count("failed", source, None, error=message)

    def outcome(self, outcome: Outcome) -> None:
        """A photograph was worked on."""
        job = outcome.job
        if outcome.error is not None:
            self.failed(job.source, outcome.error)
        else:
            edits = [choice.recipe.describe() for choice in outcome.choices]
            self._count("done", job.source, job.plan, edits, seconds=round(outcome.seconds, 3))
            for result, edit in zip(job.plan.results, edits, strict=True):
                if not self.as_json:
                    typer.echo(f"{job.source} → {result.photo}: {edit}")
        self._advance()

    @contextmanager
    def showing_progress(self, count: int) -> Iterator[None]:
        """A bar with photographs a second and the time left, on a terminal."""
        if not sys.stderr.isatty():
            yield  # and rich is not imported
            return
        with progress_bar("{task.fields[rate]}") as bar:
            task = bar.add_task("retouching", total=count, rate="")
            begin = time.monotonic()

            def advance() -> None:
                done = int(bar.tasks[0].completed) + 1
                bar.update(task, completed=done, rate=_rate(done, time.monotonic() - begin))

            self._advance = advance
            yield

    def end(self) -> None:
        """Sum up, where there is more than one photograph; an exit status of 1 if one failed."""
        if self.total > 1:
            words = {"planned": "to be done"}
            counted = [f"{count} {words.get(name, name)}" for name, count in self.counts.items() if count]
            seconds = time.monotonic() - self._start
            rate = f", {_rate(self.counts['done'], seconds)}" if self.counts["done"] else ""
            complain(f"{self.total} photos: {', '.join(counted)}; {seconds:.1f} s{rate}")
        if self.counts["failed"]:
            raise typer.Exit(1)

    def _count(self, status: str, source: Path, plan: Plan | None, edits: list[str] | None = None, **more: Any) -> None:
        self.counts[status] += 1
        if not self.as_json:
            return
        line: dict[str, Any] = {"source": str(source), "status": status}
        if plan is not None:
            line["results"] = [
                {"photo": str(result.photo), "recipe": str(result.recipe)}
                | ({"steps": str(result.steps)} if result.steps is not None else {})
                | ({"edit": edits[i]} if edits is not None else {})
                for i, result in enumerate(plan.results)
            ]
            if plan.samples is not None:
                line["samples"] = str(plan.samples)
        typer.echo(json.dumps(line | more))


def _rate(count: int, seconds: float) -> str:
    return f"{count / max(seconds, 1e-3):.1f} photos/s"
