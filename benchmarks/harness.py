"""What every benchmark shares: the machine, the clock, a runner of whole processes, and the report.

Nothing here names the machine or a folder on it: results can be published as they are.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from exposure_gym.files import replacing

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"

Row = dict[str, Any]
Name = TypeVar("Name", bound=Hashable)


def arguments(description: str, *, warmup: int, runs: int) -> argparse.Namespace:
    """Parse what every script takes; ``--smoke`` makes one run without warm-up, at tiny sizes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes and one run: does it work at all?")
    parser.add_argument("--warmup", type=int, default=warmup, help="rounds that are not counted (%(default)s)")
    parser.add_argument("--runs", type=int, default=runs, help="rounds that are (%(default)s)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no further round after this time")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file (benchmarks/results)")
    options = parser.parse_args()
    if options.smoke:
        options.warmup, options.runs = 0, 1
    if options.runs < 1 or options.warmup < 0:
        parser.error("--runs must be at least 1 and --warmup at least 0")
    options.deadline = time.monotonic() + options.seconds
    return options


# -- measuring -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """All the times of one thing, in seconds, in the order they were taken."""

    times: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds; the middle of the times, which one interrupted run does not move."""
        return statistics.median(self.times)

    def row(self, prefix: str = "") -> Row:
        """Median, spread and all the times in milliseconds, each key with ``prefix`` in front."""
        times = [1e3 * seconds for seconds in self.times]
        low, _, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
        return {
            f"{prefix}median_ms": statistics.median(times),
            f"{prefix}quartiles_ms": [low, high],
            f"{prefix}min_ms": min(times),
            f"{prefix}max_ms": max(times),
            f"{prefix}times_ms": times,
        }


def rounds(warmup: int, runs: int, deadline: float = math.inf) -> Iterator[bool]:
    """Yield for each round whether it counts; none but the first that does begins after ``deadline`` (monotonic)."""
    for turn in range(warmup + runs):
        if turn <= warmup or time.monotonic() < deadline:
            yield turn >= warmup


def measure(function: Callable[[], object], *, warmup: int, runs: int, device: str = "cpu") -> Timing:
    """Time a function; see :func:`measure_in_turns`."""
    return measure_in_turns({"": function}, warmup=warmup, runs=runs, device=device)[""]


def measure_in_turns(
    functions: Mapping[Name, Callable[[], object]],
    *,
    warmup: int,
    runs: int,
    device: str = "cpu",
    deadline: float = math.inf,
) -> dict[Name, Timing]:
    """Time functions that take turns, round after round, so that a noisy minute hits all of them alike.

    :param warmup: rounds before the first that counts; :param deadline: see :func:`rounds`.
    :param device: ``"cuda"``: wait before and after each function until the device has done its work.
    """
    synchronise = _synchroniser(device)
    times: dict[Name, list[float]] = {name: [] for name in functions}
    for counts in rounds(warmup, runs, deadline):
        for name, function in functions.items():
            synchronise()
            start = time.perf_counter()
            function()
            synchronise()
            if counts:
                times[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in times.items()}


def _synchroniser(device: str) -> Callable[[], None]:
    if not device.startswith("cuda"):
        return lambda: None
    import torch

    return torch.cuda.synchronize


@dataclass(frozen=True)
class Child:
    """A whole process: from its start to its end, with everything it imported, read and wrote."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds on all cores together."""
    peak_bytes: int
    """Largest resident memory of it or of one of its children."""
    output: str
    """What it printed."""


# The kernel counts the memory of the process that a child is split off from as the child's own, until the child
# loads its program: after a benchmark has made a large array, every child would seem as large. So a bare interpreter
# of a few megabytes starts it.
_LAUNCHER = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
output = child.stdout.read().decode()
status = child.wait()
wall = time.perf_counter() - start
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
json.dump([status, wall, usage.ru_utime + usage.ru_stime, peak, output], sys.stdout)
"""


def run_child(command: Sequence[str | os.PathLike[str]]) -> Child:
    """Run a command to its end.

    :raises RuntimeError: it failed; what it said went to stderr.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *(os.fspath(part) for part in command)]
    answer = subprocess.run(launcher, stdout=subprocess.PIPE, check=True).stdout
    status, wall, cpu, peak, output = json.loads(answer)
    if status:
        raise RuntimeError(f"the measured process ended with status {status}")
    return Child(wall, cpu, peak, output)


