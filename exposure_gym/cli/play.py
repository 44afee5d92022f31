"""``exposure-gym play``: the editor in the browser, where a person plays the agent's game."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exposure_gym.cli.messages import complain, fail, make_folder
from exposure_gym.cli.models import find_model
from exposure_gym.cli.serving import listen, need_packages, serve

if TYPE_CHECKING:
    from exposure_gym.ui.session import Studio

PORT = 8765


def play(
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTOS",
            help="Photographs (TIFF, JPEG, PNG, RAW, HEIC, AVIF), folders of them, or patterns like 'trip/*.dng'.",
            show_default="five built-in ones",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for the results and the sessions; made if need be."),
    ] = Path("played"),
    user: Annotated[str, typer.Option(metavar="NAME", help="Who plays; everybody has sessions of their own.")] = "",
    steps: Annotated[int, typer.Option(min=1, max=20, metavar="N", help="Edits in a game.")] = 5,
    blind: Annotated[
        bool, typer.Option("--blind", metavar="", help="Hide the critic's scores and rewards, for a study.")
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Another agent to ask, as train writes it, and its critic; or sintel, which ships too.",
            show_default="the shipped one",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="P", help="Where to listen; 0 for any.", show_default=str(PORT)),
    ] = None,
    host: Annotated[
        str,
        typer.Option(metavar="H", help="Address to listen on; with another one, other machines can use the editor."),
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", metavar="", help="Open the browser.")] = True,
) -> None:
    """Retouch photographs yourself: the agent's game, in the browser, with the agent to ask.

    A photo that is done becomes three files, as retouch writes them: the finished photo at full size,
    NAME.recipe.json and NAME.steps.png. Every action is kept in sessions.sqlite: the same command goes on where it was
    left, whatever ended it. exposure-gym study exports and replays it.

    It serves this machine only, unless --host says otherwise. Ctrl-C ends it.
    """
    need_packages("the editor")
    make_folder(output)
    listener = listen(host, PORT if port is None else port, else_any=port is None)
    with listener, _Alone(output):
        studio = _studio(photos or [], output, user, steps, blind, model)

        from exposure_gym.ui.guard import Hosts
        from exposure_gym.ui.server import make_app

        app = make_app(studio, Hosts(host, listener.getsockname()[1]), secrets.token_urlsafe(24))
        threading.Thread(target=_warm_up, args=(studio,), daemon=True).start()
        try:
            serve(app, listener, host, what="The editor", browser=browser)
        finally:
            studio.store.close()


def _studio(photos: list[str], output: Path, user: str, steps: int, blind: bool, model: Path | None) -> Studio:
    import torch

    from exposure_gym.ui.builtin import lay_out
    from exposure_gym.ui.partner import Partner
    from exposure_gym.ui.referee import load_referee
    from exposure_gym.ui.session import Studio, clean_user
    from exposure_gym.ui.store import FILE_NAME, Store
    from exposure_gym.ui.uploads import FOLDER

    torch.set_num_threads(1)  # the networks are so small that more threads only wait for each other
    try:
        user = clean_user(user)
        paths = _find(photos, output) if photos else lay_out(output / FOLDER)
        store = Store(output / FILE_NAME)
    except (ValueError, FileNotFoundError) as error:
        fail(str(error), 2)
    model = find_model(model)
    referee, critic = load_referee(model, steps)
    partner = Partner.load(model, referee.filters)
    for message in (partner.message, "" if referee.judges else "there is no critic: edits earn no rewards"):
        if message:
            complain(message)
    return Studio(store, paths, output, referee, partner, user=user, blind=blind, critic=critic)


def _find(names: list[str], output: Path) -> list[Path]:
    """The photographs to play on; wrong usage if there are none."""
    from exposure_gym.cli.outputs import find_inputs

    paths = [found.path for found in find_inputs(names)]
    if not paths:
        fail(f"{names[0]}: no photograph in this folder; TIFF, JPEG, PNG, RAW, HEIC and AVIF files are looked for", 2)
    if not any(path.exists() for path in paths):
        fail(f"{paths[0]}: does not exist; check the name", 2)
    given = [path for path in paths if str(path) not in names]  # in a folder, or found by a pattern
    if any(path.parent.resolve() == output.resolve() for path in given):
        fail(f"{output}: is where the photographs lie, and results would be taken for some; choose another with -o", 2)
    return paths


class _Alone:
    """One editor on an output folder: two would not know of each other's sessions."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".playing"

    def __enter__(self) -> None:
        self.file = self.path.open("a")
        try:
            import fcntl

            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of however the process ends
        except ImportError:
            pass
        except OSError:
            self.file.close()
            fail(f"{self.path.parent}: another editor works in this folder; end it, or choose another with -o", 2)

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _warm_up(studio: Studio) -> None:
    """Load what the first picture would wait for, meanwhile."""
    import numpy as np

    from exposure_gym.recipe import Edit
    from exposure_gym.ui.pictures import Proof, printed

    proof = Proof(np.full((64, 64, 3), 0.25, np.float32))
    edits = [Edit("exposure", (1.0,)), Edit("contrast", (0.2,))]
    printed(proof.edited(edits, 1))
    studio.referee.play(proof.view, edits)
    if studio.partner.agent is not None:
        studio.partner.suggest(proof.pixels, edits)
