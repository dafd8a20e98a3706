"""A proxy that passes everything on as it is and keeps what it passed on, test by test."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from openai_suite_plugin import TEST_PATH

_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)"?')
_OWN_TO_A_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """What upstream received. Two are equal if upstream cannot tell them apart by more than who is calling."""

    method: str
    target: str
    """Path and query, as on the wire."""
    content_type: str
    body: bytes

    @classmethod
    def of(cls, method: str, target: str, content_type: str, body: bytes) -> RecordedRequest:
        """A form's boundary is chosen at random for each request: here it is always the same one."""
        if boundary := _BOUNDARY.search(content_type):
            body = body.replace(boundary[1].encode("latin-1"), b"BOUNDARY")
            content_type = content_type.replace(boundary[1], "BOUNDARY")
        return cls(method, target, content_type, body)

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.content_type} {self.body[:300]!r}".rstrip()


@dataclass(slots=True)
class RecordingProxy:
    """Where it listens, and what came through, by the test that was running."""

    upstream: str
    """Host and port."""
    address: str = ""
    requests: dict[str, list[RecordedRequest]] = field(default_factory=dict)
    on_test: Callable[[str], None] = lambda _: None
    """Called with the name of each test before it runs; the test waits for it."""
    _test: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def last_requests(self) -> list[RecordedRequest]:
        """Those of the test that runs, or ran last."""
        return self.requests.get(self._test, [])

    @classmethod
    @contextlib.contextmanager
    def before(cls, upstream_url: str) -> Iterator[RecordingProxy]:
        proxy = cls(urlsplit(upstream_url).netloc)
        server = _Server(proxy)
        proxy.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def begin(self, test: str) -> None:
        self.on_test(test)
        with self._lock:
            self._test = test
            self.requests[test] = []

    def record(self, request: RecordedRequest) -> None:
        with self._lock:
            self.requests.setdefault(self._test, []).append(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A thread ends with its client's connection, which may be after the proxy.
    block_on_close = False
    request_queue_size = 100

    def __init__(self, proxy: RecordingProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that closes early, as some of the tests do, is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client's, with one of its own to upstream."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(self.server.proxy.upstream, timeout=60)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self._body()
        if self.path.startswith(TEST_PATH):
            self.server.proxy.begin(unquote(self.path.removeprefix(TEST_PATH)))
            self.send_response_only(204)
            self.end_headers()
        else:
            content_type = self.headers.get("content-type", "")
            self.server.proxy.record(RecordedRequest.of(self.command, self.path, content_type, body))
            self._pass_on(body)
        self.wfile.flush()

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _pass_on(self, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN_TO_A_CONNECTION}
        try:
            self._upstream.request(self.command, self.path, body or None, headers)
            answer = self._upstream.getresponse()
        except (ConnectionError, http.client.BadStatusLine):  # it was idle for too long
            self._upstream.close()
            self._upstream.request(self.command, self.path, body or None, headers)
            answer = self._upstream.getresponse()
        content = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OWN_TO_A_CONNECTION:
                self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
