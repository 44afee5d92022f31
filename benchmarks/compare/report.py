"""Tables and figures from the kept runs: ``report.json`` and ``report.md``, and pictures beside them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from compare import aggregate
from compare.aggregate import Estimate, Scores
from compare.algorithms import ALGORITHMS
from compare.config import Comparison
from compare.execution import finished, write_json
from exposure_gym.files import replacing

Run = dict[str, Any]

MEASURES = ("reward", "critic", "histogram_intersection", "ciede2000", "edits", "reuse")
LEVEL = "shipped"
"""Whose reward is the paper agent's level."""
ANCHORS = ("identity", "greedy")
"""Whose rewards are the scores 0 and 1 of the profiles: what changes nothing, and what has the reward in hand."""


class Runs:
    """The finished runs of a comparison.

    :raises ValueError: there are none.
    """

    def __init__(self, comparison: Comparison, folder: Path) -> None:
        self.comparison = comparison
        self.by_algorithm: dict[str, dict[str, list[Run]]] = {}
        wanted = 0
        for cell in comparison.cells():
            wanted += 1
            result = finished(cell, folder)
            if result is not None:
                self.by_algorithm.setdefault(cell.algorithm, {}).setdefault(cell.environment, []).append(result)
        self.missing = wanted - sum(len(runs) for each in self.by_algorithm.values() for runs in each.values())
        # Those that lack an environment altogether cannot be aggregated over all of them.
        tasks = set(comparison.environments)
        self.by_algorithm = {name: each for name, each in self.by_algorithm.items() if set(each) == tasks}
        if not self.by_algorithm:
            raise ValueError(f"{folder}: no finished run of {comparison.name!r}; run it first")
        self.names = [name for name in comparison.algorithms if name in self.by_algorithm]
        self.learners = [name for name in self.names if ALGORITHMS[name].learns]

    def final(self, name: str, measure: str) -> Scores:
        """``(runs, tasks)``: at the end."""
        return self._table(name, lambda run: run["curve"][-1][measure])

    def cost(self, name: str, key: str) -> Scores:
        """``(runs, tasks)`` of ``milliseconds_to_decide``, or of learning in all: ``seconds``, ``cpu_seconds``."""
        if key == "milliseconds_to_decide":
            return self._table(name, lambda run: run[key])
        return self._table(name, lambda run: _elapsed(run, key)[-1] if ALGORITHMS[name].learns else 0.0)

    def curves(self, name: str, x: str, grid: Scores, measure: str = "reward") -> Scores:
        """``(runs, tasks, len(grid))``: a measure along steps or seconds."""
        return self._table(
            name,
            lambda run: aggregate.curve_at(_elapsed(run, x), np.array([row[measure] for row in run["curve"]]), grid),
        )

    def reached(self, name: str, levels: dict[str, float]) -> Scores:
        """``(runs, tasks)``: steps to each environment's level of the reward; infinite where it was not reached."""
        columns = []
        for environment, runs in self.by_algorithm[name].items():
            columns.append(
                [
                    aggregate.first_reach(
                        np.array([row["steps"] for row in run["curve"]], float),
                        np.array([row["reward"] for row in run["curve"]]),
                        levels[environment],
                    )
                    for run in runs
                ]
            )
        return _square(columns)

    def level(self, name: str) -> dict[str, float]:
        """Mean reward at the end, for each environment."""
        values = self.final(name, "reward").mean(axis=0)
        return dict(zip(self.comparison.environments, values.tolist(), strict=True))

    def normalised(self, name: str) -> Scores:
        """Rewards between those of :data:`ANCHORS`; as they are where these were not run."""
        rewards = self.final(name, "reward")
        if not set(ANCHORS) <= set(self.names):
            return rewards
        low, high = (self.final(anchor, "reward").mean(axis=0) for anchor in ANCHORS)
        return np.asarray((rewards - low) / (high - low))

    def _table(self, name: str, value: Any) -> Scores:
        return _square([[value(run) for run in runs] for runs in self.by_algorithm[name].values()])


