"""What a rating study found, as one dictionary for a program and as tables for a person."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from exposure_gym.rating_statistics import (
    RESAMPLES,
    Estimates,
    bradley_terry_scale,
    mean_ratings,
    win_rates,
    wins_from_stars,
)
from exposure_gym.ui.rating_store import Judgements

PAPER = {"Exposure": 3.43, "pix2pix": 3.37, "CycleGAN": 2.47, "people": 3.30, "expert": 3.66}
"""Mean ratings that Hu et al. 2018 report of their user study, in stars."""
CAUTION = (
    "The paper's figures are of other photographs and other raters: they stand here for the reader, and the two cannot "
    "be compared."
)


def rating_report(judged: Judgements, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Means, win rates and Bradley-Terry scale of a study, each as ``{"value", "interval"}``; values of JSON.

    What is not finite is the text ``"Infinity"`` or ``"-Infinity"``, and what was never judged ``None``.

    :param judged: at least one judgement.
    """
    compared = wins_from_stars(judged.stars) if judged.method == "stars" else judged.wins
    rates = win_rates(compared, resamples=resamples, seed=seed)
    scale = bradley_terry_scale(compared, resamples=resamples, seed=seed)
    report: dict[str, Any] = {
        "method": judged.method,
        "sets": list(judged.sets),
        "raters": len(judged.raters),
        "photos": len(judged.photos),
        "judgements": int((judged.stars > 0).sum() if judged.method == "stars" else judged.wins.sum()),
        "resamples": resamples,
        "seed": seed,
    }
    if judged.method == "stars":
        means = mean_ratings(judged.stars, resamples=resamples, seed=seed)
        report["mean_stars"] = {name: _row(means, i) for i, name in enumerate(judged.sets)}
    report["win_rates"] = {
        name: {other: _row(rates, i, j) for j, other in enumerate(judged.sets) if i != j}
        for i, name in enumerate(judged.sets)
    }
    report["bradley_terry"] = {name: _row(scale, i) for i, name in enumerate(judged.sets)}
    report["paper"] = {"mean_stars": PAPER, "caution": CAUTION}
    return report


def _row(estimates: Estimates, *at: int) -> dict[str, Any]:
    value, low, high = (_json(float(array[at])) for array in (estimates.value, estimates.low, estimates.high))
    return {"value": value, "interval": [low, high]}


def _json(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


# -- for a person ------------------------------------------------------------------------------------------------------


def tables(report: dict[str, Any]) -> Iterator[Table | str]:
    """A report, part by part, each to be printed."""
    sets = report["sets"]
    raters, photos = _count(report["raters"], "rater"), _count(report["photos"], "photo")
    yield f"{_count(report['judgements'], 'judgement')} by {raters}, of {photos}; in brackets 95 % intervals"
    if "mean_stars" in report:
        table = Table("set", title="Mean stars, 1 to 5", title_justify="left")
        table.add_column("mean", justify="right")
        for name, row in report["mean_stars"].items():
            table.add_row(name, _cell(row, "{:.2f}"))
        table.add_section()
        for name, mean in report["paper"]["mean_stars"].items():
            table.add_row(f"paper: {name}", f"{mean:.2f}")
        yield table
    else:
        listed = ", ".join(f"{name} {mean:.2f}" for name, mean in report["paper"]["mean_stars"].items())
        yield f"Mean stars in the paper: {listed}."
    yield report["paper"]["caution"]
    table = Table("preferred to", title="Share of comparisons won by the set of the row", title_justify="left")
    for name in sets:
        table.add_column(name, justify="right")
    for name in sets:
        row = report["win_rates"][name]
        table.add_row(name, *("" if other == name else _cell(row[other], "{:.0%}") for other in sets))
    yield table
    table = Table("set", title=f"Bradley-Terry scale, {sets[0]} at 0", title_justify="left")
    table.add_column("strength", justify="right")
    table.add_column(f"preferred to {sets[0]}", justify="right")
    for name, row in report["bradley_terry"].items():
        if name == sets[0]:
            table.add_row(name, "0", "")
            continue
        chance = "-" if row["value"] is None else f"{1.0 / (1.0 + math.exp(-float(row['value']))):.0%}"
        table.add_row(name, _cell(row, "{:+.2f}"), chance)
    yield table
    if any(isinstance(row["value"], str) for row in report["bradley_terry"].values()):
        yield (
            "A set that won, or lost, all its comparisons with the others has no finite strength; the others are "
            "fitted without it."
        )
    if 1 in (report["raters"], report["photos"]):
        who = "raters" if report["raters"] == 1 else "photos"
        yield f"There is one of the {who} only: the intervals know nothing of how others differ."


def _cell(row: dict[str, Any], form: str) -> str:
    if row["value"] is None:
        return "-"
    value, low, high = (
        {"Infinity": "∞", "-Infinity": "−∞"}[end] if isinstance(end, str) else form.format(end)
        for end in (row["value"], *row["interval"])
    )
    return f"{value} [{low}, {high}]"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