class OtherLoad:
    """How many cores other processes kept busy meanwhile, which no repetition can put right."""

    def __init__(self) -> None:
        self.start = self._seconds()

    def cores(self) -> float | None:
        """Mean since the beginning; ``None`` where the system does not tell."""
        now = self._seconds()
        if now is None or self.start is None:
            return None
        return max(0.0, (now[1] - self.start[1]) / max(now[0] - self.start[0], 1e-9))

    @staticmethod
    def _seconds() -> tuple[float, float] | None:
        """The clock, and the seconds that all cores worked for others than this process and its children."""
        stat = Path("/proc/stat")
        if not stat.exists():
            return None
        # proc(5): user, nice, system, idle, iowait, irq, softirq, steal
        ticks = [int(value) for value in stat.read_text().split("\n", 1)[0].split()[1:9]]
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy - sum(os.times()[:4])


# -- describing ----------------------------------------------------------------------------------------------------


def machine() -> Row:
    """What the numbers depend on: processor, cores, memory, system and GPU; not the machine's name."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = set(re.findall(r"\w+", next(iter(re.findall(r"^flags\s*:(.+)$", text, re.MULTILINE)), "")))
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    described = {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cpu_instructions": [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags],
        "cores": usable,
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
    }
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    return described


def versions() -> dict[str, str | None]:
    """Versions of Python, of the libraries that do the work, and of the project; the commit if there is one."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    names = "exposure-gym torch numpy numba opencv-python-headless imagecodecs gymnasium stable-baselines3 ale-py"
    for name in names.split():
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    found["commit"] = _commit()
    return found


def _commit() -> str | None:
    try:
        said = subprocess.run(
            ["git", "-C", HERE, "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    return said.stdout.strip() or None


# -- reporting -----------------------------------------------------------------------------------------------------


def save(
    name: str,
    rows: Sequence[Row],
    *,
    columns: Mapping[str, str],
    method: str,
    settings: Mapping[str, Any],
    load: OtherLoad,
    out: Path = RESULTS,
    table: Sequence[Row] | None = None,
) -> Path:
    """Write ``<out>/<name>.json`` and print the rows as a Markdown table.

    :param rows: JSON values by name; ``"name"`` says what was measured.
    :param columns: headings of the printed table, and the key of each; a row without the key has an empty cell.
    :param method: how it was measured, for who reads the file alone.
    :param settings: sizes and counts of this run.
    :param load: made when measuring began.
    :param table: what is printed in place of the rows, if they are arranged otherwise for the eye.
    """
    others = load.cores()
    report = {
        "benchmark": name,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "method": method,
        "machine": machine() | {"cores_busy_with_other_processes": others},
        "versions": versions(),
        "settings": dict(settings),
        "rows": list(rows),
    }
    text = json.dumps(_rounded(report), indent=1, ensure_ascii=False, allow_nan=False)
    # A list of numbers belongs on one line.
    text = re.sub(r"\[\s+([^][{}\"]+?)\s+\]", lambda match: "[" + " ".join(match[1].split()) + "]", text)
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / f"{name}.json") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")

    printed = Table(box=MARKDOWN)
    for heading in columns:
        printed.add_column(heading, justify="left" if heading == next(iter(columns)) else "right")
    for row in rows if table is None else table:
        printed.add_row(*(_cell(row.get(key)) for key in columns.values()))
    console = Console(width=200, highlight=False)
    console.print(printed)
    if others is not None:
        console.print(f"Other processes kept {others:.2f} cores busy meanwhile.")
    return out / f"{name}.json"


def _rounded(value: Any) -> Any:
    """Five significant digits are more than any clock here is good for."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