def _elapsed(run: Run, key: str) -> Scores:
    """Steps or seconds of a run's curve; seconds from where learning begins: making networks is no part of it."""
    values: Scores = np.array([row[key] for row in run["curve"]], float)
    return values if key == "steps" else values - values[0]


def _square(columns: list[list[Any]]) -> Scores:
    """``(runs, tasks, ...)``, with as many runs as the environment that has the fewest."""
    runs = min(len(column) for column in columns)
    return np.stack([np.array(column[:runs], float) for column in columns], axis=1)


def summarise(runs: Runs) -> dict[str, Any]:
    """All that the tables and figures show."""
    comparison = runs.comparison
    steps = np.arange(0, comparison.steps + 1, comparison.evaluate_every, dtype=float)
    times = [float(runs.cost(name, "cpu_seconds").mean()) for name in runs.learners]
    common = min(times, default=0.0)
    seconds = np.linspace(0.0, max(times, default=0.0), 41)
    algorithms: dict[str, Any] = {}
    for name in runs.names:
        row: dict[str, Any] = {"label": ALGORITHMS[name].label, "runs": len(runs.final(name, "reward"))}
        row |= {key: _json(_iqm(runs.final(name, key))) for key in MEASURES}
        row["score"] = _json(_iqm(runs.normalised(name)))
        row["milliseconds_to_decide"] = float(np.median(runs.cost(name, "milliseconds_to_decide")))
        if name in runs.learners:
            row["cpu_seconds"] = float(runs.cost(name, "cpu_seconds").mean())
            row["seconds"] = float(runs.cost(name, "seconds").mean())
            at_time = runs.curves(name, "cpu_seconds", np.array([common]))[..., 0]
            row["reward_at_equal_time"] = _json(_iqm(at_time))
            row["curve"] = _curve(runs.curves(name, "steps", steps))
            row["curve_in_time"] = _curve(runs.curves(name, "cpu_seconds", seconds))
            if LEVEL in runs.names:
                reached = runs.reached(name, runs.level(LEVEL))
                row["reached_level"] = int(np.isfinite(reached).all(axis=1).sum())
                middle = float(np.median(reached))
                row["steps_to_level"] = middle if math.isfinite(middle) else None
        algorithms[name] = row
    scores = {name: runs.normalised(name) for name in runs.names}
    thresholds = np.linspace(*_range(scores), 61)
    return {
        "comparison": comparison.name,
        "about": comparison.about,
        "steps": comparison.steps,
        "environments": comparison.environments,
        "runs_missing": runs.missing,
        "equal_time_cpu_seconds": common,
        "grid": {"steps": steps.tolist(), "cpu_seconds": seconds.tolist(), "score": thresholds.tolist()},
        "level": runs.level(LEVEL) if LEVEL in runs.names else None,
        "algorithms": algorithms,
        "profiles": {
            name: _json(aggregate.estimate(values, lambda x: aggregate.profile(x, thresholds)))
            for name, values in scores.items()
        },
        "improvement": {
            name: {
                other: _json(aggregate.estimate_improvement(scores[name], scores[other]))
                for other in runs.names
                if other != name
            }
            for name in runs.names
        },
    }


def _iqm(scores: Scores) -> Estimate:
    return aggregate.estimate(scores, aggregate.interquartile_mean)


def _curve(values: Scores) -> dict[str, Any]:
    """Of ``(runs, tasks, points)``: the interquartile mean at every point."""
    each = [_iqm(values[..., point]) for point in range(values.shape[-1])]
    return {key: [float(getattr(point, key)) for point in each] for key in Estimate._fields}


