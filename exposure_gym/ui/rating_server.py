"""The rating study as a local web application: what the page asks for, and nothing that tells which set a result is of.

The page knows a trial by its place in the rater's order, and a result by its slot on the page. Names of sets and files,
dates and sizes stay on this side.

| request | answer |
|---|---|
| ``GET /api/study`` | ``{method, rater}``: ``rater`` is the name to go on with, or null |
| ``POST /api/raters {name}`` | ``{rater, next}``: the rater's number, and the place of the first trial left, or null |
| ``GET /api/raters/R/trials/N`` | a trial; 422 ``{error, next, left_out}`` where a picture of it cannot be read |
| ``GET /api/raters/R/trials/N/pictures/S`` | a JPEG file |
| ``POST /api/raters/R/trials/N/judgements {slot, stars?}`` | the trial, when the judgement is stored |

A trial is ``{place, count, stars, preferred, judged, total, left_out, next, previous}``: ``count`` results; ``stars``
of each or null; the slot that is ``preferred``, of pairs, or null; how many of the rater's ``total`` trials are
``judged``, beside those ``left_out`` because they cannot be shown; the places of the ``next`` trial that is not judged
and of the ``previous`` one, or null.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from exposure_gym.ui.guard import Guard, Hosts
from exposure_gym.ui.rating import STARS, Study, Trial
from exposure_gym.ui.rating_pictures import RatingPictures
from exposure_gym.ui.rating_store import RatingStore

STATIC = Path(__file__).with_name("static")
NAME_LENGTH = 60
"""Letters of a rater's name, at most."""

Judged = tuple[Trial, dict[str, int]]


class RatingDesk:
    """What the page is told: trials without names.

    :param complain: gets one line for each photograph that cannot be shown, once; it tells names.
    """

    def __init__(self, study: Study, store: RatingStore, complain: Callable[[str], None]) -> None:
        self._study, self._store, self._complain = study, store, complain
        self._pictures = RatingPictures(study)
        self._failed: set[str] = set()

    def join(self, name: str) -> dict[str, Any]:
        """Begin a rater's session, or go on with it."""
        rater = self._store.join(name, self._study.plan(name))
        return {"rater": rater, "next": self._next(self._store.trials(rater), -1)}

    def trial(self, rater: int, place: int) -> dict[str, Any]:
        """A trial whose pictures can be shown.

        :raises NoSuchTrial: there is none; :class:`Unshowable`: a picture of it cannot be read.
        """
        trials = self._store.trials(rater)
        trial, judged = _at(trials, place)
        self._shown(trials, place)
        stars = self._store.method == "stars"
        slots = [judged.get(name) for name in trial.shown]
        left = [each for each in trials if each[0].photo not in self._failed]
        before = (i for i in range(place - 1, -1, -1) if trials[i][0].photo not in self._failed)
        return {
            "place": place,
            "count": len(trial.shown),
            "stars": slots if stars else None,
            "preferred": slots.index(1) if not stars and judged else None,
            "judged": sum(map(self._complete, left)),
            "total": len(left),
            "left_out": len(trials) - len(left),
            "next": self._next(trials, place),
            "previous": next(before, None),
        }

    def picture(self, rater: int, place: int, slot: int) -> bytes:
        """A result as a JPEG file; raises as :meth:`trial`."""
        trials = self._store.trials(rater)
        shown = _at(trials, place)[0].shown
        if not 0 <= slot < len(shown):
            raise NoSuchTrial
        return self._shown(trials, place)[shown[slot]]

    def judge(self, rater: int, place: int, slot: object, stars: object) -> dict[str, Any]:
        """Store a judgement, and tell the trial after it.

        :raises ValueError: it is none; one line.
        """
        trial, _ = _at(self._store.trials(rater), place)
        if type(slot) is not int or not 0 <= slot < len(trial.shown):
            raise ValueError(f"slot must be 0 to {len(trial.shown) - 1}")
        if self._store.method == "pairs" and stars is not None:
            raise ValueError("a pair is judged without stars")
        if self._store.method == "stars" and (type(stars) is not int or stars not in STARS):
            raise ValueError("stars must be 1 to 5")
        self._store.judge(rater, place, trial.shown[slot], stars if type(stars) is int else None)
        return self.trial(rater, place)

    def _complete(self, trial: Judged) -> bool:
        return len(trial[1]) == (1 if self._store.method == "pairs" else len(trial[0].shown))

    def _next(self, trials: list[Judged], place: int) -> int | None:
        """The first trial after this place that is not judged, else the first of all."""
        order = [*range(place + 1, len(trials)), *range(place + 1)]
        left = (i for i in order if not self._complete(trials[i]) and trials[i][0].photo not in self._failed)
        return next(left, None)

    def _shown(self, trials: list[Judged], place: int) -> dict[str, bytes]:
        photo = trials[place][0].photo
        try:
            return dict(self._pictures.of(photo))
        except ValueError as error:
            if photo not in self._failed:
                self._failed.add(photo)
                self._complain(f"{error}; this photo is left out")
            left_out = sum(trial.photo in self._failed for trial, _ in trials)
            raise Unshowable(self._next(trials, place), left_out) from None


