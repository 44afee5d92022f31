"""Many photographs at once: look at each small, decide about several together, develop each at full size.

Decoders, the compiled filters and encoders let go of the interpreter's lock, so threads share the work: while some
develop what is decided, others look at what comes next. Only small pictures wait in memory. Results come in the order
of the photographs, whatever the order in which they are finished.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from exposure_gym.files import replacing_all

if TYPE_CHECKING:
    from exposure_gym.cli.outputs import Plan
    from exposure_gym.photo import Reading, Space
    from exposure_gym.preview import Preview
    from exposure_gym.recipe import Recipe

AHEAD = 8
"""Photographs that are decided together; as many are looked at ahead."""

FAILURES = (ValueError, OSError, MemoryError)
"""What may go wrong with one photograph without the others suffering."""


class Job(NamedTuple):
    """One photograph and the files that it becomes."""

    source: Path
    plan: Plan
    reading: Reading


class Choice(NamedTuple):
    """One edit for a photograph, and how sure its maker was of each step, where that is known."""

    recipe: Recipe
    probabilities: Sequence[dict[str, float]] | None = None


class Outcome(NamedTuple):
    """What became of a photograph."""

    job: Job
    choices: list[Choice]
    """One for each of its results; none where it failed."""
    error: Exception | None
    seconds: float
    """From the moment that a thread took it up for good."""


Decide = Callable[[Sequence[Job], Sequence["Preview | None"]], Sequence[list[Choice]]]
"""Chooses the edits of some photographs, for each as many as it has results."""
Compare = Callable[[list["Recipe"], "Preview", Path], None]
"""Draws the figure of all samples of a photograph."""


@dataclass
class Darkroom:
    """How photographs are read and written.

    :param space: the primaries that they are edited in.
    :param options: further keywords of :func:`exposure_gym.fullres.develop_file`: ``profile``, ``dither`` and so on.
    :param reading: keywords that the preview and the full size share: ``white_balance``, ``highlights``,
        ``max_megapixels``.
    :param looks: whether a preview is needed at all.
    :param workers: photographs worked on at a time; :param threads: that develop one of them.
    :param check: raises an error where a photograph's files must not be written; asked before it is developed, and
        once more before they take their places.
    :param compare: for photographs with several samples.
    """

    space: Space
    options: dict[str, Any]
    reading: dict[str, Any]
    looks: bool
    workers: int
    threads: int
    check: Callable[[Plan], None]
    compare: Compare | None = None
    _developing: list[Future[float]] = field(default_factory=list, init=False)
    _waiting: deque[tuple[Job, list[Choice], Future[float]]] = field(default_factory=deque, init=False)

    @property
    def finished(self) -> int:
        """Photographs whose files are all there."""
        done = [future for future in self._developing if future.done() and not future.cancelled()]
        return sum(future.exception() is None for future in done)

    def run(self, jobs: Sequence[Job], decide: Decide) -> Iterator[Outcome]:
        """Work through all photographs.

        However it ends, by an interruption too, what was begun is finished first, and nothing else is begun; what
        became of that is :meth:`finished_meanwhile`.
        """
        pool = ThreadPoolExecutor(self.workers)
        try:
            waiting = self._waiting
            ahead = self._look_at(jobs[:AHEAD], pool)
            for first in range(0, len(jobs), AHEAD):
                group, ahead = ahead, self._look_at(jobs[first + AHEAD : first + 2 * AHEAD], pool)
                waiting.extend(self._start(group, decide, pool))
                while waiting and (waiting[0][2].done() or len(waiting) > 2 * AHEAD):
                    yield self._next_outcome()
            while waiting:
                yield self._next_outcome()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def finished_meanwhile(self) -> Iterator[Outcome]:
        """Photographs that were finished, or failed, while :meth:`run` was being interrupted."""
        while self._waiting:
            if self._waiting[0][2].cancelled():
                self._waiting.popleft()
            else:
                yield self._next_outcome()

    def _next_outcome(self) -> Outcome:
        outcome = _outcome(*self._waiting[0])  # waits for it, and may be interrupted
        self._waiting.popleft()
        return outcome

    def _look_at(self, jobs: Sequence[Job], pool: ThreadPoolExecutor) -> list[tuple[Job, Future[Preview | None]]]:
        return [(job, pool.submit(self._look, job)) for job in jobs]

    def _look(self, job: Job) -> Preview | None:
        if not self.looks:
            return None
        from exposure_gym.preview import read_preview

        return read_preview(job.source, job.reading, space=self.space, **self.reading)

    def _start(
        self, group: list[tuple[Job, Future[Preview | None]]], decide: Decide, pool: ThreadPoolExecutor
    ) -> Iterator[tuple[Job, list[Choice], Future[float]]]:
        seen = [(job, future.result()) for job, future in group if not isinstance(future.exception(), FAILURES)]
        chosen = iter(decide([job for job, _ in seen], [preview for _, preview in seen]) if seen else ())
        for job, future in group:
            if isinstance(error := future.exception(), FAILURES):
                failed: Future[float] = Future()
                failed.set_exception(error)
                yield job, [], failed
            else:
                choices = next(chosen)
                self._developing.append(pool.submit(self._develop, job, choices, future.result()))
                yield job, choices, self._developing[-1]

    def _develop(self, job: Job, choices: list[Choice], preview: Preview | None) -> float:
        """Write all files of a photograph, or none."""
        from exposure_gym.fullres import develop_file

        start = time.perf_counter()
        brightness: Literal["as-is", "raw-like"] = "raw-like" if job.reading == "raw-like" else "as-is"
        self.check(job.plan)
        for file in job.plan:
            file.parent.mkdir(parents=True, exist_ok=True)
        with _named_as(job.plan), replacing_all(job.plan) as temporaries:
            files = dict(zip(job.plan, temporaries, strict=True))
            for choice, result in zip(choices, job.plan.results, strict=True):
                how = self.reading | self.options | {"brightness": brightness, "bits": result.bits}
                develop_file(job.source, choice.recipe, files[result.photo], threads=self.threads, **how)
                choice.recipe.save(files[result.recipe])
                if result.steps is not None and preview is not None:
                    _draw_steps(choice, preview, files[result.steps])
            if job.plan.samples is not None and preview is not None and self.compare is not None:
                self.compare([choice.recipe for choice in choices], preview, files[job.plan.samples])
            self.check(job.plan)  # the folder may have changed meanwhile
        return time.perf_counter() - start


def _draw_steps(choice: Choice, preview: Preview, path: Path) -> None:
    from exposure_gym.viz import steps_figure, write_png

    write_png(path, steps_figure(choice.recipe, preview.pixels, probabilities=choice.probabilities))


@contextmanager
def _named_as(plan: Plan) -> Iterator[None]:
    """Speak of the file that was to be written, not of the temporary one beside it."""
    from exposure_gym.photo import PhotoError

    photo = plan.results[0].photo
    try:
        yield
    except PhotoError as error:
        if error.path.name.startswith(".") and error.path.parent == photo.parent:
            raise PhotoError(photo, error.reason, error.remedy) from None
        raise
    except OSError as error:
        remedy = "check the folder, its permissions and free space"
        raise PhotoError(photo, f"cannot be written ({error.strerror or error})", remedy) from None


def _outcome(job: Job, choices: list[Choice], future: Future[float]) -> Outcome:
    try:
        return Outcome(job, choices, None, future.result())
    except FAILURES as error:
        return Outcome(job, [], error, 0.0)
