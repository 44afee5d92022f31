"""``exposure-gym retouch``: photographs in; finished photographs, their recipes and pictures of the steps out."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from exposure_gym.cli.batch_report import Report
from exposure_gym.cli.messages import fail, make_folder, valid_seed
from exposure_gym.cli.models import load_agent, load_reward

if TYPE_CHECKING:
    from exposure_gym.cli.batch import Decide
    from exposure_gym.cli.outputs import Found, Plan
    from exposure_gym.photo import Reading, Space
    from exposure_gym.rewards import CriticReward

CHOICE, READING, RESULTS, RUN = "The edit", "Reading", "Results", "The run"


def retouch(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES...",
            help="Photographs (TIFF, JPEG, PNG, RAW, HEIC, AVIF), folders of them, or patterns like 'trip/**/*.dng'.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results; made if need be.")
    ],
    samples: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=CHOICE,
            help="Different retouchings of each photo: NAME.1 to NAME.N, and NAME.samples.png with all of them.",
        ),
    ] = 1,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-deterministic",
            metavar="",
            rich_help_panel=CHOICE,
            help="The agent's one best edit, or one with chance in it: parts of its networks are switched off at "
            "random, as the published code does. By default there is chance only with --samples of 2 or more.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            callback=valid_seed,
            metavar="S",
            rich_help_panel=CHOICE,
            help="Of chance: one seed gives one result. Sample i uses S + i - 1.",
        ),
    ] = 0,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="FILTERS",
            rich_help_panel=CHOICE,
            help="Let the agent use these filters only, each once: names with commas between them, as "
            "exposure,tone,contrast.",
            show_default=False,
        ),
    ] = None,
    max_edits: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=CHOICE,
            help="Let the agent make this many edits at most.",
            show_default="as many as it learned to make",
        ),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE",
            rich_help_panel=CHOICE,
            help="Let the agent go on from an edit of yours; its steps count as played.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE",
            rich_help_panel=CHOICE,
            help="Apply this edit to every photo; there is no agent then.",
            show_default=False,
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.5,
            metavar="X",
            rich_help_panel=CHOICE,
            help="Of the edit: 0 leaves a photo as it looks in a viewer, 0.5 goes half the way, 1.5 goes beyond.",
        ),
    ] = 1.0,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            rich_help_panel=CHOICE,
            help="Folder or file of another model, as train writes it, or sintel: that one ships too, for film frames.",
            show_default="the shipped one",
        ),
    ] = None,
    brightness: Annotated[
        Literal["auto", "as-is", "raw-like"],
        typer.Option(
            metavar="HOW",
            rich_help_panel=READING,
            help="How to read a photo: raw-like darkens a finished one to the darkness of a RAW file, which the agent "
            "knows; as-is leaves it alone; auto reads as the model was taught, or as the recipe wants it, and where "
            "that is light, TIFF and RAW files as-is, others raw-like.",
        ),
    ] = "auto",
    white_balance: Annotated[
        Literal["daylight", "camera"],
        typer.Option(
            metavar="KIND",
            rich_help_panel=READING,
            help="Of RAW files: daylight, which the shipped agent knows, or what the camera chose.",
        ),
    ] = "daylight",
    highlights: Annotated[
        Literal["clip", "blend", "reconstruct"],
        typer.Option(
            metavar="HOW",
            rich_help_panel=READING,
            help="Of RAW files, where a channel of the sensor clipped: cut the others too, or guess what was there.",
        ),
    ] = "clip",
    max_megapixels: Annotated[
        float, typer.Option(min=0.0, metavar="N", rich_help_panel=READING, help="Refuse photos that are larger.")
    ] = 200.0,
    format: Annotated[
        Literal["png", "jpg", "tif"] | None,
        typer.Option(
            metavar="KIND",
            rich_help_panel=RESULTS,
            help="Of the finished photos: png, jpg or tif (16 bits).",
            show_default="that of the input",
        ),
    ] = None,
    profile: Annotated[
        Literal["srgb", "display-p3", "adobe-rgb", "prophoto"],
        typer.Option(
            metavar="SPACE", rich_help_panel=RESULTS, help="Colour space: srgb, display-p3, adobe-rgb, prophoto."
        ),
    ] = "srgb",
    dither: Annotated[
        bool,
        typer.Option(
            "--dither", metavar="", rich_help_panel=RESULTS, help="No steps in smooth skies of 8-bit results."
        ),
    ] = False,
    metadata: Annotated[
        Literal["keep", "strip"],
        typer.Option(
            metavar="WHAT", rich_help_panel=RESULTS, help="Keep EXIF, XMP and GPS position, or strip them all."
        ),
    ] = "keep",
    steps: Annotated[
        bool | None,
        typer.Option(
            "--steps/--no-steps",
            metavar="",
            rich_help_panel=RESULTS,
            help="Draw NAME.steps.png. By default yes, but not with --recipe.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", metavar="", rich_help_panel=RESULTS, help="Replace results of an earlier run.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", metavar="", rich_help_panel=RUN, help="Leave out photos that are finished already."
        ),
    ] = False,
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive",
            "-r",
            metavar="",
            rich_help_panel=RUN,
            help="Folders in folders too; the results lie in folders of the same names.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            metavar="N",
            rich_help_panel=RUN,
            help="Photos worked on at a time.",
            show_default="one a core, at most 4",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", metavar="", rich_help_panel=RUN, help="Say what would be written, and write nothing."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", rich_help_panel=RUN, help="One line of JSON for each photo.")
    ] = False,
) -> None:
    """Retouch photographs and show how it was done.

    For each photo NAME the folder gets three files: the finished photo at full size, NAME.recipe.json with the edit,
    which can be read, changed and applied again, and NAME.steps.png, a picture of it step by step. Where two photos
    have one name, the later becomes NAME-2. Several samples of a photo are also shown side by side, each with what the
    critic gives for it.

    The photos you give are never written to. One that fails is reported and the others go on. Interrupted, it finishes
    what it is writing. Exit status: 0 when all photos are done, 1 when some failed, 2 for wrong usage, 130 when
    interrupted.
    """
    if deterministic and samples > 1:
        fail("--deterministic gives one result, so it does not go with --samples; leave one of them out", 2)
    if force and skip_existing:
        fail("--force replaces results and --skip-existing keeps them; leave one of them out", 2)
    for name, given in (
        ("--samples", samples > 1),
        ("--deterministic", deterministic is not None),
        ("--only", only is not None),
        ("--max-edits", max_edits is not None),
        ("--start-from", start_from is not None),
        ("--model", model is not None),
    ):
        if recipe is not None and given:
            fail(f"{name} is for the agent, and with --recipe there is none; leave one of them out", 2)

    from exposure_gym.cli.batch import Darkroom, Job
    from exposure_gym.cli.deciding import AgentDecides, RecipeDecides, compare, load_recipe, reading_of, write_brief
    from exposure_gym.cli.outputs import check_writable, file_identity, kind_of, plan_results
    from exposure_gym.recipe import cores

    found = _find(files, recursive, output)
    draw = recipe is None if steps is None else steps
    plans = plan_results(found, output, samples, format, draw)
    identities = {identity for photo in found if (identity := file_identity(photo.path)) is not None}
    check = partial(check_writable, inputs=identities, force=force)
    report = Report(as_json, len(found))
    todo: list[tuple[Path, Plan]] = []
    for photo, plan in zip(found, plans, strict=True):
        if skip_existing and all(result.photo.exists() for result in plan.results):
            report.skipped(photo.path, plan)
        else:
            todo.append((photo.path, plan))
    if dry_run:
        _plan_only(todo, check, report)
        todo = []
    if not todo:
        report.end()
        return

    decide: Decide
    reward: CriticReward | None = None
    usual: Reading
    space: Space
    if recipe is None:
        agent = load_agent(model)
        usual, space = agent.reading, agent.working_space
        best = deterministic if deterministic is not None else samples == 1
        decide = AgentDecides(agent, write_brief(agent, only, max_edits, start_from), None if best else seed, strength)
        reward = load_reward(model) if samples > 1 else None
    else:
        edit = load_recipe(recipe)
        usual, space = edit.input_domain, edit.working_space
        if usual == "display" and brightness != "auto":
            fail(f"{recipe}: is for display values, which are read as they are; leave --brightness out", 2)
        decide = RecipeDecides(edit, recipe.name, strength)
    make_folder(output)
    workers = min(jobs or min(cores(), 4), len(todo))
    darkroom = Darkroom(
        space=space,
        options={"profile": profile, "dither": dither, "metadata": metadata},
        reading={"white_balance": white_balance, "highlights": highlights, "max_megapixels": max_megapixels},
        looks=recipe is None or draw or strength != 1.0,
        workers=workers,
        threads=max(1, cores() // workers),
        check=check,
        compare=None if reward is None else partial(compare, reward=reward),
    )
    work = [Job(path, plan, reading_of(brightness, usual, kind_of(path).format == "tif")) for path, plan in todo]
    with report.showing_progress(len(work)), _terminating():
        try:
            for outcome in darkroom.run(work, decide):
                report.outcome(outcome)
        except KeyboardInterrupt:
            for outcome in darkroom.finished_meanwhile():
                report.outcome(outcome)
            fail(f"interrupted: {darkroom.finished} of {len(work)} photos are done; go on with --skip-existing", 130)
    report.end()


def _find(names: list[str], recursive: bool, output: Path) -> list[Found]:
    from exposure_gym.cli.outputs import find_inputs

    try:
        found = find_inputs(names, recursive, output)
    except ValueError as error:
        fail(str(error), 2)
    if not found:
        fail(f"{names[0]}: no photograph in this folder; TIFF, JPEG, PNG, RAW, HEIC and AVIF files are looked for", 2)
    return found


def _plan_only(todo: list[tuple[Path, Plan]], check: Callable[[Plan], None], report: Report) -> None:
    for path, plan in todo:
        try:
            if not path.is_file():
                raise ValueError(f"{path}: does not exist; check the name")
            check(plan)
            report.planned(path, plan)
        except (ValueError, OSError) as error:
            report.failed(path, error)


@contextmanager
def _terminating() -> Iterator[None]:
    """Being told to end (SIGTERM) is like Ctrl-C here: what is being written is finished."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
