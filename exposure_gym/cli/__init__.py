"""The ``exposure-gym`` command: one file a command; what is heavy to import is imported when a command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from exposure_gym import __version__
from exposure_gym.cli import data, demo, evaluate, explain, import_tf, play, rate, report, retouch, study, train
from exposure_gym.cli.messages import complain

app = typer.Typer(
    name="exposure-gym",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # which fills paragraphs
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo.demo,
    retouch.retouch,
    play.play,
    rate.rate,
    report.report,
    train.train,
    evaluate.evaluate,
    explain.explain,
    import_tf.import_tf,
):
    app.command()(command)
app.add_typer(data.app, name="data")
app.add_typer(study.app, name="study")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"exposure-gym {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Retouch photographs with an agent that learned how from finished ones.

    It edits as a photographer does, in a few steps with ordinary tools (exposure, white balance, tone curve, ...), and
    every step can be read, changed and applied again.

    Start with: exposure-gym demo
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 when something failed, 2 for wrong usage.

    :param arguments: of the command line; those of the process by default.
    """
    for stream in (sys.stdout, sys.stderr):  # a file name may hold what the terminal's encoding cannot say
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        status = app(args=None if arguments is None else list(arguments), standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "exposure-gym"
        complain(f"{' '.join(error.format_message().split())} (see {path} --help)")
        return error.exit_code
    except BrokenPipeError:  # the reader of our output had enough
        sys.stdout = None  # nothing is left to flush it to
        return 1
    except (OSError, MemoryError) as error:  # a full disk, a folder that may not be written to
        complain(str(error) or "out of memory")
        return 1
    return status if isinstance(status, int) else 0
