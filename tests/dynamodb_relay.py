"""A relay between the store and its DynamoDB, which counts the requests and spoils those that a test wants spoilt."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter, deque
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["throttle", "deny", "lose answer", "stay silent"]

_ERRORS: dict[Fault, tuple[str, str]] = {
    "throttle": ("ProvisionedThroughputExceededException", "The level of configured throughput was exceeded."),
    "deny": ("InvalidSignatureException", "It does not match.\n\nThe Canonical String is 'token:very-secret'"),
}
_SILENCE_SECONDS = 30.0


class Relay:
    """Listens on `url` until closed."""

    def __init__(self, target: str) -> None:
        self.requests: Counter[str] = Counter()
        """How many came, by operation."""
        self.faults: deque[Fault | None] = deque()
        """What happens to the next requests, one each: those with None pass, and those after them."""
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
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and fault in _ERRORS:
            code, message = _ERRORS[fault]
            _answer(client, 400, json.dumps({"__type": f"com.amazonaws#{code}", "message": message}).encode())
            return
        if fault == "stay silent":
            self._closing.wait(_SILENCE_SECONDS)
        else:
            answer = self._forward(client, body)
            if fault is None:
                _answer(client, *answer)
                return
        client.close_connection = True

    def _forward(self, client: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        with contextlib.closing(HTTPConnection(self._target, timeout=10)) as connection:
            connection.request("POST", "/", body, {**dict(client.headers), "Host": self._target})
            response = connection.getresponse()
            return response.status, response.read()


def _answer(client: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    client.send_response(status)
    client.send_header("Content-Type", "application/x-amz-json-1.0")
    client.send_header("Content-Length", str(len(body)))
    client.end_headers()
    client.wfile.write(body)


@contextlib.contextmanager
def relaying(target: str) -> Iterator[Relay]:
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()
