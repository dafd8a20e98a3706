"""A stream's waits end at its deadline, and are cancelled by nothing else than whoever cancels them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from core.deadline import Deadline

pytestmark = pytest.mark.anyio


async def _chunks(*chunks: bytes, forever: bool = False) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk
    if forever:
        await asyncio.Event().wait()


async def _all(deadline: Deadline, chunks: AsyncGenerator[bytes, None]) -> None:
    while await deadline.next(chunks):
        pass


async def test_what_comes_in_time_passes() -> None:
    deadline, chunks = Deadline(60), _chunks(b"a", b"b")
    assert [await deadline.next(chunks) for _ in range(3)] == [b"a", b"b", None]
    deadline.close()


@pytest.mark.parametrize("seconds", [0.0, 0.01])
async def test_a_wait_ends_when_the_time_is_up(seconds: float) -> None:
    deadline, chunks = Deadline(seconds), _chunks(b"a", forever=True)
    with pytest.raises(TimeoutError):
        await _all(deadline, chunks)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with pytest.raises(TimeoutError):
        await deadline.next(chunks)


async def test_the_time_between_two_waits_counts_too() -> None:
    deadline, chunks, passed = Deadline(0.01), _chunks(b"a", b"b"), asyncio.Event()
    assert await deadline.next(chunks) == b"a"
    asyncio.get_running_loop().call_later(0.02, passed.set)
    await passed.wait()
    with pytest.raises(TimeoutError):
        await deadline.next(chunks)


@pytest.mark.parametrize("seconds", [None, 60])
async def test_a_cancellation_by_others_stays_one(seconds: float | None) -> None:
    deadline = Deadline(seconds)
    waiting = asyncio.ensure_future(deadline.next(_chunks(forever=True)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    deadline.close()


async def test_a_closed_one_cancels_nobody() -> None:
    deadline, passed = Deadline(0.01), asyncio.Event()
    deadline.close()
    asyncio.get_running_loop().call_later(0.02, passed.set)
    await passed.wait()
    assert await deadline.next(_chunks(b"a")) == b"a"
