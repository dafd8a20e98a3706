"""The HTTP client against servers that do all that servers do, over TCP and TLS, on asyncio's event loop and uvloop."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import random
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop

from core import tls
from core.http_client import HttpClient, InvalidTarget, target_of
from core.http_connection import (
    ConnectFailed,
    ConnectTimedOut,
    CutOff,
    Dropped,
    HttpAnswer,
    HttpConnection,
    HttpError,
    Silence,
)
from raw_server import Certified, Peer, RawServer, Script

pytestmark = pytest.mark.anyio

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"transfer-encoding: chunked\r\n\r\n"
_TEST_SECONDS = 60.0
_LARGE_BYTES = 10_000_000
_HELD_BYTES = 800_000
"""What of an answer may wait in this process: the client's bound, a piece that was just read, and TLS's buffers."""


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified.made_in(tmp_path_factory.mktemp("certificate"))


@dataclass(slots=True)
class Calls:
    client: HttpClient
    server: RawServer

    async def get(self, target: str = "/") -> HttpAnswer:
        return await self.client.send("GET", target, {})

    async def body(self, target: str = "/") -> bytes:
        return await (await self.get(target)).read()

    async def post(self, body: bytes) -> HttpAnswer:
        return await self.client.send("POST", "/", {}, body)


@dataclass(slots=True)
class Net:
    """How the client and the server are connected."""

    certified: Certified | None

    @asynccontextmanager
    async def calling(self, script: Script, *, silence_seconds: float = 30.0) -> AsyncIterator[Calls]:
        """Nothing is left behind: no connection, no task, no complaint of the event loop."""
        loop, complaints = asyncio.get_running_loop(), list[dict[str, Any]]()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        tasks = asyncio.all_tasks()
        async with asyncio.timeout(_TEST_SECONDS), RawServer.playing(script, self._server_tls) as server:
            client = HttpClient(server.url, connect_seconds=10, silence_seconds=silence_seconds)
            try:
                yield Calls(client, server)
            finally:
                await client.close()
            await server.all_ended()
            while asyncio.all_tasks() != tasks:  # noqa: ASYNC110 - the server's handshakes end a little later
                await asyncio.sleep(0.01)
        assert complaints == []

    @property
    def _server_tls(self) -> ssl.SSLContext | None:
        return self.certified.server if self.certified else None


@pytest.fixture(params=["tcp", pytest.param("tls", marks=pytest.mark.slow)])
def net(request: pytest.FixtureRequest, certified: Certified, monkeypatch: pytest.MonkeyPatch) -> Net:
    monkeypatch.setattr(tls, "context", lambda: certified.client)
    return Net(certified if request.param == "tls" else None)


@pytest.fixture
def tcp() -> Net:
    """For what TLS has no part in."""
    return Net(None)


@pytest.fixture(autouse=True)
def no_warning(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def _whole(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"content-length: %d" % len(body), *headers, b"", body])


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def _target(head: bytes) -> bytes:
    return head.split(b" ", 2)[1]


def _always(answer: bytes) -> Script:
    async def script(peer: Peer) -> None:
        while (await peer.request())[0]:
            await peer.send(answer)

    return script


async def _echo(peer: Peer) -> None:
    while head := (await peer.request())[0]:
        await peer.send(_whole(_target(head)))


def _first(odd: Script) -> Script:
    """One odd connection; those after it tell the request's target."""

    async def script(peer: Peer) -> None:
        await (_echo if peer.number else odd)(peer)

    return script


def _sends(data: bytes, end: Callable[[Peer], None] = lambda peer: peer.writer.close()) -> Script:
    """What the server sends after it got a request, and how the connection ends."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        await asyncio.sleep(0.02)
        end(peer)

    return script


def _held(data: bytes) -> Script:
    """What the server sends before it waits for the client to leave."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        await peer.client_left()

    return script


# Answers


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    sent: bytes
    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    is_reused: bool = True


