"""``exposure-gym report``: a page with what became of the photographs in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exposure_gym.cli.messages import complain, fail, progress_bar
from exposure_gym.cli.models import load_reward

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that retouch wrote to (its -o).", show_default=False)
    ],
    originals: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ORIGINALS",
            help="The photographs that were retouched, or folders of them, to compare with.",
            show_default=False,
        ),
    ] = None,
    embed: Annotated[
        bool,
        typer.Option("--embed", metavar="", help="Keep all pictures in the page: one file, to send it away."),
    ] = False,
    critic: Annotated[
        bool, typer.Option("--critic/--no-critic", metavar="", help="Say what the critic gives for each photo.")
    ] = True,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Model whose critic is asked, as train writes it.", show_default="the shipped one"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", metavar="", help="Replace an earlier report.")] = False,
) -> None:
    """Make a page of retouched photographs: before and after with a slider, the steps, and the edit in words.

    It becomes DIR/report.html, with its pictures in DIR/report_files, and opens in any browser, from the disk and
    without a network. A photo whose original is not among ORIGINALS is shown without a slider.

    What cannot be shown is reported and left out; the exit status is then 1.
    """
    from exposure_gym.cli.outputs import find_inputs
    from exposure_gym.report import PICTURES, REPORT, find_entries, write_report

    if not folder.is_dir():
        fail(f"{folder}: {'is no folder' if folder.exists() else 'does not exist'}; name one that retouch wrote to", 2)
    for path in (folder / REPORT, folder / PICTURES):
        if path.exists() and not force:
            fail(f"{path}: exists already; allow it to be replaced with --force", 2)
    try:
        found = find_inputs(originals or [], recursive=True, results=folder)
        entries, problems = find_entries(folder, [each.path for each in found])
    except ValueError as error:
        fail(str(error), 2)
    if not entries:
        fail(problems[0] if problems else f"{folder}: no *.recipe.json in it; name a folder that retouch wrote to", 2)
    score = _score(model) if critic else None
    with progress_bar() as bar:
        task = bar.add_task("reporting", total=len(entries))
        try:
            problems += write_report(
                folder, entries, score=score, embed=embed, progress=lambda done: bar.update(task, completed=done)
            )
        except ValueError as error:
            fail(str(error))
    for problem in problems:
        complain(problem)
    typer.echo(f"The report is {folder / REPORT}: open it in a browser.")
    if problems:
        raise typer.Exit(1)


def _score(model: Path | None) -> Callable[[NDArray[np.float32]], float]:
    """What a critic gives for a picture, ``(H, W, 3)`` display values: for its central square, as the agent sees it."""
    import torch

    from exposure_gym.photo import to_square

    torch.set_num_threads(1)
    reward = load_reward(model)

    def score(pixels: NDArray[np.float32]) -> float:
        square = torch.from_numpy(to_square(pixels, reward.critic.image_size))
        return float(reward.potential(square.permute(2, 0, 1)[None])[0])

    return score
