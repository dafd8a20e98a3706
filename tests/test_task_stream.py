"""A task's events: what is said where the work fails, and what becomes of it where nobody listens any more."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from core import errors
from core.http import Request, Response
from core.ports import StoreError
from core.task_calls import Declined, Emit
from core.task_stream import TaskStream

pytestmark = pytest.mark.anyio

_REQUEST = Request("POST", "/tasks/generate")


class _Watched:
    """Counts how a stream ends."""

    def __init__(self, failure: Exception | None = None, *, tells: int = 1, hangs: bool = False) -> None:
        self.ends: list[str] = []
        self.closed = 0
        self.cancelled = False
        self._failure = failure
        self._tells = tells
        self._hangs = hangs
        self.stream = TaskStream(_REQUEST, self._work, close=self._close, on_end=self.ends.append)

    async def _work(self, emit: Emit) -> Mapping[str, Any]:
        for number in range(self._tells):
            emit({"type": "delta", "text": str(number)})
        if self._hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled = True
        if self._failure is not None:
            raise self._failure
        return {"type": "done"}

    async def _close(self) -> None:
        self.closed += 1

    async def events(self) -> list[Any]:
        return [json.loads(event.removeprefix(b"data: ")) async for event in self.stream]


async def test_a_whole_one() -> None:
    watched = _Watched(tells=2)
    await watched.stream.start()
    assert [event["type"] for event in await watched.events()] == ["delta", "delta", "done"]
    assert watched.ends == ["ok"]
    assert await watched.events() == []
    await watched.stream.aclose()
    assert watched.ends == ["ok"]


@pytest.mark.parametrize(
    ("failure", "code", "outcome"),
    [
        (errors.UpstreamTimeout("Too slow."), "upstream_timeout", "upstream_timeout"),
        (StoreError("secret place"), "store_unavailable", "store_unavailable"),
        (ValueError("a prompt"), "internal_error", "internal_error"),
        (
            Declined(Response(429, {}, b'{"error":\n {"message": "no", "code": "slow"}}')),
            "slow",
            "upstream_declined",
        ),
    ],
)
async def test_a_failure_on_the_way_is_the_last_event(
    failure: Exception, code: str, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched = _Watched(failure)
    await watched.stream.start()
    with caplog.at_level(logging.INFO, logger="trefoil"):
        told = await watched.events()
    assert [told[0]["type"], told[1]["error"]["code"], len(told)] == ["delta", code, 2]
    assert watched.ends == [outcome]
    assert watched.closed == 1
    assert "a prompt" not in caplog.text
    assert "secret place" not in json.dumps(told)


async def test_a_failure_before_the_first_event_is_raised() -> None:
    watched = _Watched(errors.UpstreamTimeout("Too slow."), tells=0)
    with pytest.raises(errors.UpstreamTimeout):
        await watched.stream.start()
    assert (watched.ends, watched.closed) == ([], 1)


async def test_who_leaves_ends_the_work() -> None:
    watched = _Watched(hangs=True)
    await watched.stream.start()
    assert await anext(watched.stream)
    await watched.stream.aclose()
    assert (watched.ends, watched.cancelled, watched.closed > 0) == (["client_left"], True, True)
    assert await watched.events() == []


async def test_who_leaves_before_it_begins_has_it_closed() -> None:
    watched = _Watched(tells=0, hangs=True)
    starting = asyncio.ensure_future(watched.stream.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert watched.closed > 0


async def test_who_leaves_after_a_failure_that_was_not_heard() -> None:
    watched = _Watched(ValueError("a prompt"))
    await watched.stream.start()
    await watched.stream.aclose()
    assert watched.ends == ["client_left"]
