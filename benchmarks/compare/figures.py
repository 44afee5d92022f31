"""Pictures of a comparison: curves, intervals, profiles, who beats whom, and who hacked the critic."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from exposure_gym.files import replacing

SEARCHERS = "#8a8a8a"
PAPER = "#b0413e"
PAPERS = {"exposure": PAPER, "exposure_frozen": "#ee8a1d"}
PALETTE = ("#1f77b4", "#2ca02c", "#9467bd", "#17becf", "#e377c2", "#8c564b", "#bcbd22")
CROWD = 8
"""So many learners can have their intervals drawn in one panel; of more the lines alone can be told apart."""
DPI = 110
LOWEST = {"reward": -4.6, "critic": -0.8}
"""How far down scales of these go. Beyond it lie agents that went astray, who would flatten the rest: they are marked
at the edge. A filter used four times again costs 4."""
SIDES = (("left", 1), ("right", -1), ("center", 0))
LEVELS = (("center", 0), ("bottom", 1), ("top", -1))
"""Alignments of a name beside a point, and which way it is moved for them."""


def draw_all(summary: dict[str, Any], folder: Path) -> None:
    """Write ``benchmark-<comparison>-*.png``.

    :raises ValueError: Matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError:
        raise ValueError('figures need Matplotlib: pip install "exposure-gym[compare]"') from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "curves": _curves,
        "intervals": _intervals,
        "profiles": _profiles,
        "improvement": _improvement,
        "hacking": _hacking,
    }
    for name, draw in pictures.items():
        figure = draw(summary, plt)
        with replacing(folder / f"benchmark-{summary['comparison']}-{name}.png") as temporary:
            figure.savefig(temporary, dpi=DPI, metadata={"Software": None})
        plt.close(figure)


def _colours(summary: dict[str, Any]) -> dict[str, str]:
    """Those that learn have colours of their own, the paper's agent red and orange, those that do not are grey."""
    colours = dict.fromkeys(summary["algorithms"], SEARCHERS)
    for place, name in enumerate(_others(summary)):
        colours[name] = PALETTE[place % len(PALETTE)]
    return colours | {name: colour for name, colour in PAPERS.items() if name in colours}


def _dashes(summary: dict[str, Any]) -> dict[str, str]:
    """Where there are more learners than colours, lines of the second round are dashed."""
    later = _others(summary)[len(PALETTE) :]
    return {name: "--" if name in later else "-" for name in summary["algorithms"]}


def _others(summary: dict[str, Any]) -> list[str]:
    """Learners other than the paper's agent."""
    return [name for name, row in summary["algorithms"].items() if "curve" in row and name not in PAPERS]


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _from(set_limits: Any, measure: str, lows: list[float], highs: list[float]) -> None:
    """Let a scale begin at :data:`LOWEST`, if anything lies below it, and end a little above the highest."""
    lowest = LOWEST[measure]
    if lows and min(lows) < lowest:
        set_limits(lowest * 1.03, max(highs) + 0.05 * (max(highs) - lowest))


def _curves(summary: dict[str, Any], plt: Any) -> Any:
    """Sample efficiency, and the same in time of the processor."""
    colours, dashes = _colours(summary), _dashes(summary)
    crowded = sum("curve" in row for row in summary["algorithms"].values()) > CROWD
    figure, grid = plt.subplots(1, 2, figsize=(12, 4.8), sharey=True, layout="constrained")
    panels = (("curve", "steps", "edits made"), ("curve_in_time", "cpu_seconds", "CPU seconds of learning"))
    for axes, (key, x, title) in zip(grid, panels, strict=True):
        for name, row in summary["algorithms"].items():
            if key not in row:
                continue
            curve, points = row[key], summary["grid"][x]
            if x == "cpu_seconds":  # no further than it learned
                shown = sum(point <= row["cpu_seconds"] for point in points)
                curve, points = {part: values[:shown] for part, values in curve.items()}, points[:shown]
            axes.plot(points, curve["value"], dashes[name], color=colours[name], linewidth=1.8, label=row["label"])
            if not crowded:
                axes.fill_between(points, curve["low"], curve["high"], color=colours[name], alpha=0.12, linewidth=0)
        for style, (name, row) in zip(
            ("-", "--", "-.", ":", (0, (1, 3)), (0, (5, 5))),
            ((name, row) for name, row in summary["algorithms"].items() if "curve" not in row and name != "random"),
            strict=False,
        ):
            axes.axhline(
                row["reward"]["value"], color=PAPER if name == "shipped" else SEARCHERS, linestyle=style, linewidth=1.1,
                label=row["label"],
            )  # fmt: skip
        axes.set_xlabel(title)
        _tidy(axes)
    drawn = [row["curve"] for row in summary["algorithms"].values() if "curve" in row]
    highs = [max(curve["high"]) for curve in drawn] + [row["reward"]["value"] for row in summary["algorithms"].values()]
    _from(grid[0].set_ylim, "reward", [min(curve["low"]) for curve in drawn], highs)
    grid[0].set_ylabel("reward of an episode, held-out photographs")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    return figure


