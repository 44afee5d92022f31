"""Playing all runs: here one after the other, in several processes, or on a Ray cluster. Each leaves a file of its own.

A file is written beside and renamed, so that whatever is killed, whole results stay; a run that has one is not played
again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from types import ModuleType
from typing import Any

from compare import cells as cells_module
from compare.cells import FORMAT, run_cell
from compare.config import Cell
from exposure_gym.files import replacing

Outcome = tuple[Cell, str | None]
"""A run that ended, and what went wrong, if anything did."""
Step = Callable[[Cell, int], None]


def result_path(cell: Cell, folder: Path) -> Path:
    """Where the result of a run is kept."""
    return folder / "cells" / f"{cell.name}.json"


def read_result(path: Path) -> dict[str, Any] | None:
    """A kept result; ``None`` if there is none, or something else in its place."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and result.get("format") == FORMAT else None


def finished(cell: Cell, folder: Path) -> dict[str, Any] | None:
    """The kept result of just these settings, if there is one."""
    result = read_result(result_path(cell, folder))
    return result if result is not None and result["settings"] == json.loads(json.dumps(cell.settings())) else None


def is_finished(cell: Cell, folder: Path) -> bool:
    """Whether a result with just these settings is kept."""
    return finished(cell, folder) is not None


def keep(cell: Cell, result: dict[str, Any], folder: Path) -> None:
    """Write a result."""
    write_json(result_path(cell, folder), result)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Beside, then renamed; five digits, and what holds only numbers on one line."""
    text = json.dumps(_rounded(value), indent=1, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"[\[{]\s+[^][{}]+?\s+[\]}]", lambda match: " ".join(match[0].split()), text)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def run_here(cells: Iterable[Cell], folder: Path, step: Step = lambda cell, steps: None) -> Iterator[Outcome]:
    """One after the other, in this process."""
    for cell in cells:
        yield cell, _try(lambda cell=cell: keep(cell, run_cell(cell, lambda steps: step(cell, steps)), folder))  # type: ignore[misc]


def run_in_processes(cells: Iterable[Cell], folder: Path, jobs: int) -> Iterator[Outcome]:
    """In so many processes side by side, one thread each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_end_with_parent) as pool:
        waiting = {pool.submit(_run_and_keep, cell, folder): cell for cell in cells}
        try:
            for future in as_completed(waiting):
                yield waiting[future], _try(future.result)
        finally:
            pool.shutdown(cancel_futures=True)


def run_on_ray(cells: Iterable[Cell], folder: Path, address: str | None) -> Iterator[Outcome]:
    """On a Ray cluster, a core for each run; results come back and are kept here.

    The nodes need exposure-gym installed; these modules travel with the runs.

    :param address: of the cluster; ``None`` starts one on this machine.
    :raises ImportError: Ray is missing.
    """
    try:
        import ray
    except ImportError:
        raise ImportError('--ray needs Ray: pip install "exposure-gym[ray]"') from None
    cells_module._ARENAS.clear()
    for module in our_modules():
        ray.cloudpickle.register_pickle_by_value(module)
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, include_dashboard=False, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=1)(run_cell)
        waiting = {remote.remote(cell): cell for cell in cells}
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            cell = waiting.pop(ready)
            yield cell, _try(lambda ready=ready, cell=cell: keep(cell, ray.get(ready), folder))  # type: ignore[misc]
    finally:
        if ours:
            ray.shutdown()


def our_modules() -> list[ModuleType]:
    """The loaded modules of the benchmarks' folder, which no other machine has installed."""
    folder = Path(__file__).parents[1]
    return [m for m in list(sys.modules.values()) if folder in Path(getattr(m, "__file__", None) or "/").parents]


def _run_and_keep(cell: Cell, folder: Path) -> None:
    keep(cell, run_cell(cell), folder)


def _try(run: Callable[[], Any]) -> str | None:
    """What went wrong, in a line: one broken run does not take the others with it."""
    try:
        run()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error).strip() else 'no message'}"
    return None


def _end_with_parent() -> None:
    """Let a worker end when the process that began it does, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
