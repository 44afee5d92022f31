"""The editor's server: what each address does. Who may ask for it is the business of :mod:`exposure_gym.ui.guard`.

Work on pixels happens in a pool of threads, so that the event loop always answers.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from exposure_gym.cli.messages import complain
from exposure_gym.photo import PhotoError
from exposure_gym.recipe import Edit, cores
from exposure_gym.ui import uploads
from exposure_gym.ui.controls import edit_from_page
from exposure_gym.ui.guard import MAX_UPLOAD, Guard, Hosts
from exposure_gym.ui.partner import Absent
from exposure_gym.ui.pictures import THUMB_EDGE
from exposure_gym.ui.session import Session, Studio, Unknown
from exposure_gym.ui.store import StoreError
from exposure_gym.ui.table import GameOver, Table

STATIC = Path(__file__).parent / "static"
SESSION_HEADER = "X-Exposure-Session"

_TOKEN_PLACE = re.compile(r'(<meta name="exposure-token" content=")[^"]*(")')

Result = TypeVar("Result")
JsonObject = dict[str, Any]

_STATUS: list[tuple[type[Exception], int]] = [  # the first that fits
    (GameOver, 409),
    (Absent, 503),
    (Unknown, 404),
    (PhotoError, 422),
    (StoreError, 500),
    (ValueError, 400),
]


class _Bad(ValueError):
    """A request that cannot be understood; one line."""


def make_app(studio: Studio, hosts: Hosts, token: str, *, max_upload: int = MAX_UPLOAD) -> Starlette:
    """The application.

    :param hosts: the names it answers to; :param token: that the page gets and must show.
    :param max_upload: bytes of a photograph that is sent to it.
    """
    editor = _Editor(studio, token)
    photo = "/api/photos/{photo:int}"
    routes = [
        Route("/", editor.page),
        Route("/favicon.ico", lambda _: Response(status_code=204)),
        Mount("/static", StaticFiles(directory=STATIC)),
        Route("/api/session", editor.session, methods=["GET"]),
        Route("/api/session", editor.enter, methods=["POST"]),
        Route("/api/upload", editor.upload, methods=["POST"]),
        Route(photo, editor.with_table(_look), methods=["GET"]),
        Route(f"{photo}/picture", editor.picture, methods=["GET"]),
        Route(f"{photo}/histogram", editor.with_table(_histogram), methods=["GET"]),
        Route(f"{photo}/preview", editor.with_table(_preview), methods=["POST"]),
        Route(f"{photo}/edits", editor.with_table(_edit), methods=["POST"]),
        Route(f"{photo}/edits/remove", editor.with_table(_remove), methods=["POST"]),
        Route(f"{photo}/undo", editor.with_table(_undo), methods=["POST"]),
        Route(f"{photo}/redo", editor.with_table(_redo), methods=["POST"]),
        Route(f"{photo}/ask", editor.with_table(_ask), methods=["POST"]),
        Route(f"{photo}/finish", editor.with_table(_finish), methods=["POST"]),
        Route(f"{photo}/ways", editor.with_table(_ways), methods=["POST"]),
        Route(f"{photo}/choose", editor.with_table(_choose), methods=["POST"]),
        Route(f"{photo}/done", editor.done, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=hosts, token=token, max_upload=max_upload)],
        exception_handlers={HTTPException: _http_error, Exception: _unexpected}
        | {kind: partial(_known_error, status) for kind, status in _STATUS}
        | {OSError: partial(_known_error, 500), ClientDisconnect: partial(_known_error, 400)},
    )


# -- what is done with a photograph on the table; where it gives None, the photograph is the answer -------------------

Work = Callable[[Studio, Session, Table, JsonObject], JsonObject | None]


def _look(studio: Studio, session: Session, table: Table, data: JsonObject) -> None:
    return None


def _edit(studio: Studio, session: Session, table: Table, data: JsonObject) -> None:
    table.edit(_step(data), edit_from_page(data.get("edit")))


def _remove(studio: Studio, session: Session, table: Table, data: JsonObject) -> None:
    table.remove(_step(data))


def _undo(studio: Studio, session: Session, table: Table, data: JsonObject) -> None:
    table.undo()


def _redo(studio: Studio, session: Session, table: Table, data: JsonObject) -> None:
    table.redo()


def _finish(studio: Studio, session: Session, table: Table, data: JsonObject) -> None:
    table.finish(studio.partner)


def _choose(studio: Studio, session: Session, table: Table, data: JsonObject) -> None:
    edits = data.get("edits")
    if not isinstance(edits, list):
        raise _Bad('"edits" must be a list')
    chosen: list[Edit] = [edit_from_page(edit) for edit in edits]
    table.choose(chosen)


def _preview(studio: Studio, session: Session, table: Table, data: JsonObject) -> JsonObject:
    through = bool(data.get("through", False))
    return table.preview(_step(data), edit_from_page(data.get("edit")), through, session.row.blind)


def _ask(studio: Studio, session: Session, table: Table, data: JsonObject) -> JsonObject:
    return table.ask(studio.partner, session.row.blind)


def _ways(studio: Studio, session: Session, table: Table, data: JsonObject) -> JsonObject:
    return table.ways(studio.partner, _step(data, 0), session.row.blind)


def _histogram(studio: Studio, session: Session, table: Table, data: JsonObject) -> JsonObject:
    return table.histogram(_step(data))


def _step(data: JsonObject, default: int | None = None) -> int:
    step = data.get("step", default)
    if not isinstance(step, int) or isinstance(step, bool):
        raise _Bad('"step" must be a whole number')
    return step


class _Editor:
    """The addresses of one studio."""

    def __init__(self, studio: Studio, token: str) -> None:
        self.studio, self.token = studio, token
        self.pool = ThreadPoolExecutor(max(4, cores()), "editor")  # of which some may be saving photographs

    async def run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    async def page(self, request: Request) -> Response:
        html = await self.run(lambda: (STATIC / "index.html").read_text(encoding="utf-8"))
        return HTMLResponse(_TOKEN_PLACE.sub(rf"\g<1>{self.token}\g<2>", html, count=1))

    def chosen(self, request: Request) -> Session:
        """The session that a request is about. In a thread."""
        id = request.headers.get(SESSION_HEADER)
        return self.studio.unnamed() if id is None else self.studio.session(id)

    async def session(self, request: Request) -> Response:
        return JSONResponse(await self.run(lambda: self.studio.as_json(self.chosen(request))))

    async def enter(self, request: Request) -> Response:
        data = await _json(request)
        user, id = data.get("user"), data.get("session")
        if not all(value is None or isinstance(value, str) for value in (user, id)):
            raise _Bad('"user" and "session" must be texts')
        return JSONResponse(await self.run(lambda: self.studio.as_json(self.studio.enter(user, id))))

    def with_table(self, work: Work) -> Callable[[Request], Awaitable[Response]]:
        """An address for work on a photograph."""

        async def endpoint(request: Request) -> Response:
            data = _query(request) if request.method in ("GET", "HEAD") else await _json(request)

            def in_a_thread() -> JsonObject:
                session, photo = self.chosen(request), request.path_params["photo"]
                with self.studio.table(session, photo) as table:
                    result = work(self.studio, session, table, data)
                    return self.studio.photo_json(session, photo, table) if result is None else result

            return JSONResponse(await self.run(in_a_thread))

        return endpoint

    async def picture(self, request: Request) -> Response:
        step, size = _step(_query(request)), request.query_params.get("size", "preview")
        if size not in ("preview", "thumb"):
            raise _Bad('"size" must be preview or thumb')

        def in_a_thread() -> bytes:
            with self.studio.table(self.chosen(request), request.path_params["photo"]) as table:
                return table.picture(step, THUMB_EDGE if size == "thumb" else None)

        return Response(await self.run(in_a_thread), media_type="image/jpeg")

    async def done(self, request: Request) -> Response:
        format = (await _json(request)).get("format")
        if format not in (None, "jpg", "png", "tif"):
            raise _Bad('"format" must be jpg, png or tif')
        photo = request.path_params["photo"]
        return JSONResponse(await self.run(lambda: self.studio.done(self.chosen(request), photo, format)))

    async def upload(self, request: Request) -> Response:
        session = await self.run(lambda: self.chosen(request))
        name = uploads.clean_name(request.query_params.get("name", ""))
        arriving = await self.run(lambda: uploads.begin(self.studio.output))
        try:
            with arriving.open("wb") as file:
                async for block in request.stream():
                    await self.run(partial(file.write, block))
            path = await self.run(lambda: uploads.keep(arriving, name, self.studio.partner))
        finally:
            await self.run(lambda: arriving.unlink(missing_ok=True))
        await self.run(lambda: self.studio.add(session, path))
        return JSONResponse(await self.run(lambda: self.studio.as_json(session)))


def _query(request: Request) -> JsonObject:
    step = request.query_params.get("step")
    return {} if step is None else {"step": int(step) if re.fullmatch(r"\d{1,4}", step) else step}


async def _json(request: Request) -> JsonObject:
    """The object that a request carries; an empty one for an empty body."""
    body = await request.body()
    try:
        data = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        raise _Bad("the request is not JSON") from None
    if not isinstance(data, dict):
        raise _Bad("the request is no JSON object")
    return data


# -- errors: one line each ---------------------------------------------------------------------------------------------


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=dict(error.headers or {}))


async def _known_error(status: int, request: Request, error: Exception) -> Response:
    return JSONResponse({"error": _line(error)}, status)


async def _unexpected(request: Request, error: Exception) -> Response:
    complain(f"{request.url.path}: {type(error).__name__}: {_line(error)}")
    return JSONResponse({"error": "something went wrong here; what you did before is kept"}, 500)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
