"""A web server on this machine that serves a few files and misbehaves on demand."""

from __future__ import annotations

import re
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Site:
    """Files by name, served while the context lasts; the attributes say how."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = dict(files)
        self.version = 0
        self.requests: list[dict[str, str | None]] = []
        self.send: list[int] = []
        """Bytes to send before the line breaks, for each of the next answers."""
        self.status: list[int] = []
        """Of the next answers, instead of a file."""
        self.ranges = True
        self.if_range = True
        self.lengths = True
        self.validators = "etag"
        self.extent: str | None = None
        """What to say instead of the true Content-Range."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def replace(self, name: str, data: bytes) -> None:
        """Another version of a file."""
        if self.files[name] != data:
            self.files[name] = data
            self.version += 1

    def date(self) -> str:
        return formatdate(1_500_000_000 + self.version, usegmt=True)

    def known_as(self) -> dict[str, str]:
        tag, date = {"ETag": f'"{self.version}"'}, {"Last-Modified": self.date()}
        weak = {"ETag": f'W/"{self.version}"'} | date
        return {"etag": tag, "date": date, "weak": weak, "none": {}}[self.validators]


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            site.requests.append({name: self.headers.get(name) for name in ("Range", "If-Range")})
            data = site.files.get(self.path.lstrip("/"))
            if site.status or data is None:
                self.send_error(site.status.pop(0) if site.status else 404)
                return
            start = self._start()
            if start is not None and start >= len(data):
                self.send_error(416)
                return
            self.send_response(200 if start is None else 206)
            if start is not None:
                self.send_header("Content-Range", site.extent or f"bytes {start}-{len(data) - 1}/{len(data)}")
            body = data[start or 0 :]
            if site.lengths:
                self.send_header("Content-Length", str(len(body)))
            for name, value in site.known_as().items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: site.send.pop(0)] if site.send else body)

        def _start(self) -> int | None:
            """The byte that is asked for, unless all of the file is to be sent."""
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            condition = self.headers.get("If-Range")
            stale = condition is not None and condition not in site.known_as().values()
            return int(match[1]) if match and site.ranges and not (site.if_range and stale) else None

    return Handler
