"""Feed damaged photographs to the readers: each must end in a picture or in one clear line.

    python tests/fuzz_photo.py --cases 5000 --seed 1

Child processes read the files, many each, under limits of memory and time. What counts as a failure: any exception but
PhotoError, a message that is not one line, a hang, a crash, too much memory, a word on standard output or standard
error, a file that was cut short and read all the same, a file that one reader takes and the other refuses, a result of
a photograph that was refused, and a file left behind. Failing files are kept, and their seed and number printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MEGAPIXELS = 1.0
"""What is larger is refused: damage makes pictures large that take their time, and are sound otherwise."""
MEMORY = 1 << 30
"""Bytes of address space that a child may take beyond what it has when all is loaded."""
GROWTH = 200 << 20
"""Bytes that reading one photograph of that size may really take."""
SECONDS = 60.0
"""Limit for one photograph: generous, for the machine may be busy."""

READY = "ready"
"""What a child says first."""


class Outcome(NamedTuple):
    """How reading one file ended."""

    picture: bool
    message: str
    """Why the file was refused."""
    problem: str
    """What should not have happened; empty if all is well."""


# In the child


def _serve(folder: Path) -> None:
    """Read the files that standard input names; the pipe that was standard output tells how it went."""
    replies = os.fdopen(os.dup(1), "w")
    said = os.open(folder / "said", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    from exposure_gym.recipe import Edit, Recipe

    recipe = Recipe((Edit("exposure", (0.3,)),))
    _warm_up(recipe)
    _limit_memory()
    sys.stdin.readline()
    print(READY, file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            outcome = _read(Path(request["path"]), request["cut"], recipe)
        except BaseException:
            outcome = Outcome(False, "", traceback.format_exc())
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if grown > GROWTH:
            outcome = outcome._replace(problem=outcome.problem or f"took {grown >> 20} MB")
        sys.stdout.flush()
        sys.stderr.flush()
        if os.fstat(said).st_size:
            words = os.pread(said, 2000, 0).decode(errors="replace")
            os.ftruncate(said, 0)
            outcome = outcome._replace(problem=outcome.problem or f"said {words!r}")
        print(json.dumps(outcome), file=replies, flush=True)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _warm_up(recipe: Any) -> None:
    """Load every library, and compile what is compiled, before memory is counted: whole files must be read."""
    from damaged_photos import healthy

    with tempfile.TemporaryDirectory() as folder:
        for name, data in healthy().items():
            path = Path(folder) / name
            path.write_bytes(data)
            outcome = _read(path, False, recipe)
            if outcome.problem or not outcome.picture:
                raise AssertionError(f"{name} is whole, but: {outcome}")
            path.unlink()


def _read(path: Path, cut: bool, recipe: Any) -> Outcome:
    """Every way to read a photograph, and what they must agree on."""
    from exposure_gym.fullres import develop_file
    from exposure_gym.photo import PhotoError, read_display, read_linear
    from exposure_gym.preview import read_preview

    # The kind of result matters little: JPEG and PNG hold it in memory, TIFF does not.
    target = path.with_name("result" + (".tif", ".png", ".jpg")[sum(path.name.encode()) % 3])
    problems = []

    def attempt(what: str, read: Callable[[], Any]) -> tuple[Any, str]:
        try:
            return read(), ""
        except PhotoError as error:
            message = str(error)
            lines = message.splitlines()
            if (
                not message.startswith((f"{path}: ", f"{target}: "))
                or "; " not in message
                or len(lines) != 1
                or not message.isprintable()
            ):
                problems.append(f"{what}: not one clear line: {message!r}")
            if "memory" in message:
                problems.append(f"{what}: {message}")
            return None, message.removeprefix(f"{path}: ")

    linear, message = attempt("read_linear", lambda: read_linear(path, max_megapixels=MEGAPIXELS))
    display, display_message = attempt("read_display", lambda: read_display(path, max_megapixels=MEGAPIXELS))
    preview, preview_message = attempt(
        "read_preview", lambda: read_preview(path, max_megapixels=MEGAPIXELS, short_edge=8)
    )
    size, developed_message = attempt(
        "develop_file", lambda: develop_file(path, recipe, target, max_megapixels=MEGAPIXELS, threads=1)
    )
    raw = "RAW" in display_message
    if linear is not None:
        height, width = linear.pixels.shape[:2]
        if not (np.isfinite(linear.pixels).all() and linear.pixels.min() >= 0 and linear.pixels.dtype == np.float32):
            problems.append("read_linear: pixels that are no light")
        if not raw and display is None:
            problems.append(f"read_linear reads it, read_display does not: {display_message}")
        if preview is None:
            problems.append(f"read_linear reads it, read_preview does not: {preview_message}")
        if size != (height, width) and "no JPEG has" not in developed_message:
            problems.append(f"read_linear reads {height} x {width}, develop_file {size}: {developed_message}")
        if cut:
            problems.append("was cut short, and read all the same")
    else:
        if display is not None or (display_message != message and not raw):
            problems.append(f"read_linear: {message}, but read_display: {display_message}")
        # libtiff refuses some tags that do not matter to those who read strip by strip.
        tolerant = not cut and path.read_bytes()[:2] in (b"II", b"MM")
        if not tolerant and (size is not None or preview is not None):
            problems.append(f"read_linear refuses it ({message}), but not by develop_file and read_preview")
    if display is not None and not (display.pixels.min() >= 0 and display.pixels.max() <= 1):
        problems.append("read_display: pixels that are no display values")
    if target.exists() != (size is not None):
        problems.append("a result of a refused photograph, or none of one that was read")
    target.unlink(missing_ok=True)
    left = [p.name for p in path.parent.iterdir() if p.name not in (path.name, "said")]
    if left:
        problems.append(f"left behind: {left}")
        for name in left:
            (path.parent / name).unlink()
    return Outcome(linear is not None, message, "; ".join(problems))


# In the parent


class Child:
    """A process that reads one file after another; another takes its place when it dies or hangs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def read(self, data: bytes, suffix: str, cut: bool) -> Outcome:
        """Have a file read."""
        if self.process is None:
            self._start()
        path = self.folder / f"a{suffix}"
        path.write_bytes(data)
        line = self._ask(json.dumps({"path": str(path), "cut": cut}), SECONDS)
        path.unlink(missing_ok=True)
        return Outcome(*json.loads(line)) if line.startswith("[") else Outcome(False, "", line)

    def _start(self) -> None:
        command = [sys.executable, __file__, "--child", str(self.folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        answer = self._ask("", 300.0)  # kernels may have to be compiled
        if answer != READY:
            raise RuntimeError(f"no child: {answer}")

    def _ask(self, request: str, seconds: float) -> str:
        """A line from the child, or what became of it."""
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], seconds)[0]:
            self.close()
            return f"hangs: no answer in {seconds:.0f} s"
        line = process.stdout.readline()
        if line:
            return line.strip()
        status = process.wait()
        said = (self.folder / "said").read_text(errors="replace")[-2000:]
        self.close()
        return f"the process ended with status {status}: {said}"

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
        for path in self.folder.iterdir():
            path.unlink()


