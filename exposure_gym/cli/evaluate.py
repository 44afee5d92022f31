"""``exposure-gym evaluate``: how close a folder of results comes to a folder of finished photographs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exposure_gym.cli.messages import complain, fail, progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress
    from rich.table import Table

_PAIRED = {"psnr": "PSNR in dB", "ssim": "SSIM", "ciede2000": "CIEDE2000"}


def evaluate(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder of retouched photos.", show_default=False)],
    targets: Annotated[
        Path, typer.Argument(metavar="TARGETS", help="Folder of photos finished by people.", show_default=False)
    ],
    paired: Annotated[
        bool, typer.Option("--paired", metavar="", help="Compare photos of one name and size with each other too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how much retouched photographs have in common with finished ones.

    The histogram intersection compares the distributions of luminance, contrast and saturation over the two folders,
    which may show different things: 0 % is nothing in common, 100 % the same distributions. It is the paper's measure.
    Every photo counts with five square crops of 64 pixels.

    With --paired, photos of the same name, whatever the extension, are compared pixel by pixel: PSNR and SSIM (higher
    is closer) and the CIEDE2000 colour difference (lower is closer, 1 is just visible).

    A photo that cannot be read is reported and left out; the exit status is then 1.
    """
    from exposure_gym.metrics import histogram_intersection

    sides = [_photos(results), _photos(targets)]
    pairs = _pairs(*sides) if paired else []
    if paired and not pairs:
        fail(f"{results} and {targets}: no two photos have one name; leave --paired out", 2)
    with progress_bar() as bar:
        statistics = [_statistics(paths, bar) for paths in sides]
        if not all(rows for rows, _ in statistics):
            fail("no photograph could be read on one of the sides")
        differences, failed = _differences(pairs, bar)
    failed += sum(count for _, count in statistics)
    intersection = histogram_intersection(*(_stack(rows) for rows, _ in statistics))
    report: dict[str, Any] = {
        "results": len(statistics[0][0]),
        "targets": len(statistics[1][0]),
        "histogram_intersection": intersection._asdict() | {"mean": intersection.mean},
    }
    if paired:
        report["pairs"] = len(differences)
        report |= {name: _mean(row[name] for row in differences) for name in _PAIRED}
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        from rich.console import Console

        Console().print(_table(report))
    if failed:
        raise typer.Exit(1)


def _photos(folder: Path) -> list[Path]:
    """The photographs of a folder, without the figures that ``retouch`` puts beside its results."""
    from exposure_gym.photo import list_photos

    if not folder.is_dir():
        fail(f"{folder}: is no folder; name a folder of photographs", 2)
    try:
        found = [path for path in list_photos([folder]) if not path.name.endswith((".steps.png", ".samples.png"))]
    except ValueError as error:
        fail(str(error), 2)
    if not found:
        fail(f"{folder}: no photograph in this folder; TIFF, JPEG and PNG files are looked for", 2)
    return found


def _pairs(results: list[Path], targets: list[Path]) -> list[tuple[Path, Path]]:
    by_name = {path.stem: path for path in targets}
    return [(path, by_name[path.stem]) for path in results if path.stem in by_name]


def _statistics(paths: list[Path], bar: Progress) -> tuple[list[NDArray[np.float64]], int]:
    """Statistics of each photograph that can be read, and how many cannot."""
    from exposure_gym.evaluation import display_statistics

    rows, failed = [], 0
    for path in bar.track(paths, description="measuring"):
        try:
            rows.append(display_statistics([path]))
        except ValueError as error:
            complain(str(error))
            failed += 1
    return rows, failed


def _stack(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    import numpy as np

    return np.concatenate(rows)


def _differences(pairs: list[tuple[Path, Path]], bar: Progress) -> tuple[list[dict[str, float]], int]:
    """Differences of each pair that can be compared, and how many cannot."""
    from exposure_gym import metrics
    from exposure_gym.photo import PhotoError, read_display

    rows, failed = [], 0
    for path, target in bar.track(pairs, description="comparing"):
        try:
            a, b = read_display(path).pixels, read_display(target).pixels
        except PhotoError:  # was complained of before
            continue
        try:
            rows.append({name: getattr(metrics, name)(a, b) for name in _PAIRED})
        except ValueError as error:
            complain(f"{path} and {target}: {error}")
            failed += 1
    return rows, failed


def _mean(values: Iterable[float]) -> float | None:
    """The mean of a measure; ``None`` where there is none or, as for the PSNR of equal pictures, it is infinite."""
    listed = list(values)
    mean = math.fsum(listed) / len(listed) if listed else math.inf
    return mean if math.isfinite(mean) else None


def _table(report: dict[str, Any]) -> Table:
    from rich.table import Table

    title = f"{report['results']} results against {report['targets']} finished photos"
    table = Table("measure", title=title, title_justify="left")
    table.add_column("value", justify="right")
    for name, value in report["histogram_intersection"].items():
        table.add_row(f"histogram intersection, {name}", f"{100 * value:.1f} %")
    for name, label in _PAIRED.items():
        if name in report:
            value = report[name]
            table.add_row(f"{label}, mean of {report['pairs']} pairs", "-" if value is None else f"{value:.3f}")
    return table