_SAMPLES = [
    Sample("content-length", _whole(b"hello"), b"hello", headers=(("content-length", "5"),)),
    Sample("content-length 0", _whole(b"")),
    Sample("204", b"HTTP/1.1 204 No Content\r\n\r\n", status=204),
    Sample("304", b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", status=304, headers=(("etag", "x"),)),
    Sample("chunked", _CHUNKED + _chunk(b"hel") + _chunk(b"lo") + b"0\r\n\r\n", b"hello"),
    Sample("chunk extensions", _CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n', b"hello"),
    Sample("chunked in capitals", _OK + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", b"a"),
    Sample("chunked, spaces", _OK + b"transfer-encoding:   chunked  \r\n\r\n1\r\na\r\n0\r\n\r\n", b"a"),
    Sample(
        "trailers",
        _CHUNKED + b"1\r\na\r\n0\r\nx-late: 1\r\ntransfer-coding: gzip\r\n\r\n",
        b"a",
        headers=(("transfer-encoding", "chunked"), ("x-late", "")),
    ),
    Sample("hint 100", b"HTTP/1.1 100 Continue\r\n\r\n" + _whole(b"hello"), b"hello"),
    Sample(
        "hints 103",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx: 1\r\n\r\n" * 3 + _whole(b"hello", b"x: 2"),
        b"hello",
        headers=(("link", ""), ("x", "2")),
    ),
    Sample("repeated headers", _whole(b"", b"x: 1", b"X: 2", b"x:3"), headers=(("x", "1, 2, 3"),)),
    Sample("empty values", _whole(b"", b"x:", b"y: ", b"z: 1"), headers=(("x", ""), ("y", ""), ("z", "1"))),
    Sample("latin-1", _whole(b"", b"x: \xe4\xff"), headers=(("x", "äÿ"),)),
    Sample("no reason", b"HTTP/1.1 200\r\ncontent-length: 1\r\n\r\na", b"a"),
    Sample("status 599", b"HTTP/1.1 599 Odd\r\ncontent-length: 1\r\n\r\na", b"a", status=599),
    Sample("lines before", b"\r\n\r\n" + _whole(b"a"), b"a"),
    Sample("line after", _whole(b"a") + b"\r\n", b"a"),
    Sample("HTTP/1.0", b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na", b"a", is_reused=False),
    Sample("HTTP/1.0, open", b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na", b"a"),
    Sample("connection: close", _whole(b"a", b"connection: close"), b"a", is_reused=False),
    Sample("chunked, close", _OK + b"connection: Close\r\n" + _CHUNKED[17:] + b"0\r\n\r\n", is_reused=False),
    Sample("an offer of another protocol", _whole(b"a", b"connection: upgrade", b"upgrade: h2c"), b"a"),
]


@pytest.mark.parametrize("sample", _SAMPLES, ids=lambda sample: sample.name)
async def test_an_answer(net: Net, sample: Sample) -> None:
    async with net.calling(_always(sample.sent), silence_seconds=1) as calls:
        for _ in range(3):
            answer = await calls.get()
            assert answer.status == sample.status
            assert await answer.read() == sample.body
            assert await answer.read() == b""
            for name, value in sample.headers:
                assert answer.headers.get(name, "") == value
            await asyncio.sleep(0.005)
        assert len(calls.server.peers) == (1 if sample.is_reused else 3)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", _OK + b"connection: close\r\n"])
async def test_an_answer_until_the_connections_end(net: Net, head: bytes) -> None:
    async with net.calling(_sends(head + b"\r\nhello")) as calls:
        for _ in range(2):
            assert await calls.body() == b"hello"
    async with net.calling(_sends(head + b"\r\n")) as calls:
        assert await calls.body() == b""


async def test_a_coding_that_no_length_is_known_of_goes_on_until_the_end(net: Net) -> None:
    async with net.calling(_sends(_OK + b"transfer-encoding: gzip\r\n\r\n0\r\n\r\n")) as calls:
        assert await calls.body() == b"0\r\n\r\n"


_CUT = (
    b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    + _OK
    + b"transfer-encoding: chunked\r\nx: \r\nlong-name: v\xe4lue\r\n\r\n"
    + b"a\r\n0123456789\r\n1;x=y\r\na\r\n0\r\nlate: 1\r\n\r\n"
)


async def test_an_answer_cut_at_every_byte(net: Net) -> None:
    async def script(peer: Peer) -> None:
        while head := await peer.head():
            at = int(_target(head)[1:])
            await peer.send(_CUT[:at])
            await asyncio.sleep(0.001)
            await peer.send(_CUT[at:])

    async with net.calling(script) as calls:
        for at in range(1, len(_CUT)):
            answer = await calls.get(f"/{at}")
            assert await answer.read() == b"0123456789a"
            assert dict(answer.headers) == {"transfer-encoding": "chunked", "x": "", "long-name": "välue"}
        assert len(calls.server.peers) == 1


async def test_an_answer_in_single_bytes(net: Net) -> None:
    async def script(peer: Peer) -> None:
        while await peer.head():
            for at in range(len(_CUT)):
                await peer.send(_CUT[at : at + 1])
                await asyncio.sleep(0.0005)

    async with net.calling(script) as calls:
        answer = await calls.get()
        assert await answer.read() == b"0123456789a"
        assert answer.headers["long-name"] == "välue"


async def test_pieces_come_as_they_arrive(net: Net) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(_CHUNKED)
        for letter in (b"a", b"b", b"c"):
            await peer.send(_chunk(letter))
            await go_on.wait()
            go_on.clear()
        await peer.send(b"0\r\n\r\n")
        await peer.client_left()

    async with net.calling(script) as calls:
        answer, pieces = await calls.get(), []
        async for piece in answer:
            pieces.append(piece)
            go_on.set()
        assert pieces == [b"a", b"b", b"c"]


async def test_what_was_read_of_an_answer_is_not_read_again(net: Net) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(_CHUNKED + _chunk(b"first"))
        await asyncio.sleep(0.02)
        await peer.send(_chunk(b"second") + b"0\r\n\r\n")
        await peer.client_left()

    async with net.calling(script) as calls:
        answer = await calls.get()
        assert await anext(answer) == b"first"
        assert await answer.read() == b"second"
        with pytest.raises(StopAsyncIteration):
            await anext(answer)


# What is no answer


_NO_HTTP = {
    "garbage": b"\0\1\2\3 garbage\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/0.9": b"<html></html>",
    "HTTP/2": b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80\0\4\0\1\0\0",
    "a request": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "a length and chunks": _OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunks and a length": _OK + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "two lengths": _OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "a list of lengths": _OK + b"content-length: 5, 5\r\n\r\nhello",
    "a negative length": _OK + b"content-length: -5\r\n\r\nhello",
    "a length beyond 64 bits": _OK + b"content-length: 99999999999999999999\r\n\r\nhello",
    "a header of two lines": _OK + b"x: 1\r\n  2\r\ncontent-length: 1\r\n\r\na",
    "a header without a name": _OK + b": 1\r\ncontent-length: 1\r\n\r\na",
    "a name with a space": _OK + b"content-length : 1\r\n\r\na",
    "NUL in a value": _OK + b"x: \0\r\ncontent-length: 1\r\n\r\na",
    "a switch of protocols": b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nabc",
}
_NO_BODY = {
    "a negative chunk": _CHUNKED + b"-5\r\nhello\r\n",
    "a chunk beyond 64 bits": _CHUNKED + b"fffffffffffffffff\r\nhello\r\n",
    "a chunk's size in no digits": _CHUNKED + b"xyz\r\nhello\r\n",
    "a chunk without a size": _CHUNKED + b"\r\nhello\r\n",
    "a chunk longer than its size": _CHUNKED + b"4\r\nhello\r\n",
    "0x": _CHUNKED + b"0x5\r\nhello\r\n",
}


@pytest.mark.parametrize("sent", _NO_HTTP.values(), ids=_NO_HTTP)
async def test_what_is_not_http_is_no_answer(net: Net, sent: bytes) -> None:
    async with net.calling(_first(_held(sent)), silence_seconds=5) as calls:
        with pytest.raises(Dropped):
            await calls.body()
        assert await calls.body("/next") == b"/next"


@pytest.mark.parametrize("sent", _NO_BODY.values(), ids=_NO_BODY)
async def test_what_is_not_http_ends_an_answer(net: Net, sent: bytes) -> None:
    async with net.calling(_first(_held(sent)), silence_seconds=5) as calls:
        answer = await calls.get()
        with pytest.raises(CutOff):
            await answer.read()
        assert await calls.body("/next") == b"/next"


@pytest.mark.parametrize("again", [b"x: " + b"y" * 990 + b"\r\n", b"z" * 1000, b"a:b\r\n" * 200], ids=lambda b: b[:4])
@pytest.mark.parametrize("start", [_OK + b"x: ", b"HTTP/1.1 103 Hint\r\nx: "], ids=["answer", "hint"])
async def test_a_head_without_end(net: Net, start: bytes, again: bytes) -> None:
    await _endless(net, start, again, Dropped)


async def test_hints_without_end(net: Net) -> None:
    await _endless(net, b"", b"HTTP/1.1 103 Hint\r\nx: 1\r\n\r\n" * 30, Dropped)


@pytest.mark.parametrize("again", [b"x: " + b"y" * 990 + b"\r\n", b"z" * 1000], ids=lambda b: b[:4])
async def test_trailers_without_end(net: Net, again: bytes) -> None:
    await _endless(net, _CHUNKED + b"1\r\na\r\n0\r\nx: ", again, CutOff)


async def test_a_chunk_extension_without_end(net: Net) -> None:
    await _endless(net, _CHUNKED + b"1\r\na\r\n1;x=", b"y" * 1000, CutOff)


async def _endless(net: Net, start: bytes, again: bytes, error: type[HttpError]) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.send(start)
        while sent < 5_000_000 and not peer.writer.is_closing():
            await peer.send(again * 10)
            sent += len(again) * 10

    async with net.calling(_first(script), silence_seconds=2) as calls:
        with pytest.raises(error):
            await calls.body()
        assert sent < 5_000_000
        assert await calls.body("/next") == b"/next"


async def test_a_long_head_is_an_answer(net: Net) -> None:
    headers = [b"x-%d: %s" % (number, b"y" * 1000) for number in range(200)]
    async with net.calling(_always(_whole(b"a", *headers))) as calls:
        answer = await calls.get()
        assert len(answer.headers) == 201
        assert await answer.read() == b"a"


# One request, one answer


_SMUGGLED = _whole(b"smuggled", b"x: 1")


@pytest.mark.parametrize("smuggled", [_SMUGGLED, b"HTTP/1.1 103 Hint\r\n\r\n" + _SMUGGLED], ids=["answer", "hint"])
async def test_what_follows_an_answer_is_never_given_to_the_next_call(net: Net, smuggled: bytes) -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        at = int(_target(head)[1:]) if head else 0
        await peer.send(_whole(b"own") + smuggled[:at])
        if await peer.head():
            await peer.send(smuggled[at:] + _whole(b"own"))
        await peer.client_left()

    async with net.calling(script) as calls:
        for at in range(1, len(smuggled) + 1):
            assert await calls.body(f"/{at}") == b"own"
            assert await calls.body(f"/{at}") == b"own"
        assert len(calls.server.peers) >= len(smuggled)


@pytest.mark.parametrize("sent", [_SMUGGLED, b"\0", b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n"], ids=repr)
async def test_bytes_on_an_idle_connection_end_it(net: Net, sent: bytes) -> None:
    async def script(peer: Peer) -> None:
        while await peer.head():
            await peer.send(_whole(b"own"))
            if peer.number == 0:
                await asyncio.sleep(0.01)
                await peer.send(sent)

    async with net.calling(script) as calls:
        assert await calls.body() == b"own"
        await asyncio.sleep(0.05)
        assert await calls.body() == b"own"
        assert len(calls.server.peers) == 2


# Ends of connections


def _close(peer: Peer) -> None:
    peer.writer.close()


def _reset(peer: Peer) -> None:
    peer.reset()


_ENDS = pytest.mark.parametrize("end", [_close, _reset])


@_ENDS
@pytest.mark.parametrize("sent", [b"", b"H", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_connection_that_ends_before_an_answer(net: Net, sent: bytes, end: Callable[[Peer], None]) -> None:
    async with net.calling(_first(_sends(sent, end))) as calls:
        with pytest.raises(Dropped):
            await calls.get()
        assert await calls.body("/next") == b"/next"


@_ENDS
@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (_OK + b"content-length: 5\r\n\r\n", b""),
        (_OK + b"content-length: 5\r\n\r\nhell", b"hell"),
        (_CHUNKED + _chunk(b"hello"), b"hello"),
        (_CHUNKED + b"5\r\nhell", b"hell"),
        (_CHUNKED + b"0\r\nx: y", b""),
    ],
)
async def test_a_connection_that_ends_in_an_answer(
    net: Net, sent: bytes, body: bytes, end: Callable[[Peer], None]
) -> None:
    async with net.calling(_first(_sends(sent, end))) as calls:
        answer, got = await calls.get(), b""
        with pytest.raises(CutOff):  # noqa: PT012 - what came before is looked at, too
            async for piece in answer:
                got += piece
        assert got == body
        with pytest.raises(CutOff):
            await answer.read()
        assert await calls.body("/next") == b"/next"


async def test_an_answer_until_the_end_is_none_after_a_reset(net: Net) -> None:
    async with net.calling(_first(_sends(_OK + b"\r\nhello", _reset))) as calls:
        answer = await calls.get()
        with pytest.raises(CutOff):
            await answer.read()


@_ENDS
async def test_an_idle_connection_that_ended_is_not_used_again(net: Net, end: Callable[[Peer], None]) -> None:
    async with net.calling(_echo) as calls:
        assert await calls.body("/1") == b"/1"
        end(calls.server.peers[0])
        await asyncio.sleep(0.05)
        assert await calls.body("/2") == b"/2"
        assert len(calls.server.peers) == 2


@pytest.mark.parametrize("sent", [b"", b"H", _SMUGGLED], ids=["closed", "bytes", "answer"])
async def test_what_came_while_the_process_was_frozen(sent: bytes) -> None:
    """The server is outside the event loop, so that the client's side alone has not been told."""
    peers = list[socket.socket]()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = HttpClient(f"http://127.0.0.1:{listening.getsockname()[1]}", connect_seconds=5, silence_seconds=5)
        for _ in range(3):
            call = asyncio.create_task(client.send("GET", "/", {}))
            peer = await asyncio.to_thread(lambda: listening.accept()[0])
            assert await asyncio.to_thread(peer.recv, 65536)
            peer.sendall(_whole(b"a"))
            assert await (await call).read() == b"a"
            peers.append(peer)
            if sent:
                peer.sendall(sent)
            else:
                peer.close()
            # And the loop does not run before the next call.
        await client.close()
        await asyncio.sleep(0.01)
    for peer in peers:
        peer.close()


async def test_connections_are_used_again_and_not_shared(net: Net) -> None:
    async with net.calling(_echo) as calls:
        for turn in range(5):
            targets = [f"/{turn}/{number}" for number in range(20)]
            assert await asyncio.gather(*map(calls.body, targets)) == [target.encode() for target in targets]
        assert len(calls.server.peers) == 20


async def test_a_connection_that_was_idle_for_long_is_not_used(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.http_client._IDLE_SECONDS", 0.05)
    monkeypatch.setattr("core.http_client._IDLE_TLS_SECONDS", 0.05)
    async with net.calling(_echo) as calls:
        await asyncio.gather(calls.body(), calls.body(), calls.body())
        await asyncio.sleep(0.1)
        assert await calls.body("/2") == b"/2"
        assert len(calls.server.peers) == 4
        await calls.server.peers[0].ended()


async def test_idle_connections_are_not_many(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.http_client._IDLE_CONNECTIONS", 3)
    async with net.calling(_echo) as calls:
        await asyncio.gather(*(calls.body() for _ in range(10)))
        await asyncio.sleep(0.05)
        assert sum(not peer.reader.at_eof() for peer in calls.server.peers) == 3


# Long requests


_TOO_LARGE = b"HTTP/1.1 413 Too Large\r\n"


@pytest.mark.parametrize("size", [200_000, _LARGE_BYTES])
@pytest.mark.parametrize(
    "sent",
    [b"content-length: 3\r\n\r\nbig", b"connection: close\r\ncontent-length: 3\r\n\r\nbig"],
    ids=["open", "close"],
)
async def test_an_answer_before_the_request_was_read(net: Net, sent: bytes, size: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined] # the server reads no more
        await peer.send(_TOO_LARGE + sent)
        await asyncio.sleep(0.2)
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.client_left()

    async with net.calling(_first(script), silence_seconds=5) as calls:
        answer = await calls.post(b"x" * size)
        assert answer.status == 413
        assert await answer.read() == b"big"
        if size == _LARGE_BYTES:
            assert await calls.body("/next") == b"/next"


async def test_an_answer_until_the_end_before_the_request_was_read(tcp: Net) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined] # the server reads no more
        await peer.send(_TOO_LARGE + b"\r\nbig")
        peer.writer.write_eof()
        await asyncio.sleep(0.5)
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.client_left()

    async with tcp.calling(_first(script), silence_seconds=3) as calls:
        answer = await calls.post(b"x" * _LARGE_BYTES)
        assert await asyncio.wait_for(answer.read(), 0.4) == b"big"
        assert await calls.body("/next") == b"/next"


async def test_a_body_that_goes_on_after_an_early_answer_does_not_reach_the_next_call(net: Net) -> None:
    """The answer's head comes early, its body late: the rest of the request is never sent, nor is anything after it."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(_TOO_LARGE + b"content-length: 3\r\n\r\n")
        await asyncio.sleep(0.05)
        await peer.send(b"big")
        await peer.client_left()

    async with net.calling(_first(script), silence_seconds=5) as calls:
        answer = await calls.post(b"x" * _LARGE_BYTES)
        assert await answer.read() == b"big"
        assert await calls.body("/next") == b"/next"


@pytest.mark.parametrize("size", [0, 1, 65_536, 262_144, 262_145, 1_000_000, _LARGE_BYTES])
async def test_a_request_arrives_as_it_is(net: Net, size: int) -> None:
    body = random.Random(size).randbytes(size)

    async def script(peer: Peer) -> None:
        while (request := await peer.request())[0]:
            await peer.send(_whole(hashlib.sha256(request[1]).hexdigest().encode()))

    async with net.calling(script) as calls:
        for _ in range(2):
            assert await (await calls.post(body)).read() == hashlib.sha256(body).hexdigest().encode()
        assert len(calls.server.peers) == 1


async def test_a_long_request_is_not_copied_for_a_slow_reader(net: Net) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go_on.wait()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        size = 0
        while size < _LARGE_BYTES:
            size += len(await peer.reader.read(1 << 20))
        await peer.send(_whole(b"%d" % size))
        await peer.client_left()

    async with net.calling(script) as calls:
        body = b"x" * _LARGE_BYTES
        tracemalloc.start()
        try:
            call = asyncio.create_task(calls.post(body))
            await asyncio.sleep(0.3)
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()
        go_on.set()
        assert await (await call).read() == b"%d" % _LARGE_BYTES


@_ENDS
async def test_a_connection_that_ends_while_a_long_request_is_written(net: Net, end: Callable[[Peer], None]) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.read(100_000)
        end(peer)

    async with net.calling(_first(script), silence_seconds=5) as calls:
        with pytest.raises(Dropped):
            await calls.post(b"x" * _LARGE_BYTES)
        assert await calls.body("/next") == b"/next"


async def test_a_server_that_left_before_a_long_request_is_written(tcp: Net) -> None:
    async def script(peer: Peer) -> None:
        peer.reset()

    async with tcp.calling(script) as calls:
        for _ in range(5):
            with pytest.raises(HttpError):
                await calls.post(b"x" * _LARGE_BYTES)


# Silence


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_server_silent_before_its_answer(net: Net, sent: bytes) -> None:
    async with net.calling(_first(_held(sent)), silence_seconds=0.2) as calls:
        with pytest.raises(Silence):
            await calls.get()
        assert await calls.body("/next") == b"/next"


async def test_a_server_silent_in_its_answer(net: Net) -> None:
    async with net.calling(_first(_held(_CHUNKED + _chunk(b"a"))), silence_seconds=0.2) as calls:
        answer = await calls.get()
        assert await anext(answer) == b"a"
        with pytest.raises(Silence):
            await anext(answer)
        assert await calls.body("/next") == b"/next"


async def test_a_server_that_reads_nothing_is_silent(net: Net) -> None:
    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(1)
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.client_left()

    async with net.calling(script, silence_seconds=0.3) as calls:
        with pytest.raises(Silence):
            await calls.post(b"x" * _LARGE_BYTES)


async def test_a_slow_server_is_not_silent(net: Net) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        answer = _CHUNKED + _chunk(b"a") * 3 + b"0\r\n\r\n"
        for at in range(0, len(answer), 5):
            await asyncio.sleep(0.1)
            await peer.send(answer[at : at + 5])
        await peer.client_left()

    async with net.calling(script, silence_seconds=0.6) as calls:
        assert await calls.body() == b"aaa"


async def test_a_slow_reader_of_a_long_request_is_not_silent(tcp: Net) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        size = 0
        while size < _LARGE_BYTES:
            size += (read := len(await peer.reader.read(65_536)))
            if size < _LARGE_BYTES // 2:  # the rest is in the system's buffers, and written for the client
                await asyncio.sleep(read / 3_000_000)
        await peer.send(_whole(b"a"))
        await peer.client_left()

    async with tcp.calling(script, silence_seconds=1) as calls:
        assert await (await calls.post(b"x" * _LARGE_BYTES)).read() == b"a"


async def test_a_client_that_does_not_read_is_not_the_servers_silence(net: Net) -> None:
    async with net.calling(_always(_whole(b"x" * _LARGE_BYTES)), silence_seconds=0.2) as calls:
        answer = await calls.get()
        await asyncio.sleep(0.6)
        assert len(await answer.read()) == _LARGE_BYTES
        assert await (await calls.get()).read() == b"x" * _LARGE_BYTES
        assert len(calls.server.peers) == 1


# Back-pressure


def _pieces(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield hashlib.sha256(b"%d" % number).digest() * 3200


_PIECES = 400
"""Of 100 KB each."""


@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "until the end"])
async def test_a_long_answer_waits_for_its_reader(net: Net, is_chunked: bool) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.send(_CHUNKED if is_chunked else _OK + b"\r\n")
        for piece in _pieces(_PIECES):
            await peer.send(_chunk(piece) if is_chunked else piece)
            sent += 1
        if is_chunked:
            await peer.send(b"0\r\n\r\n")
            await peer.client_left()

    async with net.calling(script) as calls:
        answer, digest = await calls.get(), hashlib.sha256()
        for _ in range(3):
            await asyncio.sleep(0.1)
            assert answer.received_bytes < _HELD_BYTES
            assert sent < _PIECES
            digest.update(await anext(answer))
        async for piece in answer:
            digest.update(piece)
            if random.random() < 0.1:
                await asyncio.sleep(0.002)
        assert sent == _PIECES
        assert digest.digest() == hashlib.sha256(b"".join(_pieces(_PIECES))).digest()


async def test_a_short_answers_end_reaches_a_reader_that_was_late(net: Net) -> None:
    """Enough for a pause, and then the end: nothing of it is lost."""
    body = random.Random(1).randbytes(600_000)
    async with net.calling(_sends(_OK + b"\r\n" + body)) as calls:
        for delay in (0.0, 0.05, 0.1):
            answer = await calls.get()
            await asyncio.sleep(delay)
            assert await answer.read() == body


# Cancelling


async def _cancelled_after(call: Awaitable[object], seconds: float) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(seconds)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_call_cancelled_before_its_answer(net: Net) -> None:
    async with net.calling(_first(_held(b""))) as calls:
        await _cancelled_after(calls.get(), 0.05)
        await calls.server.peers[0].ended()
        assert await calls.body("/next") == b"/next"


async def test_a_call_cancelled_while_it_is_written(net: Net) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await asyncio.sleep(0.2)
        await peer.client_left()

    async with net.calling(_first(script)) as calls:
        await _cancelled_after(calls.post(b"x" * _LARGE_BYTES), 0.1)
        await calls.server.peers[0].ended()
        assert await calls.body("/next") == b"/next"


async def test_a_call_cancelled_in_its_answer(net: Net) -> None:
    async with net.calling(_first(_held(_CHUNKED + _chunk(b"a")))) as calls:
        answer = await calls.get()
        await _cancelled_after(answer.read(), 0.05)
        await calls.server.peers[0].ended()
        assert await calls.body("/next") == b"/next"


async def test_a_call_cancelled_while_it_connects(net: Net) -> None:
    for turns in range(25):
        async with net.calling(_echo) as calls:
            call = asyncio.ensure_future(calls.body("/1"))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            with suppress(asyncio.CancelledError):
                assert await call == b"/1"
            assert await calls.body("/next") == b"/next"


async def test_a_call_cancelled_in_a_handshake_without_end(net: Net) -> None:
    async with _deaf() as (port, accepted):
        client = HttpClient(f"https://127.0.0.1:{port}", connect_seconds=10, silence_seconds=10)
        await _cancelled_after(client.send("GET", "/", {}), 0.1)
        assert await asyncio.wait_for(_rest_of(accepted[0]), 5)


@asynccontextmanager
async def _deaf() -> AsyncIterator[tuple[int, list[socket.socket]]]:
    """A server that takes connections and says nothing."""
    accepted = list[socket.socket]()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)

        async def accept() -> None:
            while True:
                accepted.append((await asyncio.get_running_loop().sock_accept(listening))[0])

        task = asyncio.create_task(accept())
        try:
            yield listening.getsockname()[1], accepted
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for peer in accepted:
                peer.close()


async def _rest_of(peer: socket.socket) -> bytes:
    received = b""
    while piece := await asyncio.get_running_loop().sock_recv(peer, 65536):
        received += piece
    return received


async def test_many_calls_of_which_each_gets_its_own_answer(net: Net) -> None:
    chance = random.Random(7)

    async def script(peer: Peer) -> None:
        while head := (await peer.request())[0]:
            body, luck = _target(head) * chance.choice([1, 1, 1, 5000]), chance.random()
            await asyncio.sleep(chance.random() * 0.2)
            if luck < 0.1:
                return
            if luck < 0.2:
                peer.reset()
                return
            if luck < 0.3:
                await peer.send(_whole(body)[:-1])
                return
            if luck < 0.5:
                await peer.send(_CHUNKED + _chunk(body[:3]))
                await asyncio.sleep(chance.random() * 0.01)
                await peer.send(_chunk(body[3:]) + b"0\r\n\r\n")
            elif luck < 0.6:
                await peer.send(_whole(body, b"connection: close"))
            elif luck < 0.7:
                await peer.send(_whole(body) + _whole(b"smuggled")[: chance.randrange(50)])
            else:
                await peer.send(_whole(body))

    own = 0

    async def call(number: int) -> None:
        nonlocal own
        name = b"/%d/" % number
        with suppress(HttpError):
            body = await calls.body(name.decode())
            assert len(body) % len(name) == 0
            assert body == name * (len(body) // len(name))
            own += 1

    async with net.calling(script) as calls:
        for turn in range(3):
            running = [asyncio.create_task(call(turn * 200 + number)) for number in range(200)]
            await asyncio.sleep(0.1)
            for task in chance.sample(running, 40):
                await asyncio.sleep(chance.random() * 0.001)
                task.cancel()
            for outcome in await asyncio.gather(*running, return_exceptions=True):
                assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
        assert own > 180


# Letting go


async def test_an_answer_is_closed_before_its_end(net: Net) -> None:
    async with net.calling(_first(_held(_CHUNKED + _chunk(b"a")))) as calls:
        answer = await calls.get()
        await answer.aclose()
        await answer.aclose()
        await calls.server.peers[0].ended()
        with pytest.raises(CutOff):
            await answer.read()
        assert await calls.body("/next") == b"/next"


async def test_an_answer_is_closed_after_its_end(net: Net) -> None:
    async with net.calling(_echo) as calls:
        for number in range(3):
            answer = await calls.get(f"/{number}")
            await answer.read()
            await answer.aclose()
            await answer.aclose()
        assert len(calls.server.peers) == 1


async def test_an_answer_is_closed_when_the_connection_carries_the_next(net: Net) -> None:
    async with net.calling(_echo) as calls:
        first = await calls.get("/1")
        assert await first.read() == b"/1"
        second = await calls.get("/2")
        await first.aclose()
        assert await second.read() == b"/2"
        assert len(calls.server.peers) == 1


async def test_an_answer_that_is_closed_ends_for_its_reader(net: Net) -> None:
    async with net.calling(_held(_CHUNKED)) as calls:
        answer = await calls.get()
        reading = asyncio.create_task(answer.read())
        await asyncio.sleep(0.01)
        await answer.aclose()
        with pytest.raises(CutOff):
            await reading


async def test_an_answer_that_waits_for_its_reader_is_closed(net: Net) -> None:
    async with net.calling(_first(_held(_whole(b"x" * _LARGE_BYTES)))) as calls:
        answer = await calls.get()
        await asyncio.sleep(0.1)
        await answer.aclose()
        await calls.server.peers[0].ended()
        assert await calls.body("/next") == b"/next"


@pytest.mark.parametrize("sent", [b"", _OK], ids=["no answer", "half a head"])
async def test_a_client_is_closed_before_an_answer(net: Net, sent: bytes) -> None:
    async with net.calling(_held(sent)) as calls:
        call = asyncio.create_task(calls.get())
        await asyncio.sleep(0.05)
        await calls.client.close()
        with pytest.raises(Dropped):
            await asyncio.wait_for(call, 1)


@pytest.mark.parametrize("head", [_CHUNKED, _OK + b"\r\n", _OK + b"content-length: 9\r\n\r\n"])
async def test_a_client_is_closed_in_an_answer(net: Net, head: bytes) -> None:
    async with net.calling(_held(head)) as calls:
        answer = await calls.get()
        reading = asyncio.create_task(answer.read())
        await asyncio.sleep(0.02)
        await calls.client.close()
        with pytest.raises(CutOff):
            await asyncio.wait_for(reading, 1)


async def test_a_client_is_closed_while_it_writes(net: Net) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await asyncio.sleep(0.2)
        await peer.client_left()

    async with net.calling(script) as calls:
        call = asyncio.create_task(calls.post(b"x" * _LARGE_BYTES))
        await asyncio.sleep(0.1)
        await calls.client.close()
        with pytest.raises(Dropped):
            await asyncio.wait_for(call, 1)


async def test_nothing_is_left_in_memory(net: Net) -> None:
    """No timer, task or pool holds on to a connection that is over, whichever way it ended."""

    async def script(peer: Peer) -> None:
        while head := await peer.head():
            match _target(head):
                case b"/whole":
                    await peer.send(_whole(b"a"))
                case b"/close":
                    await peer.send(_whole(b"a", b"connection: close"))
                case b"/garbage":
                    await peer.send(b"garbage")
                case b"/reset":
                    peer.reset()
                    return
                case b"/drop":
                    return

    async with net.calling(script) as calls:
        for target in ("/whole", "/close", "/garbage", "/reset", "/drop") * 4:
            with suppress(HttpError):
                await calls.body(target)
        await _cancelled_after(calls.get("/wait"), 0.05)
        await calls.client.close()
        await calls.server.all_ended()
        await asyncio.sleep(0.05)
        gc.collect()
        assert [found for found in gc.get_objects() if isinstance(found, (HttpConnection, HttpAnswer))] == []


async def test_calls_leave_nothing_to_the_garbage_collector(net: Net) -> None:
    async with net.calling(_echo) as calls:
        await calls.body()
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await calls.body()
            alive = [found for found in gc.get_objects() if isinstance(found, HttpAnswer)]
        finally:
            gc.enable()
        assert len(alive) <= 1


# Connecting


async def test_a_port_that_is_refused(net: Net) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    await _fails(f"http://127.0.0.1:{port}", ConnectFailed)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".invalid", "a..b", "1.2.3.4.5.6", "ä" * 70, "-"])
async def test_a_host_that_is_none(host: str) -> None:
    await _fails(f"http://{host}", ConnectFailed)


async def test_a_certificate_that_is_not_trusted(certified: Certified) -> None:
    async with RawServer.playing(_echo, certified.server) as server:
        await _fails(server.url, ConnectFailed)


async def test_a_certificate_of_another_host(certified: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "context", lambda: certified.client)
    async with RawServer.playing(_echo, certified.server, "127.0.0.2") as server:
        await _fails(server.url, ConnectFailed)


async def test_a_server_without_tls(tcp: Net) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")

    async with RawServer.playing(script) as server:
        await _fails(server.url.replace("http:", "https:"), ConnectFailed)


async def test_a_server_that_leaves_in_the_handshake() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        peer.reset()

    async with RawServer.playing(script) as server:
        await _fails(server.url.replace("http:", "https:"), ConnectFailed)


async def test_a_handshake_without_end() -> None:
    async with _deaf() as (port, accepted):
        await _fails(f"https://127.0.0.1:{port}", ConnectTimedOut, connect_seconds=0.2)
        assert await asyncio.wait_for(_rest_of(accepted[0]), 5)


async def test_a_server_that_takes_no_more_connections() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listening,
        socket.socket() as other,
        socket.socket() as more,
    ):
        for taking in (other, more):
            taking.setblocking(False)
            taking.connect_ex(listening.getsockname())
        await asyncio.sleep(0.05)
        await _fails(f"http://127.0.0.1:{listening.getsockname()[1]}", ConnectTimedOut, connect_seconds=0.2)


async def _fails(url: str, error: type[HttpError], connect_seconds: float = 10.0) -> None:
    client = HttpClient(url, connect_seconds=connect_seconds, silence_seconds=10)
    with pytest.raises(HttpError) as caught:
        await asyncio.wait_for(client.send("POST", "/", {}, b"x"), 20)
    assert type(caught.value) is error
    await client.close()


async def test_ipv6(net: Net) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    seen = []

    async def script(peer: Peer) -> None:
        while head := await peer.head():
            seen.append(head)
            await peer.send(_whole(b"a"))

    async with RawServer.playing(script, net.certified.server if net.certified else None, "::1") as server:
        client = HttpClient(server.url, connect_seconds=5, silence_seconds=5)
        assert await (await client.send("GET", "/", {})).read() == b"a"
        await client.close()
    assert f"\r\nhost: {server.url.partition('//')[2]}\r\n".encode() in seen[0]


# What is sent


@pytest.mark.parametrize(
    ("added", "line", "user"),
    [
        ("", b"/x", ""),
        ("/", b"/x", ""),
        ("/v1", b"/v1/x", ""),
        ("/v1/", b"/v1/x", ""),
        ("/v1", b"/v1/x", "me:secret@"),
        ("/a%20b", b"/a%20b/x", ""),
        ("/v1?q=1#f", b"/v1/x", ""),
    ],
)
async def test_what_a_request_says(tcp: Net, added: str, line: bytes, user: str) -> None:
    heads = []

    async def script(peer: Peer) -> None:
        while request := await peer.head():
            heads.append(request)
            await peer.send(_whole(b""))

    async with tcp.calling(script) as calls:
        authority = calls.server.url.partition("//")[2]
        client = HttpClient(f"http://{user}{authority}{added}", connect_seconds=5, silence_seconds=5)
        await (await client.send("GET", "/x", {"x-y": "ä", "empty": ""})).read()
        await (await client.send("POST", "/x", {}, b"")).read()
        await client.close()
    host = b"host: " + authority.encode()
    assert heads[0] == b"GET %s HTTP/1.1\r\n%s\r\nx-y: \xe4\r\nempty: \r\n\r\n" % (line, host)
    assert heads[1] == b"POST %s HTTP/1.1\r\n%s\r\ncontent-length: 0\r\n\r\n" % (line, host)


@pytest.mark.parametrize("url", ["", "x", "ftp://x", "http://", "https:///v1", "http://x:99999", "http://x:y", "//x"])
def test_what_is_no_url_of_a_server(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each part of a URL has words of its own
        HttpClient(url, connect_seconds=1, silence_seconds=1)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a b", "http://127.0.0.1:1/ä", "http://127.0.0.1:1/a\0b"])
async def test_a_url_whose_path_is_not_encoded_breaks_no_first_line(url: str) -> None:
    client = HttpClient(url, connect_seconds=1, silence_seconds=1)
    head = client._head("GET", "/", {}, None)
    assert len(head.partition(b"\r\n")[0].split(b" ")) == 3
    assert head.isascii()


@pytest.mark.parametrize("odd", ["\r", "\n", "\0", "\r\n", "a\r\nx: y", "\n\r", "\r\n\r\n", "a\nb\rc", "€", "\ud800"])
async def test_what_can_be_no_header_is_not_sent(tcp: Net, odd: str) -> None:
    async with tcp.calling(_echo) as calls:
        for target, headers in [("/", {"x": odd}), ("/", {odd: "x"}), (f"/{odd}", {}), ("/", {"a": odd, "b": odd})]:
            with pytest.raises(ValueError):  # noqa: PT011 - some have no encoding, some break a line
                await calls.client.send("GET", target, headers)
        assert calls.server.peers == []


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/v1/files", "", "/v1/files"),
        ("", "", ""),
        ("/a", "b=c&d=%20", "/a?b=c&d=%20"),
        ("/a b", "c d", "/a%20b?c%20d"),
        ("/ä", "ö=€", "/%C3%A4?%C3%B6=%E2%82%AC"),
        ("/a#b", "c#d", "/a%23b?c%23d"),
        ("/%zz", "%", "/%zz?%"),
        ("/a\r\nb\0", "\t", "/a%0D%0Ab%00?%09"),
        ("/a\\..\\b", "", "/a%5C..%5Cb"),
        ("/...", "", "/..."),
        ("/a..b/.c/d.", "../..", "/a..b/.c/d.?../.."),
        ("//a", "", "//a"),
        ("/a[]", "b[]=1", "/a[]?b[]=1"),
        ("/%25", "", "/%25"),
    ],
)
def test_a_target(path: str, query: str, target: str) -> None:
    assert target_of(path, query) == target


@pytest.mark.parametrize(
    "path",
    ["/..", "/.", "..", "/a/../b", "/a/%2e%2E", "/.%2e/a", "/%2E", "/a/..?b", "/../", "/..?", "/\ud800", "/a\udfff"],
)
def test_what_can_be_no_target(path: str) -> None:
    with pytest.raises(InvalidTarget):
        target_of(path)


def test_what_can_be_no_query() -> None:
    with pytest.raises(InvalidTarget):
        target_of("/", "\ud800")


# The event loop's end


def test_a_loop_that_ends_right_after_the_client_complains_of_nothing(anyio_backend: Any, certified: Certified) -> None:
    async def main() -> None:
        async with RawServer.playing(_echo) as server:
            client = HttpClient(server.url, connect_seconds=5, silence_seconds=5)
            await (await client.send("GET", "/", {})).read()
            await client.close()

    (uvloop.run if anyio_backend[1]["use_uvloop"] else asyncio.run)(main())
    gc.collect()


async def test_a_dead_address_leaves_time_for_the_next_one(tcp: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    async with tcp.calling(_echo) as calls:
        port = calls.client._port
        dead = socket.socket()
        dead.bind(("127.0.0.2", port))
        dead.listen(0)
        fillers = [socket.socket() for _ in range(4)]  # a full backlog takes no more
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.2", port))

        async def addresses() -> list[str]:
            return ["127.0.0.2", "127.0.0.1"]

        client = HttpClient(calls.server.url, connect_seconds=2, silence_seconds=10)
        monkeypatch.setattr(client, "_addresses", addresses)
        try:
            assert await (await client.send("GET", "/1", {})).read()
        finally:
            await client.close()
            for one in (dead, *fillers):
                one.close()