def fuzz(seed: int, numbers: Iterable[int], jobs: int = 1) -> Iterator[tuple[int, Any, Outcome]]:
    """Read the damaged photographs of a seed with these numbers: number, case and outcome of each, as they come."""
    from damaged_photos import damaged

    with tempfile.TemporaryDirectory() as folder:
        children = []
        for job in range(jobs):
            (Path(folder) / str(job)).mkdir()
            children.append(Child(Path(folder) / str(job)))
        idle = list(children)

        def read(number: int) -> tuple[int, Any, Outcome]:
            child = idle.pop()  # there are as many as there are threads
            try:
                case = damaged(seed, number)
                return number, case, child.read(case.data, case.suffix, case.cut)
            finally:
                idle.append(child)

        try:
            with ThreadPoolExecutor(jobs) as pool:
                yield from pool.map(read, numbers)
        finally:
            for child in children:
                child.close()


def main() -> int:
    """Fuzz and tell what happened; the exit status is 1 after any failure."""
    parser = argparse.ArgumentParser(description="Feed damaged photographs to the readers.")
    parser.add_argument("--cases", type=int, default=5000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="what damage is done")
    parser.add_argument("--only", type=int, help="one case alone, by its number")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for files that fail")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _serve(args.child)
        return 0
    counts: Counter[str] = Counter()
    for number, case, outcome in fuzz(args.seed, range(args.cases) if args.only is None else [args.only], args.jobs):
        counts["failure" if outcome.problem else "picture" if outcome.picture else "refused"] += 1
        if outcome.problem:
            args.keep.mkdir(exist_ok=True)
            path = args.keep / f"{args.seed}-{number}-{case.kind.split('.')[0]}{case.suffix}"
            path.write_bytes(case.data)
            print(f"seed {args.seed} case {number} ({case.kind}, {case.damage}): {outcome.problem}\n  kept as {path}")
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    return 1 if counts["failure"] else 0


if __name__ == "__main__":
    sys.exit(main())