class NoSuchTrial(LookupError):
    """No trial or picture has this number."""


class Unshowable(Exception):
    """A picture of a trial cannot be read.

    :param next: place of the trial to go on with; :param left_out: how many cannot be shown.
    """

    def __init__(self, next: int | None, left_out: int) -> None:
        super().__init__("this photo cannot be shown and is left out")
        self.next, self.left_out = next, left_out


def _at(trials: list[Judged], place: int) -> Judged:
    if not 0 <= place < len(trials):
        raise NoSuchTrial
    return trials[place]


class _Addresses:
    """What each address does."""

    def __init__(self, desk: RatingDesk, method: str, rater: str | None, token: str) -> None:
        self.desk, self.method, self.rater = desk, method, rater
        self.html = (STATIC / "rate.html").read_text(encoding="utf-8").replace("{token}", token)

    def page(self, request: Request) -> Response:
        return HTMLResponse(self.html)

    def study(self, request: Request) -> Response:
        return JSONResponse({"method": self.method, "rater": self.rater})

    async def raters(self, request: Request) -> Response:
        body = await _json(request)
        name = body.get("name") if self.rater is None else self.rater
        if not isinstance(name, str) or not name.strip() or len(name) > NAME_LENGTH:
            raise ValueError(f"a name has 1 to {NAME_LENGTH} letters")
        return JSONResponse(await run_in_threadpool(self.desk.join, " ".join(name.split())))

    def trial(self, request: Request) -> Response:
        return JSONResponse(self.desk.trial(**request.path_params))

    def picture(self, request: Request) -> Response:
        return Response(self.desk.picture(**request.path_params), media_type="image/jpeg")

    async def judgements(self, request: Request) -> Response:
        body = await _json(request)
        judge = partial(self.desk.judge, **request.path_params)
        return JSONResponse(await run_in_threadpool(judge, slot=body.get("slot"), stars=body.get("stars")))


async def _json(request: Request) -> dict[str, Any]:
    """The object that a request carries."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ValueError("the request is no JSON object")
    return body


def make_rating_app(
    study: Study,
    store: RatingStore,
    hosts: Hosts,
    token: str,
    *,
    rater: str | None = None,
    complain: Callable[[str], None] = lambda line: None,
) -> Starlette:
    """The application.

    :param hosts: the names it answers to; :param token: that the page gets and must show.
    :param rater: who judges; the page asks for a name without it.
    :param complain: gets one line for each photograph that cannot be shown, and for what else goes wrong.
    """
    to = _Addresses(RatingDesk(study, store, complain), store.method, rater, token)
    trial = "/api/raters/{rater:int}/trials/{place:int}"

    def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, Unshowable):
            return JSONResponse({"error": str(error), "next": error.next, "left_out": error.left_out}, 422)
        if isinstance(error, NoSuchTrial):
            return JSONResponse({"error": "there is no such trial"}, 404)
        if isinstance(error, HTTPException):
            return JSONResponse({"error": error.detail}, error.status_code, headers=dict(error.headers or {}))
        if isinstance(error, ValueError):
            return JSONResponse({"error": str(error)}, 400)
        complain(" ".join(f"{type(error).__name__}: {error}".split()))
        return JSONResponse({"error": "This could not be stored; what was judged before is."}, 500)

    return Starlette(
        routes=[
            Route("/", to.page),
            Route("/api/study", to.study),
            Route("/api/raters", to.raters, methods=["POST"]),
            Route(trial, to.trial),
            Route(f"{trial}/pictures/{{slot:int}}", to.picture),
            Route(f"{trial}/judgements", to.judgements, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, hosts=hosts, token=token)],
        exception_handlers=dict.fromkeys(
            (HTTPException, Unshowable, NoSuchTrial, ValueError, sqlite3.Error, OSError), failed
        ),
    )
