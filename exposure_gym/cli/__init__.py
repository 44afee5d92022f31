"""The ``exposure-gym`` command: one file a command; what is heavy to import is imported when a command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_group

from exposure_gym import __version__
from exposure_gym.cli.messages import complain

_COMMANDS = (
    *("demo", "retouch", "play", "rate", "report", "train", "evaluate", "explain", "import-tf"),
    *("data", "study"),
)
_MARKUP: Any = "markdown"  # which fills paragraphs


class _Commands(TyperGroup):
    """Imports and builds a command when it is asked for: all of them would take longer than some of them run."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: dict[str, Any] = dict.fromkeys(_COMMANDS)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self.commands and self.commands[cmd_name] is None:
            name = cmd_name.replace("-", "_")
            module, alone = import_module(f"exposure_gym.cli.{name}"), typer.Typer(rich_markup_mode=_MARKUP)
            if hasattr(module, "app"):  # has commands of its own
                alone.add_typer(module.app, name=cmd_name)
            else:
                alone.command()(getattr(module, name))
            self.commands[cmd_name] = get_group(alone).commands[cmd_name]
        return self.commands.get(cmd_name)


app = typer.Typer(
    name="exposure-gym",
    cls=_Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=_MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
        if said := " ".join(error.format_message().split()):  # else the help was shown instead
            complain(f"{said} (see {path} --help)")
        return error.exit_code
    except BrokenPipeError:  # the reader of our output had enough
        sys.stdout = None  # nothing is left to flush it to
        return 1
    except (OSError, MemoryError) as error:  # a full disk, a folder that may not be written to
        complain(str(error) or "out of memory")
        return 1
    return status if isinstance(status, int) else 0