def _intervals(summary: dict[str, Any], plt: Any) -> Any:
    """The interquartile means of the measures."""
    rows = sorted(summary["algorithms"].items(), key=lambda item: item[1]["reward"]["value"])
    colours = _colours(summary)
    measures = {
        "reward": "reward",
        "critic": "critic's part of it",
        "histogram_intersection": "histogram intersection (%)",
        "ciede2000": "CIEDE2000 (less is better)",
    }
    figure, grid = plt.subplots(
        1, len(measures), figsize=(13, 0.8 + 0.3 * len(rows)), sharey=True, layout="constrained"
    )
    for axes, (measure, title) in zip(grid, measures.items(), strict=True):
        for place, (name, row) in enumerate(rows):
            value = row[measure]
            axes.plot([value["low"], value["high"]], [place, place], color=colours[name], linewidth=5, alpha=0.5)
            shown = max(value["value"], LOWEST.get(measure, value["value"]))
            axes.plot(shown, place, "o" if shown == value["value"] else "<", color=colours[name], markersize=5)
        if measure in LOWEST:
            _from(axes.set_xlim, measure, *([row[measure][end] for _, row in rows] for end in ("low", "high")))
        axes.set_title(title, fontsize=10)
        _tidy(axes)
    grid[0].set_yticks(range(len(rows)), [row["label"] for _, row in rows])
    return figure


def _profiles(summary: dict[str, Any], plt: Any) -> Any:
    """For every score the share of runs above it."""
    colours, dashes = _colours(summary), _dashes(summary)
    crowded = sum("curve" in row for row in summary["algorithms"].values()) > CROWD
    figure, axes = plt.subplots(figsize=(8.5, 4.6), layout="constrained")
    thresholds = summary["grid"]["score"]
    for name, profile in summary["profiles"].items():
        row = summary["algorithms"][name]
        if "curve" not in row:
            continue
        axes.plot(thresholds, profile["value"], dashes[name], color=colours[name], linewidth=1.8, label=row["label"])
        if not crowded:
            axes.fill_between(thresholds, profile["low"], profile["high"], color=colours[name], alpha=0.1, linewidth=0)
    anchored = {"identity", "greedy"} <= set(summary["algorithms"])
    axes.set_xlabel("score: 0 changes nothing, 1 is greedy search" if anchored else "reward")
    axes.set_ylabel("share of runs above it")
    _tidy(axes)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure


def _improvement(summary: dict[str, Any], plt: Any) -> Any:
    """The probability that a run of the row beats one of the column."""
    order = sorted(summary["algorithms"], key=lambda name: -summary["algorithms"][name]["reward"]["value"])
    table = [[summary["improvement"][a][b]["value"] if a != b else 0.5 for b in order] for a in order]
    labels = [summary["algorithms"][name]["label"] for name in order]
    size = 2.2 + 0.42 * len(order)
    figure, axes = plt.subplots(figsize=(size + 0.8, size), layout="constrained")
    picture = axes.imshow(table, cmap="RdYlBu", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(order)), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(order)), labels, fontsize=8)
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            if i != j:
                axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=7,
                    color="white" if abs(value - 0.5) > 0.35 else "black")  # fmt: skip
    figure.colorbar(picture, label="probability that a run of the row beats one of the column", shrink=0.7)
    return figure


def _hacking(summary: dict[str, Any], plt: Any) -> Any:
    """What the critic says against what it cannot argue about."""
    colours = _colours(summary)
    figure, grid = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    measures = {
        "histogram_intersection": "histogram intersection with finished photographs (%)",
        "ciede2000": "colour difference to the finished version (CIEDE2000)",
    }
    rows = {name: row for name, row in summary["algorithms"].items() if name != "random"}
    for axes, (measure, title) in zip(grid, measures.items(), strict=True):
        for name, row in rows.items():
            x, y = {part: max(value, LOWEST["critic"]) for part, value in row["critic"].items()}, row[measure]
            colour = "#333333" if colours[name] == SEARCHERS else colours[name]
            axes.plot([x["low"], x["high"]], [y["value"]] * 2, color=colour, alpha=0.4)
            axes.plot([x["value"]] * 2, [y["low"], y["high"]], color=colour, alpha=0.4)
            mark = "<" if row["critic"]["value"] < LOWEST["critic"] else "o" if "curve" in row else "s"
            axes.plot(x["value"], y["value"], mark, color=colour, markersize=6)
        axes.set_xlabel("what the frozen critic gives")
        axes.set_ylabel(title)
        _tidy(axes)
    grid[1].invert_yaxis()
    figure.draw_without_rendering()  # where points lie is known only then
    for axes, measure in zip(grid, measures, strict=True):
        points = {
            row["label"]: (max(row["critic"]["value"], LOWEST["critic"]), row[measure]["value"])
            for row in rows.values()
        }
        _name_points(axes, points)
    return figure


def _name_points(axes: Any, points: dict[str, tuple[float, float]]) -> None:
    """A name beside each point, on the first side where it covers neither a point nor another name."""
    from matplotlib.transforms import Bbox

    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform(list(points.values()))]
    for name, point in points.items():
        for distance, (side, right), (level, up) in itertools.product((5, 12, 20), SIDES, LEVELS):
            offset = (right * 8, up * distance)
            text = axes.annotate(
                name, point, xytext=offset, textcoords="offset points", fontsize=7.5, ha=side, va=level
            )
            box = text.get_window_extent().padded(3)
            if not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:  # no room anywhere: as near as the first try
            axes.annotate(name, point, xytext=(6, 5), textcoords="offset points", fontsize=7.5)
        taken.append(box)
