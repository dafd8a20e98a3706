"""The Azure host and the web extension together, over real sockets: the sample app's events prove the order."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pytest

from azure_host_process import ROOT, AzureHost, stage_sample
from local.azure_host import BODY_LIMIT_BYTES
from local.azure_host_json import HostJson
from local.azure_worker import CannotHost
from local.staging import stage


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureHost]:
    with AzureHost(stage_sample(tmp_path_factory.mktemp("azure"))) as running:
        yield running


def _raw(host: AzureHost, request: bytes) -> bytes:
    """What comes back on a connection of its own, to its end."""
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def _echo(host: AzureHost, target: str, headers: bytes = b"", body: bytes = b"") -> dict[str, Any]:
    """The request as the function saw it."""
    request = b"POST %b HTTP/1.1\r\nhost: h\r\nconnection: x-hop, close\r\n%b\r\n%b" % (target.encode(), headers, body)
    head, _, content = _raw(host, request).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    echo: dict[str, Any] = json.loads(content)
    return echo


def test_a_chunk_reaches_the_client_while_the_function_waits(host: AzureHost) -> None:
    with host.stream("/stream/order") as response:
        assert response.readline() == b"one\n"
        host.get("/set/order")
        assert response.read() == b"two\n"
        assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]


def test_a_part_of_the_body_reaches_the_function_before_the_next(host: AzureHost) -> None:
    head = b"POST /mirror HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as connection:
        reader = connection.makefile("rb")
        connection.sendall(head + b"3\r\none\r\n")
        while reader.readline() != b"\r\n":
            pass
        assert reader.readline() + reader.readline() == b"3\r\none\r\n"
        connection.sendall(b"3\r\ntwo\r\n0\r\n\r\n")
        assert reader.read() == b"3\r\ntwo\r\n0\r\n\r\n"
        reader.close()


@pytest.mark.parametrize("action", ["until-left", "silent"])
def test_a_client_that_leaves_is_noticed(host: AzureHost, action: str) -> None:
    with host.connection() as connection:
        connection.request("GET", f"/{action}/left-{action}")
        if action == "until-left":
            assert connection.getresponse().readline() == b"one\n"
    assert host.get(f"/wait/left-{action}") == (200, b"set")


def test_many_streams_run_at_once(host: AzureHost) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(host.stream("/stream/many")) for _ in range(40)]
        assert [stream.readline() for stream in streams] == [b"one\n"] * 40
        host.get("/set/many")
        assert [stream.read() for stream in streams] == [b"two\n"] * 40


@pytest.mark.parametrize("target", ["/raise", "/boom"])
def test_a_failure_before_the_response_is_a_500(host: AzureHost, target: str) -> None:
    status, body = host.get(target)
    assert status == 500
    assert json.loads(body)["error"]["type"] == "server_error"
    assert b"tell nobody" not in body


def test_a_failure_after_the_first_byte_cuts_the_connection(host: AzureHost) -> None:
    with host.stream("/cut") as response:
        assert response.readline() == b"one\n"
        with pytest.raises(IncompleteRead):
            response.read()


def test_an_answer_need_not_wait_for_the_body(host: AzureHost) -> None:
    head = b"POST /refuse HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as connection:
        connection.sendall(head + b"x" * 1000)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "target",
    [
        "/?x",
        "/a?x=&y&z=%20+&x=2",
        "/a%2Fb%3Fc?q=%ff",
        "/v1//double/./dots/../x?y",
        "/%C3%A9%E2%82%AC?%",
        "/%00%0a?a[]=b;c",
    ],
)
def test_the_target_arrives_as_it_was_sent(host: AzureHost, target: str) -> None:
    assert _echo(host, target)["target"] == target


def test_only_the_headers_of_the_connection_are_changed(host: AzureHost) -> None:
    sent = (
        b"x-odd: caf\xc3\xa9 \xff\r\nx-twice: 1\r\nx-twice: 2\r\nx-hop: 1\r\nte: trailers\r\n"
        b"x-ms-invocation-id: mine\r\nx-forwarded-for: 9.9.9.9\r\ncontent-length: 2\r\n"
    )
    echo = _echo(host, "/", sent, b"hi")
    headers = {name: value for name, value in echo["headers"] if name != "x-twice"}
    assert headers.pop("x-ms-invocation-id") != "mine"
    assert headers.pop("x-forwarded-for").startswith("9.9.9.9, 127.0.0.1:")
    assert headers == {"host": "h", "x-odd": "cafÃ© ÿ", "content-length": "2"}
    assert [value for name, value in echo["headers"] if name == "x-twice"] == ["1", "2"]
    assert echo["body"] == "hi"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nhost: h\r\nx-bad: a\x00b\r\nconnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\nbad name: x\r\nconnection: close\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
        b"rubbish\r\n\r\n",
    ],
    ids=["NUL in a value", "space in a name", "raw UTF-8 in the path", "no HTTP"],
)
def test_malformed_requests_are_refused(host: AzureHost, request_bytes: bytes) -> None:
    assert _raw(host, request_bytes).startswith(b"HTTP/1.1 400 ")
    assert host.get("/set/any") == (200, b"set")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/items/7", 200),
        ("DELETE", "/items/7", 200),  # the catch-all takes it
        ("TRACE", "/", 404),
        ("GET", "/locked", 401),
        ("GET", "/admin/host/status", 404),
        ("GET", "/Admin", 404),
        ("GET", "/administrators", 200),
        ("HEAD", "/", 200),
    ],
)
def test_the_host_s_own_answers(host: AzureHost, method: str, target: str, status: int) -> None:
    with host.stream(target, method) as response:
        assert response.status == status


def test_a_client_that_asks_first_is_told_to_go_on(host: AzureHost) -> None:
    head = b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hi")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_route_parameters_reach_the_function(host: AzureHost) -> None:
    assert host.get("/items/7") == (200, b'{"id": "7"}')


def test_an_announced_body_over_the_limit_is_refused(host: AzureHost) -> None:
    head = f"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {BODY_LIMIT_BYTES + 1}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_an_answer_is_not_held_back(host: AzureHost) -> None:
    """Head and body leave in two packets: Nagle's algorithm would keep the second for 40 ms, each time."""
    seconds = []
    with host.connection() as connection:
        for _ in range(20):
            began = time.monotonic()
            connection.request("GET", "/set/any")
            connection.getresponse().read()
            seconds.append(time.monotonic() - began)
    assert min(seconds) < 0.03


