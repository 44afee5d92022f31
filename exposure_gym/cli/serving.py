"""Serving an application to the browser on this machine: a socket, the server, and the browser that opens."""

from __future__ import annotations

import socket
import threading
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from exposure_gym.cli.messages import complain, fail

if TYPE_CHECKING:
    from starlette.applications import Starlette

LOCAL = ("127.0.0.1", "localhost", "::1")


def need_packages(what: str) -> None:
    """End the command where the packages of the ``play`` extra are not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        fail(f'{what} needs two packages more: pip install "exposure-gym[play]"')


def listen(host: str, port: int, else_any: bool) -> socket.socket:
    """A socket that listens; wrong usage if that cannot be.

    :param else_any: take any free port if this one is not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in [port, 0] if else_any else [port]:
        # With its protocol named, asyncio sets TCP_NODELAY: else every small answer waits 40 ms for the client's word.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, attempt))
            listener.listen(128)
            return listener
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
    fail(f"{host}:{port}: cannot listen there ({reason}); choose another --port or --host", 2)


def serve(app: Starlette, listener: socket.socket, host: str, *, what: str, browser: bool) -> None:
    """Serve until Ctrl-C or SIGTERM.

    :param host: that the socket was bound to; :param what: is served, for the line that tells the address.
    :param browser: open the page.
    """
    import uvicorn

    port = listener.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    url = f"http://{shown}:{port}/"
    typer.echo(f"{what} is at {url} (Ctrl-C ends it).")
    if host not in LOCAL:
        complain(f"other machines that reach {host}:{port} can use it too")
    if browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=5,
    )
    with suppress(KeyboardInterrupt):  # that is how it ends
        uvicorn.Server(config).run(sockets=[listener])
