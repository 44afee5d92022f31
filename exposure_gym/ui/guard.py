"""Nobody but the page may drive the server: host, origin, token and size of every request are checked first.

A page of another site can send requests to this machine, and a name of its own can be made to point to it (DNS
rebinding). Against the latter the ``Host`` header must be one of ours; against the former every request that changes
something must come from our own origin, and every request to ``/api`` must carry a token that only our page knows.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from hmac import compare_digest

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "X-Exposure-Token"

MAX_JSON = 64 * 1024
"""Bytes of a request that is no upload."""

MAX_UPLOAD = 256 * 1024 * 1024
"""Bytes of a photograph."""

_SAFE = ("GET", "HEAD")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Hosts:
    """The names that this server answers to.

    :param host: what it binds to; :param port: where. Bound to all addresses of the machine, it answers to the
        machine's name and to any address, for addresses cannot be rebound.
    """

    def __init__(self, host: str, port: int) -> None:
        names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host.lower()}
        self.any_address = host in ("0.0.0.0", "::", "")
        if self.any_address:
            names |= {socket.gethostname().lower()}
        self.port = port
        self.names = {f"{name}:{port}" for name in names} | (names if port == 80 else set())

    def __contains__(self, host: str) -> bool:
        host = host.lower()
        return host in self.names or (self.any_address and self._is_address(host))

    def _is_address(self, host: str) -> bool:
        match = re.fullmatch(r"\[([0-9a-f:.]+)\]:(\d+)|([0-9.]+):(\d+)", host)
        if match is None or int(match[2] or match[4]) != self.port:
            return False
        try:
            ipaddress.ip_address(match[1] or match[3])
        except ValueError:
            return False
        return True

    def is_origin(self, origin: str) -> bool:
        """Whether an ``Origin`` header is this server's."""
        return origin.startswith("http://") and origin.removeprefix("http://") in self


class Guard:
    """ASGI middleware: refuses what must not come in, and sends the headers that keep the page to itself.

    :param token: that requests to ``/api`` must carry.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, token: str, max_upload: int = MAX_UPLOAD) -> None:
        self.app, self.hosts, self.token, self.max_upload = app, hosts, token, max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        limit = self.max_upload if scope["path"] == "/api/upload" else MAX_JSON
        refusal = self._refusal(scope, limit)
        if refusal is not None:
            status, error = refusal
            # What was not read of the request must not be taken for the next one.
            response = JSONResponse({"error": error}, status, headers={"Connection": "close"})
            await response(scope, receive, send_guarded)
            return
        await self.app(scope, _limited(receive, limit), send_guarded)

    def _refusal(self, scope: Scope, limit: int) -> tuple[int, str] | None:
        """Status and reason for not letting a request in."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return 403, "this server does not go by that name; use the address that was printed at the start"
        if scope["method"] not in _SAFE:
            if any(not self.hosts.is_origin(origin) for origin in headers.getlist("origin")):
                return 403, "requests from other pages are refused"
            if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return 403, "requests from other pages are refused"
        if scope["path"].startswith("/api/") and not compare_digest(
            headers.get(TOKEN_HEADER, "").encode(), self.token.encode()
        ):
            return 403, "the token is missing or that of an earlier start; reload the page"
        length = headers.get("content-length", "0")
        if not re.fullmatch(r"\d{1,18}", length):
            return 400, "Content-Length is no number"
        if int(length) > limit:
            return 413, too_large(limit)
        return None


def _limited(receive: Receive, limit: int) -> Receive:
    """The same, but no more bytes than this: a client need not say beforehand how many there will be."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > limit:
                raise HTTPException(413, too_large(limit), {"Connection": "close"})
        return message

    return limited


def too_large(limit: int) -> str:
    """What is said of a request with too many bytes."""
    size = f"{limit // 2**20} MB" if limit >= 2**20 else f"{limit // 2**10} kB"
    return f"this is larger than {size}, the limit; make it smaller"