def _range(scores: dict[str, Scores]) -> tuple[float, float]:
    """Of thresholds: as wide as the scores, but no further down than -8, where only failures lie."""
    values = np.concatenate([each.ravel() for each in scores.values()])
    return max(-8.0, float(values.min()) - 0.05), float(values.max()) + 0.05


def _json(estimate: Estimate) -> dict[str, Any]:
    return {key: np.asarray(value).tolist() for key, value in estimate._asdict().items()}


# -- writing -----------------------------------------------------------------------------------------------------------

COLUMNS = {
    "reward": "reward",
    "critic's part": "critic",
    "hist. intersection, %": "histogram_intersection",
    "CIEDE2000": "ciede2000",
    "edits used": "edits",
    "filters again": "reuse",
}


def markdown(summary: dict[str, Any]) -> str:
    """The main table, and who probably beats whom."""
    rows = sorted(summary["algorithms"].values(), key=lambda row: -row["reward"]["value"])
    more = ["steps to level", "reward at equal time", "CPU seconds", "ms an edit", "runs"]
    lines = ["| algorithm | " + " | ".join([*COLUMNS, *more]) + " |", "|---|" + "---:|" * (len(COLUMNS) + len(more))]
    for row in rows:
        cells = [row["label"], *(_interval(row[key]) for key in COLUMNS.values())]
        if "curve" in row:
            if "steps_to_level" in row:
                steps = row["steps_to_level"]
                cells.append(f"{'-' if steps is None else f'{steps:,.0f}'} ({row['reached_level']}/{row['runs']})")
            else:
                cells.append("")
            cells += [_interval(row["reward_at_equal_time"]), f"{row['cpu_seconds']:.1f}"]
        else:
            cells += ["", "", ""]
        cells += [f"{row['milliseconds_to_decide']:.3g}", str(row["runs"])]
        lines.append("| " + " | ".join(cells) + " |")
    missing = summary["runs_missing"]
    notes = [
        "Interquartile means over seeds with 95 % intervals of a stratified bootstrap, "
        f"after {summary['steps']:,} edits.",
        f"Equal time is {summary['equal_time_cpu_seconds']:.1f} CPU seconds of learning.",
    ]
    if summary["level"]:
        level = ", ".join(f"{value:.3f}" for value in summary["level"].values())
        notes.append(
            f"Steps to level: median edits until the shipped agent's reward ({level}), and how many runs got there."
        )
    if missing:
        notes.append(f"{missing} runs are not finished.")
    return "\n".join([*lines, "", " ".join(notes), ""])


def _interval(value: dict[str, float]) -> str:
    middle, low, high = (value[key] for key in ("value", "low", "high"))
    digits = 2 if abs(middle) < 10 else 1
    middle, low, high = (round(number, digits) + 0.0 for number in (middle, low, high))  # and no minus before a zero
    if low == high:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def marks(name: str) -> tuple[str, str]:
    """Lines of a page between which the table of a comparison stands."""
    return f"<!-- table {name}: begin -->\n", f"<!-- table {name}: end -->\n"


def put_into_page(table: str, page: Path, name: str) -> None:
    """Replace what stands between the marks of a comparison in a page.

    :raises ValueError: it has no marks.
    """
    begin, end = marks(name)
    text = page.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise ValueError(f"{page}: has no lines {begin.strip()} and {end.strip()} to put the table between")
    before, after = text.split(begin)[0], text.split(end)[1]
    with replacing(page) as temporary:
        temporary.write_text(f"{before}{begin}{table}{end}{after}", encoding="utf-8")


def write_report(comparison: Comparison, folder: Path, figures: Path) -> str:
    """Write tables to ``folder`` and pictures to ``figures``; the table.

    :raises ValueError: no run is finished, or Matplotlib is missing.
    """
    from compare.figures import draw_all

    summary = summarise(Runs(comparison, folder))
    table = markdown(summary)
    write_json(folder / "report.json", summary)
    with replacing(folder / "report.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    draw_all(summary, figures)
    return table
