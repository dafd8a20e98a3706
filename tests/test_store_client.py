"""The HTTP client of the stores that are services: calls that wait for their turn, and what fails them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from core import store_client
from core.http_connection import ConnectFailed, CutOff, Silence
from core.store_client import NoTurn, StoreClient, WholeAnswer
from scripted_upstream import Exchange, ScriptedUpstream, plain

pytestmark = pytest.mark.anyio

_OK = plain("200 OK", b"{}")


@asynccontextmanager
async def _client(url: str, *, at_once: int = 10, silence_seconds: float = 5.0) -> AsyncIterator[StoreClient]:
    client = StoreClient(url, at_once=at_once, silence_seconds=silence_seconds)
    yield client
    await client.close()


async def _get(client: StoreClient) -> WholeAnswer:
    return await client.send("GET", "/item", {})


async def _hang(exchange: Exchange) -> None:
    await exchange.client_left()


async def test_an_answer_is_whole() -> None:
    async with ScriptedUpstream.playing(plain("409 Conflict", b"there", "ETag: one")) as service:
        async with _client(service.url) as client:
            answer = await client.send("POST", "/items", {"x-is": "sent"}, b"body")
        (exchange,) = service.exchanges
    assert (answer.status, answer.headers["etag"], answer.body) == (409, "one", b"there")
    assert exchange.head.startswith(b"POST /v1/items HTTP/1.1\r\n")
    assert (exchange.header("x-is"), exchange.body) == ("sent", b"body")


async def test_calls_wait_for_their_turn() -> None:
    under_way, most = 0, 0

    async def slow(exchange: Exchange) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        await _OK(exchange)

    async with ScriptedUpstream.playing(slow) as service, _client(service.url, at_once=3) as client:
        answers = await asyncio.gather(*(_get(client) for _ in range(20)))
        assert [answer.status for answer in answers] == [200] * 20
        assert (most, service.connections) == (3, 3)


async def test_a_turn_that_does_not_come_is_nothing_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_client, "_LONGEST_TURN_SECONDS", 0.05)
    async with ScriptedUpstream.playing(_hang) as service, _client(service.url, at_once=1) as client:
        hanging = asyncio.create_task(_get(client))
        await asyncio.sleep(0)
        with pytest.raises(NoTurn) as raised:
            await _get(client)
        assert isinstance(raised.value, ConnectFailed)
        assert len(service.exchanges) == 1
        hanging.cancel()
        with suppress(asyncio.CancelledError):
            await hanging


async def test_who_fails_or_leaves_passes_the_turn_on() -> None:
    async def cut_off(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")
        exchange.writer.close()

    left = [_hang, cut_off, _hang]

    async def script(exchange: Exchange) -> None:
        await (left.pop(0) if left else _OK)(exchange)

    async with (
        ScriptedUpstream.playing(script) as service,
        _client(service.url, at_once=1, silence_seconds=0.2) as client,
    ):
        with pytest.raises(Silence):
            await _get(client)
        with pytest.raises(CutOff):
            await _get(client)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_get(client), 0.05)
        assert (await _get(client)).status == 200


async def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with _client(f"http://127.0.0.1:{closed.getsockname()[1]}", at_once=1) as client:
            for _ in range(2):
                with pytest.raises(ConnectFailed):
                    await _get(client)


async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with ScriptedUpstream.playing(_OK) as service, _client(service.url) as client:
        assert (await _get(client)).status == 200
