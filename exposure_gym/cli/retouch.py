"""``exposure-gym retouch``: photographs in; finished photographs, their recipes and pictures of the steps out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from exposure_gym.cli.messages import complain, fail, make_folder, progress_bar, valid_seed
from exposure_gym.cli.models import load_agent

if TYPE_CHECKING:
    from exposure_gym.agents.exposure import ExposureAgent
    from exposure_gym.cli.outputs import Result
    from exposure_gym.photo import LinearPhoto


def retouch(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES...", help="Photographs (TIFF, JPEG, PNG), or folders of them.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results; made if need be.")
    ],
    samples: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Different retouchings of each photo: NAME.1 to NAME.N."),
    ] = 1,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-deterministic",
            metavar="",
            help="The agent's one best edit, or one with chance in it: parts of its networks are switched off at "
            "random, as the published code does. By default there is chance only with --samples of 2 or more.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            callback=valid_seed, metavar="S", help="Of chance: one seed gives one result. Sample i uses S + i - 1."
        ),
    ] = 0,
    brightness: Annotated[
        Literal["auto", "as-is", "raw-like"],
        typer.Option(
            metavar="HOW",
            help="How to read a photo: raw-like darkens a finished one to the darkness of a RAW file, which the agent "
            "knows; as-is leaves it alone; auto reads TIFF as-is, JPEG and PNG raw-like.",
        ),
    ] = "auto",
    format: Annotated[
        Literal["png", "jpg", "tif"] | None,
        typer.Option(
            metavar="KIND",
            help="Of the finished photos: png, jpg or tif (16 bits).",
            show_default="that of the input",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Folder or file of another model, as train writes it.", show_default="the shipped one"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", metavar="", help="Replace results of an earlier run.")] = False,
) -> None:
    """Retouch photographs and show how it was done.

    For each photo NAME the folder gets three files: the finished photo at full size, NAME.recipe.json with the edit,
    which can be read, changed and applied again, and NAME.steps.png, a picture of it step by step. Where two photos
    have one name, the later becomes NAME-2.

    The photos you give are never written to. One that fails is reported and the others go on; the exit status is
    then 1.
    """
    from exposure_gym.cli.outputs import check_writable, file_identity, kind_of, plan_results

    if deterministic and samples > 1:
        fail("--deterministic gives one result, so it does not go with --samples; leave one of them out", 2)
    inputs, failed = _find(files), 0
    plan = plan_results(inputs, output, samples, format)
    agent = load_agent(model)
    make_folder(output)
    identities = {identity for path in inputs if (identity := file_identity(path)) is not None}
    best = deterministic if deterministic is not None else samples == 1

    with progress_bar() as bar:
        task = bar.add_task("retouching", total=len(inputs))
        for path, results in zip(inputs, plan, strict=True):
            try:
                for result in results:
                    check_writable(result, identities, force)
                mode = brightness if brightness != "auto" else "as-is" if kind_of(path).format == "tif" else "raw-like"
                photo = _read(path, mode, agent)
                for number, result in enumerate(results):
                    typer.echo(_retouch(photo, result, agent, mode, None if best else seed + number))
            except (ValueError, OSError, MemoryError) as error:
                failed += 1
                complain(" ".join(str(error).split()) or f"{path}: does not fit in memory; make it smaller")
            except KeyboardInterrupt:
                fail(f"interrupted at {path}: {int(bar.tasks[0].completed)} of {len(inputs)} photos are done", 130)
            bar.advance(task)
    if failed:
        raise typer.Exit(1)


def _find(names: list[str]) -> list[Path]:
    from exposure_gym.cli.outputs import find_inputs

    try:
        inputs = find_inputs(names)
    except ValueError as error:
        fail(str(error), 2)
    if not inputs:
        fail(f"{names[0]}: no photograph in this folder; TIFF, JPEG and PNG files are looked for", 2)
    return inputs


def _read(path: Path, brightness: Literal["as-is", "raw-like"], agent: ExposureAgent) -> LinearPhoto:
    from exposure_gym.photo import read_linear

    return read_linear(path, brightness=brightness, space=agent.working_space)


def _retouch(photo: LinearPhoto, result: Result, agent: ExposureAgent, brightness: str, seed: int | None) -> str:
    """Decide, edit and write one result; what was done, in one line."""
    from exposure_gym.photo import DisplayPhoto, write_display
    from exposure_gym.viz import steps_figure, write_png

    assert photo.path is not None
    recipe = replace(
        agent.retouch(photo.pixels, deterministic=seed is None, seed=seed),
        working_space=photo.space,
        source=photo.path.name,
        comment=f"for the photo as read with brightness {brightness}",
    )
    finished = DisplayPhoto(recipe.apply_photo(photo.pixels), photo.space, photo.metadata, photo.path)
    figure = steps_figure(recipe, photo.pixels)
    written: list[Path] = []
    try:
        recipe.save(result.recipe)
        written.append(result.recipe)
        write_png(result.steps, figure)
        written.append(result.steps)
        write_display(result.photo, finished, bits=result.bits)
    except BaseException:  # all three or none
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise
    return f"{photo.path} → {result.photo}: {recipe.describe()}"
