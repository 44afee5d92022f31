"""``exposure-gym train``: learn from photographs to start from and finished ones to come near to."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from exposure_gym.cli.messages import complain, fail, make_folder, valid_seed

if TYPE_CHECKING:
    from exposure_gym.cli.runs import Settings, TrainingPhotos


def train(
    context: typer.Context,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="RUN", help="Folder for the training; made if need be.", show_default=False
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Photos to start from: camera RAW files, or dark and linear like them, e.g. 16-bit TIFFs from a RAW "
            "converter without a tone curve. Some presets read them otherwise.",
            show_default="built-in photos",
        ),
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Finished photos in the style to learn. They may show anything.",
            show_default="built-in photos",
        ),
    ] = None,
    test_inputs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Inputs kept for measuring.", show_default=False)
    ] = None,
    test_targets: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Finished photos to measure against.", show_default=False)
    ] = None,
    test_fraction: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.9,
            metavar="F",
            help="Part of the photos in --inputs and --targets to keep for measuring, instead of test folders. Whole "
            "photos are kept; the names decide which.",
        ),
    ] = 0.0,
    paired: Annotated[
        bool | None,
        typer.Option(
            "--paired/--unpaired",
            metavar="",
            help="Inputs and targets of one name, whatever the extension, are one photo before and after, and are cut "
            "alike; others are left out.",
            show_default="from the preset",
        ),
    ] = None,
    fivek: Annotated[
        Path | None,
        typer.Option(
            metavar="PACK",
            help="Learn from the FiveK dataset, as data fivek pack packed it, in its published folds.",
            show_default=False,
        ),
    ] = None,
    expert: Annotated[
        Literal["A", "B", "C", "D", "E"],
        typer.Option(case_sensitive=False, help="Whose photos of the pack are the targets."),
    ] = "C",
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder where decoded photos are kept, so that the next start is fast. May be deleted.",
            show_default="exposure-gym in the user's cache folder",
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="Settings: paper (the published ones), short (the same for a tenth of the time), cpu (half as wide, "
            "for two cores), quick (a taste in minutes), own-jpeg (inputs are JPEGs, which are darkened), sintel "
            "(inputs are film frames before grading), or a TOML file like theirs.",
        ),
    ] = "paper",
    iterations: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Length of the training.", show_default="from the preset")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(callback=valid_seed, metavar="S", help="Of everything: one seed gives one training."),
    ] = 0,
    evaluate_every: Annotated[
        int,
        typer.Option(min=1, metavar="K", help="Iterations between measurements on the test photos."),
    ] = 50,
    checkpoint_every: Annotated[
        int,
        typer.Option(min=1, metavar="K", help="Iterations between checkpoints; two are kept."),
    ] = 200,
    sheet_every: Annotated[
        int,
        typer.Option(min=1, metavar="K", help="Iterations between training sheets: pictures of how it is going."),
    ] = 400,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda or cuda:1.")] = "auto",
    precision: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(
            metavar="KIND",
            help="Of the arithmetic: float32, or bfloat16, which is faster where the hardware has it.",
            show_default="from the preset",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="CPU threads.", show_default="one a core")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", metavar="", help="Log to RUN/tensorboard too.")] = False,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with a training that was stopped; needs no other option but --device."),
    ] = None,
) -> None:
    """Train an agent on your own photographs, or on the built-in ones.

    RUN gets config.json (the settings), log.jsonl (the learning curve), sheets/ (pictures of how it is going),
    checkpoints, and at the end policy.safetensors and critic.safetensors: then retouch --model RUN uses it.

    Stop it with Ctrl-C whenever you like: train --resume RUN goes on from there, and ends with the same agent as a
    training that was never stopped.
    """
    if resume is not None:
        _check_alone(context, resume)
        _resume(resume, device)
        return
    if output is None:
        fail("name a folder for the training with -o RUN, or one to go on with: --resume RUN", 2)
    for pair in ((inputs, targets), (test_inputs, test_targets)):
        if (pair[0] is None) != (pair[1] is None):
            fail("--inputs goes with --targets, and --test-inputs with --test-targets: give both or neither", 2)
    if fivek is not None and inputs is not None:
        fail("--fivek and --inputs are two sources of photographs: leave one of them out", 2)
    if (paired is not None or test_fraction > 0.0) and inputs is None:
        fail("--paired and --test-fraction are for folders of your own: give --inputs and --targets", 2)
    if test_fraction > 0.0 and test_inputs is not None:
        fail("--test-fraction stands for test folders: leave --test-inputs and --test-targets out", 2)

    import torch

    from exposure_gym.cli.presets import load_preset
    from exposure_gym.cli.runs import Settings

    try:
        chosen = load_preset(preset)
    except ValueError as error:
        fail(str(error), 2)
    settings = Settings(
        inputs=_absolute(inputs),
        targets=_absolute(targets),
        test_inputs=_absolute(test_inputs),
        test_targets=_absolute(test_targets),
        preset=preset,
        iterations=iterations or chosen.iterations,
        checkpoint_every=checkpoint_every,
        evaluate_every=evaluate_every,
        sheet_every=sheet_every,
        seed=seed,
        threads=threads or torch.get_num_threads(),
        tensorboard=tensorboard,
        agent=chosen.agent if precision is None else chosen.agent | {"precision": precision},
        reading=asdict(chosen.photos) | ({} if paired is None else {"paired": paired}),
        fivek=_absolute(fivek),
        expert=expert,
        test_fraction=test_fraction,
        cache=_absolute(cache),
    )
    _begin(output, settings, device)


def _check_alone(context: typer.Context, run: Path) -> None:
    """No option but the device comes with --resume: the settings are those that the training began with."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in ("resume", "device"):
            fail(f"--{name.replace('_', '-')} does not go with --resume: the settings are those in {run}", 2)


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _begin(run: Path, settings: Settings, device: str) -> None:
    from exposure_gym.cli.runs import CONFIG, read_photos, write_config

    if (run / CONFIG).exists():
        fail(f"{run}: holds a training already; go on with --resume {run}, or choose another folder", 2)
    _set_up(settings, device)
    try:
        photos = read_photos(settings)
    except ValueError as error:
        fail(str(error), 2)
    make_folder(run)
    try:
        write_config(run, settings, photos.fingerprint)
    except OSError as error:
        fail(f"{run}: cannot be written ({error.strerror or error}); make room, or name another folder")
    _learn(run, settings, photos, device)


