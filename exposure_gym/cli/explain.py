"""``exposure-gym explain``: pictures before and after a black-box filter in; a recipe that mimics it out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exposure_gym.cli.messages import complain, fail, make_folder, progress_bar

if TYPE_CHECKING:
    from exposure_gym.explain import Pair
    from exposure_gym.recipe import Recipe

EDGE = 512
"""Longest edge of the pictures that are compared, in pixels; larger ones are averaged down."""
HELD_OUT_EVERY = 4
"""Of several pairs, this many make one that is kept for measuring."""
STRIPS = 6
"""Pairs in the figure, at most."""
FILES = ("filter.recipe.json", "filter.py", "filter.cube", "filter.png")


def explain(
    before: Annotated[
        Path, typer.Argument(metavar="BEFORE", help="A photo, or a folder of photos.", show_default=False)
    ],
    after: Annotated[
        Path,
        typer.Argument(
            metavar="AFTER", help="The same through the filter; in a folder, under the same names.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the recipe, the code, a .cube LUT and a figure; made if need be.",
            show_default=False,
        ),
    ] = None,
    max_edits: Annotated[int, typer.Option(min=1, max=8, metavar="N", help="Edits in the recipe, at most.")] = 4,
    force: Annotated[bool, typer.Option("--force", metavar="", help="Replace results of an earlier run.")] = False,
) -> None:
    """Find out what a filter does: mimic it by a few ordinary edits.

    From photos before and after one black-box filter (an app's, a film simulation, somebody's style) this finds the
    filters of the game, their order and their parameters, and prints them as Python code, with the error in its first
    lines. Both sides are finished photos, and the recipe is one for finished photos: it takes their display values.

    Of several pairs every fourth is kept out of the search, and the error is measured on these. With more
    pairs, and more colours in them, the recipe is the more certain. A filter that looks at places (a vignette, a frame,
    grain, sharpening) can be mimicked only in what it does to colours.

    A pair that cannot be used is reported and left out; the exit status is then 1.
    """
    if output is not None and not force:
        for name in FILES:
            if (output / name).exists():
                fail(f"{output / name}: exists already; allow it to be replaced with --force", 2)
    paths = _pairs(before, after)

    import torch

    from exposure_gym.explain import explain as search

    torch.set_num_threads(1)
    with progress_bar() as bar:
        pairs = [pair for one in bar.track(paths, description="reading") if (pair := _read(*one)) is not None]
        if not pairs:
            fail("no pair of photographs to learn from")
        held_out = pairs[1::HELD_OUT_EVERY] or pairs
        learned = [pair for i, pair in enumerate(pairs) if i % HELD_OUT_EVERY != 1]
        task = bar.add_task("searching", total=max_edits)
        recipe = search(learned, max_edits, progress=lambda edits: bar.update(task, completed=edits))
    kept_apart = len(held_out) if held_out is not pairs else 0
    report = _report(recipe, held_out, kept_apart)
    recipe = replace(recipe, source=before.name, comment=f"mimics {after.name}; {report}")
    typer.echo(f"# {recipe.describe()}\n# {report}\n{recipe.to_python()}", nl=False)
    if output is not None:
        make_folder(output)
        _write(output, recipe, held_out)
    if len(pairs) < len(paths):
        raise typer.Exit(1)


def _pairs(before: Path, after: Path) -> list[tuple[Path, Path]]:
    """The two files, or the files of the two folders that have one name."""
    from exposure_gym.photo import list_photos

    if before.is_dir() != after.is_dir():
        fail(f"{before} and {after}: give two photographs or two folders", 2)
    if not before.is_dir():
        return [(before, after)]
    try:
        by_name = {path.stem: path for path in list_photos([after])}
        pairs = [(path, by_name[path.stem]) for path in list_photos([before]) if path.stem in by_name]
    except ValueError as error:
        fail(str(error), 2)
    if not pairs:
        fail(f"{before} and {after}: no two photos have one name", 2)
    return pairs


def _read(before: Path, after: Path) -> Pair | None:
    """A pair of display values, averaged down; complained of where it cannot be used."""
    from exposure_gym.photo import read_display
    from exposure_gym.viz import shrink

    try:
        a, b = read_display(before).pixels, read_display(after).pixels
    except ValueError as error:
        complain(str(error))
        return None
    if a.shape != b.shape:
        sizes = f"{a.shape[1]}x{a.shape[0]} and {b.shape[1]}x{b.shape[0]} pixels"
        complain(f"{before} and {after}: {sizes} are no pair; bring them to one size")
        return None
    return shrink(a, EDGE), shrink(b, EDGE)


def _report(recipe: Recipe, pairs: list[Pair], kept_apart: int) -> str:
    """The error in one line, beside that of doing nothing."""
    from exposure_gym.explain import measure

    ours, nothing = measure(recipe, pairs), measure(replace(recipe, edits=()), pairs)
    several = f"{kept_apart} pair{'s' * (kept_apart > 1)} kept out of the search"
    return (
        f"CIEDE2000 {ours.ciede2000:.2f} (doing nothing: {nothing.ciede2000:.2f}), "
        f"PSNR {ours.psnr:.1f} dB ({nothing.psnr:.1f} dB), measured on "
        + (several if kept_apart else "the pair it was searched on")
    )


def _write(folder: Path, recipe: Recipe, pairs: list[Pair]) -> None:
    """All files or none of them."""
    from exposure_gym.files import replacing
    from exposure_gym.viz import contact_sheet, steps_figure, write_png

    figure = contact_sheet([steps_figure(recipe, a, wanted=b) for a, b in pairs[:STRIPS]], columns=1)
    json, code, cube, png = (folder / name for name in FILES)
    written: list[Path] = []
    try:
        recipe.save(json)
        written.append(json)
        with replacing(code) as temporary:
            temporary.write_text(recipe.to_python(), encoding="utf-8")
        written.append(code)
        error = recipe.to_cube(cube)
        written.append(cube)
        write_png(png, figure)
    except BaseException:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise
    typer.echo(
        f"# written to {folder}: {', '.join(FILES)} (the LUT is off by {error.mean:.2f} codes of 255, "
        f"at most {error.max:.1f})"
    )
