"""Tokens of the platform's own: fetched once, kept while they are good, and never missed in silence."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from core import cloud_identity, errors
from manual_clock import ManualClock
from scripted_upstream import ScriptedUpstream, plain

pytestmark = pytest.mark.anyio


async def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    clock, fetched = ManualClock(0.0), list[str]()

    def fetch() -> tuple[str, float]:
        fetched.append(f"token {len(fetched)}")
        return fetched[-1], 3600.0

    token = cloud_identity.cached(fetch, clock)
    assert set(await asyncio.gather(token(), token(), token())) == {"token 0"}
    clock.now = 3299.0
    assert await token() == "token 0"
    clock.now = 3300.0
    assert await token() == "token 1"
    assert len(fetched) == 2


async def test_a_short_lived_token_is_kept_for_half_its_life() -> None:
    clock, fetched = ManualClock(0.0), list[float]()

    def fetch() -> tuple[str, float]:
        fetched.append(clock.now)
        return "token", 60.0

    token = cloud_identity.cached(fetch, clock)
    for clock.now in (0.0, 29.0, 30.0):
        await token()
    assert fetched == [0.0, 30.0]


async def test_google() -> None:
    answer = json.dumps({"access_token": "ya29", "expires_in": 3599, "token_type": "Bearer"}).encode()
    async with ScriptedUpstream.playing(plain("200 OK", answer)) as server:
        assert await asyncio.to_thread(cloud_identity.google_token, server.url) == ("ya29", 3599.0)
        (exchange,) = server.exchanges
    assert exchange.head.startswith(b"GET /v1/token HTTP/1.1")
    assert exchange.header("metadata-flavor") == "Google"


async def test_azure() -> None:
    answer = json.dumps({"access_token": "eyJ", "expires_on": str(int(time.time()) + 100)}).encode()
    async with ScriptedUpstream.playing(plain("200 OK", answer)) as server:
        token, seconds = await asyncio.to_thread(cloud_identity.azure_token, server.url, "proof", resource="https://r")
    assert token == "eyJ"
    assert seconds == pytest.approx(100, abs=5)


async def test_nobody_gives_one() -> None:
    with pytest.raises(errors.UpstreamAuthFailed):
        await asyncio.to_thread(cloud_identity.google_token, "http://127.0.0.1:1")