def test_the_worker_remembers_no_ended_request(host: AzureHost) -> None:
    for _ in range(20):
        host.get("/set/any")
    assert host.get("/references") == (200, b"1")


def test_silence_and_slowness_end_a_request(tmp_path: Path) -> None:
    with AzureHost(stage_sample(tmp_path), "--idle-timeout", "0.3", "--timeout", "0.6") as host:
        assert host.get("/silent/silence") == (504, b"")
        with host.stream("/until-left/slowness") as response, pytest.raises(IncompleteRead):
            response.read()
        assert host.get("/wait/silence") == (200, b"set")
        assert host.get("/wait/slowness") == (200, b"set")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_open_streams_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with AzureHost(stage_sample(tmp_path)) as host, host.stream("/stream/never") as response:
        assert response.readline() == b"one\n"
        began = time.monotonic()
        host.process.send_signal(number)
        assert host.end() == 0
        assert time.monotonic() - began < 10  # the stream itself would go on for minutes
        assert host.errors == []
        with pytest.raises((IncompleteRead, ConnectionResetError)):
            response.read()


@pytest.mark.parametrize(
    ("function_app", "message"),
    [
        ("raise ValueError('the answer is 42')", "azure host: ValueError: the answer is 42"),
        ("import no_such_module", "azure host: ModuleNotFoundError: No module named 'no_such_module'"),
        ("", "azure host: ValueError: Could not find top level function app instances in function_app.py."),
    ],
)
def test_an_app_that_does_not_index_stops_the_start(tmp_path: Path, function_app: str, message: str) -> None:
    (stage_sample(tmp_path) / "function_app.py").write_text(function_app)
    host = AzureHost(tmp_path)
    assert host.end() == 1
    assert host.errors == [f"{message}\n"]


def test_a_taken_port_stops_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        host = AzureHost(stage_sample(tmp_path), "--port", str(port))
        assert host.end() == 1
    assert host.errors == [f"azure host: cannot listen on 127.0.0.1:{port}: Address already in use\n"]


def test_the_gateway_without_its_settings_stops_the_start(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    host = AzureHost(stage("azure", tmp_path / "app"), env=environ)
    assert host.end() == 1
    assert len(host.errors) == 1
    assert host.errors[0].startswith("azure host: ConfigurationError: OPENAI_API_KEY is not set")


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ('{"version": "2.0"}', HostJson("api", 1800)),
        ('{"extensions": {"http": {"routePrefix": ""}}, "functionTimeout": "01:00:05"}', HostJson("", 3605)),
        ('{"functionTimeout": "-1"}', HostJson("api", float("inf"))),
    ],
)
def test_host_json_is_read(tmp_path: Path, content: str, read: HostJson) -> None:
    (tmp_path / "host.json").write_text(content)
    assert HostJson.read(tmp_path) == read


@pytest.mark.parametrize("content", ["{", "[]", '{"functionTimeout": "soon"}'])
def test_a_wrong_host_json_stops_the_start(tmp_path: Path, content: str) -> None:
    (tmp_path / "host.json").write_text(content)
    with pytest.raises(CannotHost, match=r"host\.json: "):
        HostJson.read(tmp_path)


def test_the_gateway_s_deadline_is_the_host_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-any")
    function_app = importlib.import_module("function_app")
    assert HostJson.read(ROOT / "azure") == HostJson("", function_app._TIMEOUT_SECONDS)
