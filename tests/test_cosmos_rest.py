"""Requests to a Cosmos DB that is throttled, slow, broken or gone."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.ports import Change, Key, StoreError
from core.store_client import StoreClient
from cosmos_credential import Credential, ManagedIdentity, MasterKey
from cosmos_session import Session
from cosmos_store import CosmosStore
from scripted_upstream import Exchange, Script, ScriptedUpstream, plain

pytestmark = pytest.mark.anyio

_KEY = Key("apps/é", "one")
_SECRET = "c2VjcmV0IGtleQ=="
_FOUND = plain("200 OK", json.dumps({"value": {"is": "found"}, "expires_at": 9_999_999_999}).encode())
_MISSING = plain("404 Not Found", b"{}")
_LEAKING = json.dumps({"code": "Unauthorized", "message": f"signed with {_SECRET}"}).encode()


def _in_turn(*scripts: Script) -> Script:
    """One after the other; the last one for ever."""
    left = list(scripts)

    async def script(exchange: Exchange) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return script


async def _hang(exchange: Exchange) -> None:
    await exchange.client_left()


async def _hang_up(exchange: Exchange) -> None:
    exchange.writer.close()


@asynccontextmanager
async def _store(
    url: str, credential: Credential | None = None, *, timeout_seconds: float = 3.0
) -> AsyncIterator[CosmosStore]:
    client = StoreClient(url, at_once=100, connect_seconds=timeout_seconds, silence_seconds=timeout_seconds)
    store = CosmosStore(url, "db", "items", credential or MasterKey(_SECRET), client=client)
    yield store
    await store.close()


@pytest.mark.parametrize(
    "failure",
    [
        plain("429 Too Many Requests", b"{}", "x-ms-retry-after-ms: 30"),
        plain("449 Retry With", b"{}"),
        plain("503 Service Unavailable", b"<html>"),
        plain("500 Internal Server Error", b""),
        plain("404 Not Found", b"{}", "x-ms-substatus: 1002"),
        _hang_up,
    ],
)
async def test_what_passes_is_waited_for(failure: Script) -> None:
    async with ScriptedUpstream.playing(_in_turn(failure, failure, _FOUND)) as service, _store(service.url) as store:
        assert await store.get(_KEY) == {"is": "found"}
        assert len(service.exchanges) == 3


async def test_it_waits_as_long_as_it_is_told() -> None:
    throttled = plain("429 Too Many Requests", b"{}", "x-ms-retry-after-ms: 400")
    async with ScriptedUpstream.playing(_in_turn(throttled, _FOUND)) as service, _store(service.url) as store:
        start = time.monotonic()
        await store.get(_KEY)
        assert 0.4 <= time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("failure", "attempts"),
    [
        (plain("429 Too Many Requests", b"{}"), 6),
        (plain("429 Too Many Requests", b"{}", "x-ms-retry-after-ms: 60000"), 1),  # longer than anybody would wait
        (plain("503 Service Unavailable", b""), 6),
        (plain("401 Unauthorized", _LEAKING), 1),
        (plain("403 Forbidden", _LEAKING), 1),
        (plain("413 Entity Too Large", b""), 1),
        (plain("404 Not Found", b"{}", "x-ms-substatus: 1003"), 1),  # no such container
        (plain("200 OK", b"<html>"), 1),
        (_hang, 6),
    ],
)
async def test_what_does_not_pass_is_a_store_error(failure: Script, attempts: int) -> None:
    async with ScriptedUpstream.playing(failure) as service, _store(service.url, timeout_seconds=0.1) as store:
        with pytest.raises(StoreError, match="Cosmos DB") as raised:
            await store.get(_KEY)
        assert _SECRET not in str(raised.value)
        assert len(service.exchanges) == attempts


@pytest.mark.parametrize("failure", [_hang, _hang_up, plain("500 Internal Server Error", b"")])
async def test_a_change_that_leaves_no_trace_is_not_sent_again(failure: Script) -> None:
    async with ScriptedUpstream.playing(failure) as service, _store(service.url, timeout_seconds=0.2) as store:
        with pytest.raises(StoreError):
            await store.add_within(_KEY, Change({"money": 1}))
        assert len(service.exchanges) == 1


async def test_every_verb_says_so_when_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with _store(f"http://127.0.0.1:{closed.getsockname()[1]}") as store:
            verbs = (
                store.get(_KEY),
                store.put(_KEY, {}),
                store.put(_KEY, {}, if_absent=True),
                store.add_within(_KEY, Change({"money": 1})),
                store.delete(_KEY),
                anext(aiter(store.list("apps"))),
            )
            outcomes = await asyncio.gather(*verbs, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes if not isinstance(outcome, StoreError)] == []


async def test_tokens_of_the_managed_identity_are_renewed() -> None:
    tokens = iter(["one", "two", "three"])

    async def identity(exchange: Exchange) -> None:
        answer = {"access_token": next(tokens), "expires_on": str(int(time.time()) + 2)}
        await plain("200 OK", json.dumps(answer).encode())(exchange)

    async with ScriptedUpstream.playing(identity) as platform, ScriptedUpstream.playing(_MISSING) as service:
        credential = ManagedIdentity.of_function_app(
            platform.url, "proof", account="https://trefoil.documents.azure.com:443/", client_id="me"
        )
        async with _store(service.url, credential) as store:
            await asyncio.gather(*(store.get(_KEY) for _ in range(5)))
            assert len(platform.exchanges) == 1
            await asyncio.sleep(1.1)
            await store.get(_KEY)
    assert b"resource=https%3A%2F%2Ftrefoil.documents.azure.com&client_id=me " in platform.exchanges[0].head
    assert platform.exchanges[0].header("x-identity-header") == "proof"
    shown = [exchange.header("authorization") for exchange in service.exchanges]
    assert shown == ["type=aad&ver=1.0&sig=one"] * 5 + ["type=aad&ver=1.0&sig=two"]


async def test_without_a_token_nothing_is_sent() -> None:
    async with ScriptedUpstream.playing(plain("400 Bad Request", b"{}")) as platform:
        credential = ManagedIdentity.of_function_app(platform.url, "proof", account="https://trefoil.invalid")
        async with ScriptedUpstream.playing(_FOUND) as service, _store(service.url, credential) as store:
            with pytest.raises(StoreError, match="managed identity"):
                await store.get(_KEY)
            assert service.exchanges == []


async def test_reads_show_how_far_the_process_has_seen() -> None:
    written = plain("201 Created", b"{}", "x-ms-session-token: 0:-1#7#1=5")
    behind = plain("404 Not Found", b"{}", "x-ms-session-token: 0:-1#6#1=5")
    async with ScriptedUpstream.playing(_in_turn(written, behind)) as service, _store(service.url) as store:
        await store.put(_KEY, {})
        await store.get(_KEY)
        await store.get(_KEY)
    assert {exchange.header("x-ms-documentdb-partitionkey") for exchange in service.exchanges} == {'["apps/\\u00e9"]'}
    assert [exchange.header("x-ms-session-token") for exchange in service.exchanges] == [None, *["0:-1#7#1=5"] * 2]


def test_a_session_keeps_the_latest_of_each_partition() -> None:
    session = Session()
    for token in ("0:-1#10", "1:-1#3,0:-1#9", "1:0#1", "2:41", "2:5", "3:odd", ""):
        session.note(token)
    assert session.token == "0:-1#10,1:0#1,2:41,3:odd"
