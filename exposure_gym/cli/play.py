"""``exposure-gym play``: the editor in the browser, where a person plays the agent's game."""

from __future__ import annotations

import socket
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exposure_gym.cli.messages import complain, fail, make_folder

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
            help="Another agent to ask, as train writes it, and its critic.",
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
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError:
        fail('the editor needs two packages more: pip install "exposure-gym[play]"')

    make_folder(output)
    listener = _listen(host, PORT if port is None else port, else_any=port is None)
    bound = listener.getsockname()[1]
    with _lock(output):
        studio = _studio(photos or [], output, user, steps, blind, model)

        import secrets

        from exposure_gym.ui.guard import Hosts
        from exposure_gym.ui.server import make_app

        app = make_app(studio, Hosts(host, bound), secrets.token_urlsafe(24))
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        url = f"http://{shown}:{bound}/"
        typer.echo(f"The editor is at {url} (Ctrl-C ends it).")
        if host not in ("127.0.0.1", "localhost", "::1"):
            complain(f"other machines that reach {host}:{bound} can use the editor too")
        threading.Thread(target=_warm_up, args=(studio,), daemon=True).start()
        if browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        options: dict[str, Any] = {"log_level": "error", "access_log": False, "server_header": False}
        server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=5, ws="none", lifespan="off", **options))
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            studio.store.close()


def _listen(host: str, port: int, else_any: bool) -> socket.socket:
    """A socket that listens; wrong usage if that cannot be.

    :param else_any: take any free port if this one is not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in [port, 0] if else_any else [port]:
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio then sets TCP_NODELAY
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, attempt))
            listener.listen(128)
            return listener
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
    fail(f"{host}:{port}: cannot listen there ({reason}); choose another --port or --host", 2)


def _studio(photos: list[str], output: Path, user: str, steps: int, blind: bool, model: Path | None) -> Studio:
    import torch

    from exposure_gym.cli.outputs import find_inputs
    from exposure_gym.ui.builtin import lay_out
    from exposure_gym.ui.partner import Partner
    from exposure_gym.ui.session import Studio, clean_user
    from exposure_gym.ui.store import FILE_NAME, Store
    from exposure_gym.ui.uploads import FOLDER

    torch.set_num_threads(1)  # the networks are so small that more threads only wait for each other
    try:
        user = clean_user(user)
        paths = [found.path for found in find_inputs(photos)] if photos else lay_out(output / FOLDER)
        if not paths:
            fail(
                f"{photos[0]}: no photograph in this folder; TIFF, JPEG, PNG, RAW, HEIC and AVIF files are looked for",
                2,
            )
        store = Store(output / FILE_NAME)
    except (ValueError, FileNotFoundError) as error:
        fail(str(error), 2)
    referee, critic = make_referee(model, steps)
    partner = Partner.load(model, referee.filters)
    for message in (partner.message, "" if referee.judges else "there is no critic: edits earn no rewards"):
        if message:
            complain(message)
    return Studio(store, paths, output, referee, partner, user=user, blind=blind, critic=critic)


def make_referee(model: Path | None, steps: int) -> tuple[Any, str]:
    """The referee with a model's own critic, or the shipped one; and the SHA-256 of the critic's file."""
    from exposure_gym.critic import load_critic
    from exposure_gym.rewards import CRITIC, CriticReward
    from exposure_gym.ui.referee import NoCritic, Referee
    from exposure_gym.ui.table import file_hash

    beside = None if model is None else (model if model.is_dir() else model.parent) / CRITIC.name
    path = beside if beside is not None and beside.exists() else CRITIC
    try:
        reward = CriticReward() if path == CRITIC else CriticReward(load_critic(path), name="own critic")
        return Referee(steps, reward), file_hash(path)
    except (ValueError, OSError):
        return Referee(steps, NoCritic()), ""


class _lock:
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
