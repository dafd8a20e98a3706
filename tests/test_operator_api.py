"""What the command line's HTTP makes of services that are not as they should be."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from core.operator_api import Answer, HttpTransport, OperatorApi, Refused


@contextlib.contextmanager
def _serving(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A server that always answers the same; gives its URL, and the paths that it is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has there
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def _call(url: str) -> None:
    OperatorApi(HttpTransport(url, "admin-key")).call("GET", "/apps")


def test_the_key_goes_nowhere_else() -> None:
    with (
        _serving(200, b"{}") as (elsewhere, asked_there),
        _serving(307, b"", location=f"{elsewhere}/manage/apps") as (url, asked),
        pytest.raises(Refused, match="leads elsewhere"),
    ):
        _call(url)
    assert (asked, asked_there) == (["/manage/apps"], [])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Bad gateway</html>", "status 502, and is not one of Trefoil's"),
        (b"[]", "status 502, and is not one of Trefoil's"),
        (b'{"error": "no"}', "status 502, and is not one of Trefoil's"),
        (b'{"error": {"message": "two\\nlines", "code": null}}', "^two lines$"),
        (b'{"error": {"message": "Unknown URL", "code": "unknown_url"}}', "no admin API at this URL"),
    ],
)
def test_an_error_is_one_line(body: bytes, said: str) -> None:
    with _serving(502, body) as (url, _), pytest.raises(Refused, match=said):
        _call(url)


def test_a_success_that_is_no_json() -> None:
    with _serving(200, b"<html>Welcome</html>") as (url, _), pytest.raises(Refused, match="not one of Trefoil's"):
        _call(url)


class _Paged:
    """Answers with the numbers from 1 to 5, two a page."""

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        after = int(parse_qs(urlsplit(path).query).get("after", ["0"])[0])
        data = [{"id": str(number)} for number in range(after + 1, min(after + 3, 6))]
        page = {"data": data, "last_id": data[-1]["id"], "has_more": after + 2 < 5}
        return Answer(200, json.dumps(page).encode())

    def close(self) -> None:
        pass


def test_lists_are_whole_however_long() -> None:
    assert [one["id"] for one in OperatorApi(_Paged()).all("/apps")] == ["1", "2", "3", "4", "5"]
