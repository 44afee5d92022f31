"""The paper's agent, standard reinforcement learning and players that only search, on one game: who learns how fast.

    python benchmarks/compare_agents.py --preset smoke         # minutes on two cores: runs, then table and figures
    python benchmarks/compare_agents.py --preset main          # the tables of docs/benchmark.md: everyone, briefly,
    python benchmarks/compare_agents.py --preset long          # and some for long enough to learn
    python benchmarks/compare_agents.py report --preset main --figures docs/images --page docs/benchmark.md

Every run (an algorithm, a seed, an environment) leaves a file under ``<out>/<name>/cells``, and one that is there with
the same settings is not played again: kill it anywhere, start it again, and at most the run in progress is lost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import harness
from compare.config import PRESETS, Cell, Comparison, ConfigError, read_comparison
from compare.execution import Outcome, Step, is_finished, run_here, run_in_processes, run_on_ray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

OUT = harness.RESULTS / "compare"


def main() -> int:
    options = _options()
    try:
        comparison = read_comparison(options.config or options.preset)
    except (ConfigError, TypeError) as error:
        sys.exit(f"compare_agents.py: {error}")
    folder = options.out / comparison.name
    broken = False
    if options.action == "run":
        broken = play(comparison, folder, options)
    from compare.report import put_into_page, write_report

    try:
        table = write_report(comparison, folder, options.figures or folder)
        print(table)
        if options.page is not None:
            put_into_page(table, options.page, comparison.name)
    except (ValueError, OSError) as error:
        sys.exit(f"compare_agents.py: {error}")
    return 1 if broken else 0


def play(comparison: Comparison, folder: Path, options: argparse.Namespace) -> bool:
    """Play what is not finished; whether something went wrong."""
    cells = comparison.cells()
    due = [cell for cell in cells if not is_finished(cell, folder)]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    errors = []
    with Progress(*columns, console=console) as progress:
        all_ = progress.add_task("runs", total=len(cells), completed=len(cells) - len(due))
        one = progress.add_task("edits", total=comparison.steps, visible=options.jobs == 1 and options.ray is None)
        try:
            for cell, error in _outcomes(
                due,
                folder,
                options,
                lambda cell, steps: progress.update(one, description=cell.name, completed=min(steps, cell.steps)),
            ):
                progress.advance(all_)
                if error is not None:
                    errors.append(cell)
                    console.print(f"{cell.name}: {error}", markup=False, highlight=False)
        except KeyboardInterrupt:
            progress.stop()
            sys.exit("compare_agents.py: interrupted; finished runs are kept, the same command goes on")
        except ImportError as error:
            progress.stop()
            sys.exit(f"compare_agents.py: {error}")
    return bool(errors)


def _outcomes(cells: list[Cell], folder: Path, options: argparse.Namespace, step: Step) -> Iterator[Outcome]:
    if options.ray is not None:
        return run_on_ray(cells, folder, options.ray or None)
    return run_in_processes(cells, folder, options.jobs) if options.jobs > 1 else run_here(cells, folder, step)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare algorithms on the game of retouching.")
    parser.add_argument(
        "action", nargs="?", choices=("run", "report"), default="run", help="report: make tables and figures only"
    )
    parser.add_argument("--preset", choices=PRESETS, default="smoke", help="what to compare (%(default)s)")
    parser.add_argument("--config", help="a TOML file of your own, in place of a preset")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with one thread (%(default)s)")
    parser.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS", help="spread the runs over a Ray cluster (one on this machine)"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results (benchmarks/results/compare)")
    parser.add_argument("--figures", type=Path, help="folder of the figures (that of the results)")
    parser.add_argument("--page", type=Path, help="put the table into this page too, between its marks")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
