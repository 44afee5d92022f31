"""What the commands say, and where: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


def complain(message: str) -> None:
    """One line on standard error, with the command's name in front."""
    typer.echo(f"exposure-gym: {message}", err=True)


def fail(message: str, status: int = 1) -> NoReturn:
    """Complain and end the command: status 1 when something went wrong, 2 for wrong usage."""
    complain(message)
    raise typer.Exit(status)


def valid_seed(value: int) -> int:
    """A seed that every generator takes; wrong usage otherwise."""
    if not 0 <= value < 2**32:
        raise typer.BadParameter(f"{value} is no seed: use 0 to {2**32 - 1}")
    return value


def make_folder(path: Path) -> None:
    """Make a folder for results; wrong usage if that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        fail(f"{path}: is a file; name a folder", 2)
    except OSError as error:
        fail(f"{path}: cannot be made ({error.strerror}); name another folder", 2)


def progress_bar(*columns: ProgressColumn | str) -> Progress:
    """A progress bar on standard error that shows on a terminal only and leaves nothing behind.

    Lines printed meanwhile go above it; those on standard output stay there if that is not a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        disable=not console.is_terminal,
    )
