"""What the Azure host tells a client when the worker's side fails in ways that Microsoft's own worker never does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

import pytest

from local.azure_exchange import Limits
from local.azure_front import Front
from local.azure_routes import Routes
from local.azure_worker import Function, Worker

_FUNCTION = Function("id", "gateway", "req", "{*path}", frozenset({"POST"}), "anonymous")
_LIMITS = Limits(body_bytes=10, idle_seconds=5, total_seconds=5)
_CHUNKED = [(b"host", b"h"), (b"transfer-encoding", b"chunked")]

WebServer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class FakeWorker(Worker):
    """Its function ends at once, with `error`."""

    def __init__(self, http_address: tuple[str, int], error: str | None) -> None:
        super().__init__(None, (_FUNCTION,), http_address)
        self._error = error

    async def invoke(self, function: Function, invocation_id: str, route_parameters: Mapping[str, str]) -> str | None:
        return self._error


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _dropping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def _breaking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
    await writer.drain()


async def _ask(address: tuple[str, int], error: str | None, chunks: list[bytes]) -> list[Any]:
    """The messages that the client's server is given: a status, and parts of the body."""
    front = Front(FakeWorker(address, error), Routes([_FUNCTION], ""), _LIMITS)
    sent: list[Any] = []
    body = iter(chunks)

    async def receive() -> MutableMapping[str, Any]:
        chunk = next(body, None)
        if chunk is None:
            await asyncio.Event().wait()  # the client stays
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("status", message.get("body")))

    path = {"path": "/", "raw_path": b"/", "query_string": b""}
    await front({"type": "http", "method": "POST", "headers": _CHUNKED, "client": None, **path}, receive, send)
    return sent


async def _ask_in_front_of(web_server: WebServer, error: str | None, chunks: list[bytes]) -> list[Any]:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await web_server(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        closed.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        sent = await _ask(server.sockets[0].getsockname(), error, chunks)
        await closed.wait()
    return sent


@pytest.mark.parametrize(
    ("web_server", "error", "chunks", "sent"),
    [
        pytest.param(_silent, None, [b"12345", b"678901", b""], [413, b""], id="a body that grows over the limit"),
        pytest.param(_silent, "KeyError", [b""], [500, b""], id="a failure that the web server never hears of"),
        pytest.param(_dropping, None, [b""], [502, b""], id="a web server that hangs up"),
        pytest.param(_breaking, None, [b""], [200, b"half"], id="one that breaks off: no end, so the server cuts"),
    ],
)
def test_the_client_is_told(web_server: WebServer, error: str | None, chunks: list[bytes], sent: list[Any]) -> None:
    assert asyncio.run(_ask_in_front_of(web_server, error, chunks)) == sent


def test_no_web_server_is_a_502() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    assert asyncio.run(_ask(address, None, [b""])) == [502, b""]
