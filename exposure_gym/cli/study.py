"""``exposure-gym study``: what people did in the editor, exported, and played again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exposure_gym.cli.messages import complain, fail, make_folder
from exposure_gym.cli.models import find_model

if TYPE_CHECKING:
    from exposure_gym.ui.referee import Referee
    from exposure_gym.ui.store import SessionRow, Store

app = typer.Typer(help="What people did in the editor: export it, or play it again.", no_args_is_help=True)

Sessions = Annotated[
    Path,
    typer.Argument(
        metavar="SESSIONS",
        help="Folder that exposure-gym play wrote to (its -o), or the sessions.sqlite in it.",
        show_default=False,
    ),
]


@app.command()
def export(
    sessions: Sessions,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for it; made if need be.")],
    force: Annotated[bool, typer.Option("--force", metavar="", help="Replace an earlier export.")] = False,
) -> None:
    """Write what people did as JSON lines, recipes and pictures.

    actions.jsonl has a line for each action, with its time, who did it, the edits that stood afterwards and what each
    of them earned; steps.jsonl a line for each step of the games as they ended. A folder for each player has the
    recipes and the finished photographs. The editor may be open meanwhile.

    What is missing is reported; the exit status is then 1.
    """
    from exposure_gym.ui import study

    with _open(sessions) as store:
        if output.resolve() == store.path.parent.resolve():
            fail(f"{output}: is the folder of the sessions; choose another one with -o", 2)
        if (output / study.ACTIONS).exists() and not force:
            fail(f"{output / study.ACTIONS}: exists already; allow it to be replaced with --force", 2)
        make_folder(output)
        try:
            count, problems = study.export(store, output)
        except ValueError as error:
            fail(str(error))
    for problem in problems:
        complain(problem)
    typer.echo(f"{count} games are in {output}.")
    if problems:
        raise typer.Exit(1)


@app.command()
def replay(
    sessions: Sessions,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Model whose critic judged, if play had --model.", show_default="the shipped one"
        ),
    ] = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Where to look for photos that are no longer where they were.", show_default=False
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="X", help="By which a reward may differ.", show_default="0.001"),
    ] = None,
) -> None:
    """Play all games again in the Gymnasium environment, and check that rewards agree.

    For every action the environment is reset on the photo and steps through the edits that stood then. The photos are
    looked for where they were, then by their names. What differs, and what cannot be played again, is named, a line
    each; the exit status is then 1.
    """
    import torch

    from exposure_gym.ui import study

    torch.set_num_threads(1)
    with _open(sessions) as store:
        try:
            accepted = study.TOLERANCE if tolerance is None else tolerance
            count, problems = study.replay(store, _Referees(model), accepted, photos or ())
        except ValueError as error:
            fail(str(error))
    for problem in problems:
        complain(problem)
    typer.echo(f"{count} trajectories were played again; {len(problems) or 'no'} problem{'s' * (len(problems) != 1)}.")
    if problems:
        raise typer.Exit(1)


class _Referees:
    """The referees for sessions of different rules, with one critic."""

    def __init__(self, model: Path | None) -> None:
        self.model = find_model(model)
        self.known: dict[int, tuple[Referee, str]] = {}

    def __call__(self, session: SessionRow) -> Referee | str:
        from exposure_gym.ui.referee import load_referee

        if session.max_steps not in self.known:
            self.known[session.max_steps] = load_referee(self.model, session.max_steps)
        referee, critic = self.known[session.max_steps]
        if critic != session.critic:
            return "another critic judged it; name its model with --model"
        return referee


def _open(sessions: Path) -> Store:
    from exposure_gym.ui.store import Store

    try:
        return Store.existing(sessions)
    except ValueError as error:
        fail(str(error), 2)
