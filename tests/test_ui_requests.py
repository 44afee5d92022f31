"""What reaches the editor's server from outside: uploads, and requests that mean no good."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from editor_tools import (
    BASE,
    EXPOSURE,
    PORT,
    TOKEN,
    Page,
    close_stores,
    editor,
    first_page,
    open_studio,
    some_photos,
    two_photos,
)

from exposure_gym.ui.guard import HEADERS, TOKEN_HEADER, Hosts
from exposure_gym.ui.uploads import clean_name

__all__ = ["close_stores", "first_page", "two_photos"]  # fixtures

# -- uploads -----------------------------------------------------------------------------------------------------------


def test_an_upload_joins_the_session(page: Page, tmp_path: Path, photos: list[Path]) -> None:
    data = photos[0].read_bytes()
    for name, stored in (("my photo.png", "my photo.png"), ("../../my photo.PNG", "my photo-2.png")):
        answer = page.post(f"/api/upload?name={name}", content=data)
        assert answer.status_code == 200, answer.text
        assert answer.json()["photos"][-1]["name"] == stored
        assert (tmp_path / "out" / "photos" / stored).read_bytes() == data
    assert page.photo(3)["width"] == 120
    assert len(page.edit(0, EXPOSURE, 3)["steps"]) == 1
    assert not list((tmp_path / "out" / "photos").glob(".*"))
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize(
    ("name", "data", "status", "said"),
    [
        ("a.png", b"no picture", 422, "a.png: "),
        ("a.exe", b"MZ", 400, "no photograph's name"),
        ("", b"", 400, "no photograph's name"),
        ("a.jpg", b"", 422, "a.jpg: "),
    ],
)
def test_uploads_that_are_no_photographs(
    page: Page, tmp_path: Path, name: str, data: bytes, status: int, said: str
) -> None:
    answer = page.post(f"/api/upload?name={name}", content=data)
    assert answer.status_code == status
    assert said in answer.json()["error"]
    folder = tmp_path / "out" / "photos"
    assert not folder.exists() or not list(folder.iterdir())
    assert len(page.see("/api/session")["photos"]) == 2


def test_uploads_are_limited_while_they_arrive(tmp_path: Path, photos: list[Path]) -> None:
    page = Page(open_studio(tmp_path / "out", photos), max_upload=1 << 20)
    sent = 0

    def endless() -> Any:
        nonlocal sent
        for _ in range(10_000):
            sent += 1 << 16
            yield bytes(1 << 16)

    for content in (bytes((1 << 20) + 1), endless()):
        answer = page.post("/api/upload?name=a.png", content=content)
        assert answer.status_code == 413
        assert "1 MB" in answer.json()["error"]
    assert not list((tmp_path / "out").glob("photos/*"))
    assert page.post("/api/photos/1/edits", content=b" " * 100_000).status_code == 413


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a.jpg", "a.jpg"),
        ("C:\\photos\\a.JPEG", "a.jpeg"),
        ("../../etc/passwd.png", "passwd.png"),
        ("..png", "photo.png"),
        (".hidden.png", "hidden.png"),
        ("a\x00\nb.tif", "a--b.tif"),
        ("con.png", "con-.png"),
        ("<script>.png", "script.png"),
        ("Füße 3.dng", "Füße 3.dng"),
        ("x" * 300 + ".png", "x" * 80 + ".png"),
        ("\ud800.png", "photo.png"),
    ],
)
def test_names_are_made_harmless(name: str, clean: str) -> None:
    assert clean_name(name) == clean


# -- hostile requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", "", "10.0.0.1:8765"]
)
def test_other_names_of_the_server_are_refused(page: Page, host: str) -> None:
    for path in ("/", "/static/style.css", "/api/session"):
        assert page.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"LOCALHOST:{PORT}", f"[::1]:{PORT}"])
def test_its_own_names_are_not(page: Page, host: str) -> None:
    assert page.get("/api/session", headers={"host": host}).status_code == 200


def test_a_server_for_all_answers_to_addresses_but_not_to_names() -> None:
    hosts = Hosts("0.0.0.0", PORT)
    assert f"192.168.1.7:{PORT}" in hosts
    assert f"[fe80::1]:{PORT}" in hosts
    assert f"192.168.1.7:{PORT + 1}" not in hosts
    assert f"999.1.1.1:{PORT}" not in hosts
    assert f"evil.example:{PORT}" not in hosts
    assert "192.168.1.7:8765" in Hosts("192.168.1.7", PORT)
    assert "192.168.1.8:8765" not in Hosts("192.168.1.7", PORT)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_pages_change_nothing(page: Page, headers: dict[str, str]) -> None:
    before = page.photo()
    answer = page.post("/api/photos/1/edits", json={"step": 0, "edit": EXPOSURE}, headers=headers)
    assert answer.status_code == 403
    assert answer.json() == {"error": "requests from other pages are refused"}
    assert page.photo() == before
    own = {"origin": BASE, "sec-fetch-site": "same-origin"}
    assert page.post("/api/photos/1/edits", json={"step": 0, "edit": EXPOSURE}, headers=own).status_code == 200


def test_nothing_without_the_token(page: Page) -> None:
    for token in ("", "wrong", TOKEN + "x", TOKEN[:-1], "é"):
        for method, path in (
            ("GET", "/api/session"),
            ("POST", "/api/session"),
            ("GET", "/api/photos/1/picture?step=0"),
        ):
            answer = page.request(method, path, headers={TOKEN_HEADER: token.encode()})
            assert answer.status_code == 403
            assert "token" in answer.json()["error"]


def test_headers_keep_the_page_to_itself(page: Page) -> None:
    for answer in (page.get("/api/session"), page.get("/api/none"), page.get("/", headers={"host": "evil"})):
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert "access-control-allow-origin" not in answer.headers
    assert "'unsafe" not in HEADERS["Content-Security-Policy"]
    assert page.options("/api/session").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/..%5cserver.py",
        "/api/photos/../../etc/passwd",
        "/api/photos/-1",
        "/api/photos/1e3",
        "/api/photos/99999999999999999999999",
        "/api/photos/1/picture/../../../x",
    ],
)
def test_paths_lead_nowhere(page: Page, path: str) -> None:
    assert page.get(path).status_code == 404


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"3", b"null", b'"x"', b"\xff", b"[" * 50_000, b'{"step": 0.5}', b'{"step": true}', b'{"step": "0"}'],
)
def test_bodies_that_are_nothing(page: Page, body: bytes) -> None:
    page.photo()
    answer = page.post("/api/photos/1/edits", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].isprintable()


def test_raw_requests_to_the_real_server(tmp_path: Path) -> None:
    """What a browser would never send."""
    some_photos(tmp_path / "in", 1)
    with editor(tmp_path / "in", tmp_path / "out") as (_, client):
        port = client.base_url.port
        own = f"Host: 127.0.0.1:{port}"
        token = f"X-Exposure-Token: {client.headers['X-Exposure-Token']}"

        def status(*lines: str, body: bytes = b"") -> int:
            """Of the answer, with the connection closed by the server or by us."""
            with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
                line.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
                answer = line.makefile("rb").readline()
            return int(answer.split()[1]) if answer else 0

        assert status("GET / HTTP/1.1", own) == 200
        assert status("GET / HTTP/1.0") == 403
        assert status("GET / HTTP/1.1", own, "Host: evil.example") in (400, 403)
        assert status("GET http://evil.example/ HTTP/1.1", "Host: evil.example") == 403
        assert status("GET /api/session HTTP/1.1", own) == 403
        assert status("GET /api/session HTTP/1.1", own, token) == 200
        assert status("GET //api/session HTTP/1.1", own) == 404
        assert status("GET /static/../../../../etc/passwd HTTP/1.1", own) == 404
        assert status("GET /static/%00 HTTP/1.1", own) == 404
        assert status("POST /api/upload?name=a.png HTTP/1.1", own, token, f"Content-Length: {10**12}") == 413
        assert status("POST /api/session HTTP/1.1", own, token, "Content-Length: -1") == 400
        chunked = ("POST /api/session HTTP/1.1", own, token, "Transfer-Encoding: chunked")
        assert status(*chunked, body=b"20000\r\n" + b" " * 0x20000 + b"\r\n") == 413
        assert status(*chunked, body=b"zz\r\n") == 400
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
        assert status("GET /api/session HTTP/1.1", own, *upgrade) == 403
        upload = ("POST /api/upload?name=a.png HTTP/1.1", own, token, "Content-Length: 9", "", "ab")
        with socket.create_connection(("127.0.0.1", port)) as line:  # and gone in the middle
            line.sendall("\r\n".join(upload).encode())
        for _ in range(100):
            assert client.get("/api/session").status_code == 200
            if not list((tmp_path / "out").glob("photos/*")):
                break
            time.sleep(0.1)
        else:
            pytest.fail("half an upload was left")
