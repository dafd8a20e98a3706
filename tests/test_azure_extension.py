"""The web extension, served on a real socket to a stand-in for the worker."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import azurefunctions.extensions.base as base
import pytest

import http_stream
from http_stream import Application, Receive, Scope, Send

_REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\nx-ms-invocation-id: id-1\r\nconnection: close\r\n\r\n"
_SECRET = "tell nobody"


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError(_SECRET)


async def _fail_later(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    raise RuntimeError(_SECRET)


@asynccontextmanager
async def _served(application: Application) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the extension, whose worker answers every invocation with `application`."""

    async def invoke(request: http_stream.Request) -> http_stream.Response:
        return http_stream.Response(application)

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    web_app = http_stream.WebApp()
    web_app.route(invoke)
    web_server = http_stream.WebServer("127.0.0.1", port, web_app)
    serving = asyncio.create_task(web_server.serve())
    try:
        reader, writer = await _connect(port)
        yield reader, writer
        writer.close()
    finally:
        web_server.server.should_exit = True
        await serving


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(5):
        while True:
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0)


def _ask(application: Application) -> tuple[bytes, bytes]:
    """Head and body of the answer, up to the end of the connection."""

    async def ask() -> bytes:
        async with _served(application) as (reader, writer):
            writer.write(_REQUEST)
            return await reader.read()

    head, _, body = asyncio.run(ask()).partition(b"\r\n\r\n")
    return head, body


def test_the_worker_knows_the_types() -> None:
    assert base.RequestTrackerMeta.check_type(http_stream.Request)
    assert base.ResponseTrackerMeta.check_type(http_stream.Response)


def test_the_answer_is_the_application_s_own_without_additions() -> None:
    head, body = _ask(_hello)
    assert (head.lower(), body) == (b"http/1.1 200 ok\r\ncontent-length: 5\r\nconnection: close", b"hello")


def test_a_failure_is_a_500_in_the_shape_that_sdks_know(caplog: pytest.LogCaptureFixture) -> None:
    head, body = _ask(_fail)
    assert head.startswith(b"HTTP/1.1 500 ")
    assert json.loads(body)["error"]["code"] == "internal_error"
    assert "RuntimeError" in caplog.text
    assert _SECRET not in caplog.text + body.decode()


def test_a_failure_after_the_first_byte_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    _, body = _ask(_fail_later)
    assert body == b"5\r\nhello\r\n"  # and not the empty chunk that would end it
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize("worker", ["azure_functions_runtime.http_v2", "azure_functions_worker.http_v2"])
def test_the_worker_s_record_is_dropped(worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    references = {"id-1": object(), "id-2": object()}
    coordinator = SimpleNamespace(_context_references=references)
    monkeypatch.setitem(sys.modules, worker, SimpleNamespace(http_coordinator=coordinator))
    _ask(_hello)
    assert list(references) == ["id-2"]


def test_signals_stay_the_worker_s() -> None:
    async def while_serving() -> object:
        async with _served(_hello):
            return signal.getsignal(signal.SIGTERM)

    assert asyncio.run(while_serving()) == signal.getsignal(signal.SIGTERM)