def _resume(run: Path, device: str) -> None:
    from exposure_gym.cli.runs import read_config, read_photos

    try:
        settings, fingerprint = read_config(run)
        _set_up(settings, device)
        photos = read_photos(settings)
    except ValueError as error:
        fail(str(error), 2)
    if photos.fingerprint != fingerprint:
        fail(f"{run}: its photographs have changed since it began; start a new training with -o", 2)
    _learn(run, settings, photos, device)


def _set_up(settings: Settings, device: str) -> None:
    """Threads and device, checked before the photographs are read."""
    import torch

    torch.set_num_threads(settings.threads)
    try:
        kind = torch.device("cpu" if device == "auto" else device).type
    except RuntimeError:
        fail(f"unknown device {device!r}; use auto, cpu, cuda or cuda:1", 2)
    if kind == "cuda" and not torch.cuda.is_available():
        fail("no CUDA device is to be found; use --device cpu", 2)
    if settings.tensorboard and find_spec("tensorboard") is None:
        fail('--tensorboard needs a package: pip install "exposure-gym[train]"', 2)


def _learn(run: Path, settings: Settings, training: TrainingPhotos, device: str) -> None:
    """Learn to the end, or until a signal comes."""
    from stable_baselines3.common.callbacks import BaseCallback

    from exposure_gym.agents.exposure.callbacks import Checkpoints, HeldOutEvaluation, LearningCurve, Sheets, tidy
    from exposure_gym.agents.exposure.storage import save_policy
    from exposure_gym.cli.runs import resumed_agent
    from exposure_gym.cli.training_display import StopOnSignal, TrainingDisplay
    from exposure_gym.critic import save_critic

    try:
        agent = resumed_agent(settings, training.photos, run, device)
    except ValueError as error:
        fail(str(error), 2)
    checkpoints = Checkpoints(run, settings.checkpoint_every)
    curve = LearningCurve(run / "log.jsonl")
    display = TrainingDisplay(settings.iterations, agent.num_timesteps // agent.batch_size, curve)
    stop = StopOnSignal()
    callbacks: list[BaseCallback] = [curve, Sheets(run / "sheets", settings.sheet_every), display, checkpoints, stop]
    if training.held_out is not None:
        callbacks.insert(0, HeldOutEvaluation(training.held_out, settings.evaluate_every))

    remaining = settings.iterations * agent.batch_size - agent.num_timesteps
    try:
        if remaining > 0:
            with display, stop:
                agent.learn(remaining, callback=callbacks, log_interval=1, reset_num_timesteps=False)
                checkpoints.save()
        else:  # it may have been killed after its last checkpoint
            tidy(run, settings.iterations)
        done = agent.num_timesteps >= settings.iterations * agent.batch_size
        if done and not checkpoints.broken:
            save_policy(agent, run / "policy.safetensors")
            save_critic(agent.policy.critic, run / "critic.safetensors")
    except KeyboardInterrupt:
        fail(f"interrupted; train --resume {run} goes on from the last checkpoint", 130)
    except OSError as error:
        fail(f"{run}: cannot be written ({error.strerror or error}); make room, then train --resume {run} goes on")
    if checkpoints.broken:
        names = ", ".join(checkpoints.broken)
        fail(f"no number any more: {names}; the last checkpoint in {run} is from before that")
    if not done:
        complain(f"stopped after {checkpoints.iteration} of {settings.iterations} iterations; train --resume {run}")
        raise typer.Exit(128 + (stop.signal or 0))
    typer.echo(f"{run}: trained for {settings.iterations} iterations; use it with retouch --model {run}")
