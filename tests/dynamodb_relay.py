"""A relay between the store and its DynamoDB, which counts the requests and spoils those that a test wants spoilt."""

from __future__ import annotations

import contextlib
import json
import threading
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["throttle", "fail", "deny", "expire", "garble", "damage", "hang up", "lose answer", "stay silent"]

_ERRORS: dict[Fault, tuple[int, str, str]] = {
    "throttle": (400, "ProvisionedThroughputExceededException", "The level of configured throughput was exceeded."),
    "fail": (500, "InternalServerError", "The request processing has failed because of an unknown error."),
    "deny": (400, "InvalidSignatureException", "It does not match.\n\nThe Canonical String is 'token:very-secret'"),
    "expire": (400, "ExpiredTokenException", "The security token included in the request is expired"),
}
_SILENCE_SECONDS = 30.0


class Relay:
    """Listens on `url` until closed."""

    def __init__(self, target: str) -> None:
        self.requests: Counter[str] = Counter()
        """How many came, by operation."""
        self.faults: deque[Fault | None] = deque()
        """What happens to the next requests, one each: those with None pass, and those after them."""
        self.last_headers: Mapping[str, str] = {}
        """Of the last request; lower-case names."""
        self.last_body = b""
        self._target = urlsplit(target).netloc
        self._closing = threading.Event()
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                relay.pass_on(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def pass_on(self, client: BaseHTTPRequestHandler) -> None:
        self.requests[client.headers["X-Amz-Target"].partition(".")[2]] += 1
        body = client.rfile.read(int(client.headers["Content-Length"]))
        self.last_headers, self.last_body = {name.lower(): value for name, value in client.headers.items()}, body
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and fault in _ERRORS:
            status, code, message = _ERRORS[fault]
            _answer(client, status, json.dumps({"__type": f"com.amazonaws#{code}", "message": message}).encode())
            return
        if fault == "garble":
            _answer(client, 200, b"<html>Welcome to this hotel</html>")
            return
        if fault == "stay silent":
            self._closing.wait(_SILENCE_SECONDS)
        elif fault != "hang up":
            answer = self._forward(client, body)
            if fault in (None, "damage"):
                _answer(client, *answer, is_damaged=fault is not None)
                return
        client.close_connection = True

    def _forward(self, client: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        with contextlib.closing(HTTPConnection(self._target, timeout=10)) as connection:
            connection.request("POST", "/", body, {**dict(client.headers), "Host": self._target})
            response = connection.getresponse()
            return response.status, response.read()


def _answer(client: BaseHTTPRequestHandler, status: int, body: bytes, *, is_damaged: bool = False) -> None:
    client.send_response(status)
    client.send_header("Content-Type", "application/x-amz-json-1.0")
    client.send_header("Content-Length", str(len(body)))
    client.send_header("x-amz-crc32", str(zlib.crc32(body[1:] if is_damaged else body)))
    client.end_headers()
    client.wfile.write(body)


@contextlib.contextmanager
def relaying(target: str) -> Iterator[Relay]:
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()
