"""Who gets which sandbox, and how many there are: with sandboxes that start when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from local import sandboxes as module
from local.runtime_api import FunctionError, InitError, SandboxLost
from local.sandbox import Function, Sandbox
from local.sandboxes import Sandboxes, Throttled

_STARTS_AT_ONCE = module._STARTS_AT_ONCE


class FakeSandbox(Sandbox):
    def __init__(self) -> None:
        self.stopped = False
        self.when_idle: Callable[[], object] = lambda: None

    async def idle(self) -> None:
        self.when_idle()
        if self.stopped:
            raise SandboxLost("it ended")

    async def stop(self) -> None:
        self.stopped = True


class Starts:
    """Every start, waiting to be let through or to fail."""

    def __init__(self) -> None:
        self.pending: list[asyncio.Future[Sandbox]] = []

    async def __call__(self, function: Function) -> Sandbox:
        start: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
        self.pending.append(start)
        return await start

    def let_one_through(self) -> FakeSandbox:
        sandbox = FakeSandbox()
        self.pending.pop(0).set_result(sandbox)
        return sandbox


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def _in_a_loop(test: Callable[[Starts], Coroutine[None, None, None]]) -> Callable[[], None]:
    return lambda: asyncio.run(asyncio.wait_for(test(Starts()), 10))


def _pool(starts: Callable[[Function], Awaitable[Sandbox]], concurrency: int = 50) -> Sandboxes:
    return Sandboxes(Function(Path(), concurrency=concurrency), start=starts)


class Request:
    """One that holds its sandbox until told to let go."""

    def __init__(self, pool: Sandboxes) -> None:
        self.sandbox: Sandbox | None = None
        self.started = asyncio.Event()
        self._over = asyncio.Event()
        self.task = asyncio.create_task(self._run(pool))

    async def _run(self, pool: Sandboxes) -> None:
        async with pool.lease() as self.sandbox:
            self.started.set()
            await self._over.wait()

    async def end(self) -> None:
        self._over.set()
        await self.task


@_in_a_loop
async def test_a_request_beyond_the_limit_is_refused_at_once(starts: Starts) -> None:
    pool = _pool(starts, concurrency=2)
    held = [Request(pool) for _ in range(2)]
    await _settle()
    with pytest.raises(Throttled):
        await pool.lease().__aenter__()
    starts.let_one_through()
    starts.let_one_through()
    await held[0].end()
    async with pool.lease() as again:
        assert again is held[0].sandbox
    await pool.close()


@_in_a_loop
async def test_a_burst_starts_a_few_at_a_time_and_shares_what_becomes_idle(starts: Starts) -> None:
    pool = _pool(starts)
    requests = [Request(pool) for _ in range(40)]
    await _settle()
    assert len(starts.pending) == _STARTS_AT_ONCE
    starts.let_one_through()
    for number, request in enumerate(requests):
        await _settle()
        assert [waiting.sandbox is None for waiting in requests].count(False) == number + 1
        await request.end()
    assert len({request.sandbox for request in requests}) == 1
    assert len(starts.pending) == _STARTS_AT_ONCE  # the others had begun, and nobody else needed one
    await pool.close()


@_in_a_loop
async def test_a_start_that_fails_is_one_request_s_error_and_the_next_starts_anew(starts: Starts) -> None:
    pool = _pool(starts, concurrency=2)
    first, second = Request(pool), Request(pool)
    await _settle()
    starts.pending.pop(0).set_exception(InitError("no setting"))
    with pytest.raises(InitError):
        await first.task
    starts.let_one_through()
    await _settle()
    assert second.sandbox is not None
    third = Request(pool)
    await _settle()
    starts.let_one_through()
    await _settle()
    assert third.sandbox is not None
    await pool.close()


@_in_a_loop
async def test_one_that_broke_while_idle_is_replaced(starts: Starts) -> None:
    pool = _pool(starts)
    first = Request(pool)
    await _settle()
    broken = starts.let_one_through()
    await _settle()
    await first.end()
    broken.stopped = True
    second = Request(pool)
    await _settle()
    good = starts.let_one_through()
    await _settle()
    assert second.sandbox is good
    await pool.close()


@_in_a_loop
async def test_a_function_s_error_keeps_its_sandbox_and_any_other_ends_it(starts: Starts) -> None:
    pool = _pool(starts)
    for error, stopped in ((FunctionError("told"), False), (SandboxLost("gone"), True)):
        stack = AsyncExitStack()
        entering = asyncio.create_task(stack.enter_async_context(pool.lease()))
        await _settle()
        sandbox = starts.let_one_through() if starts.pending else None
        used = await entering
        assert sandbox in (None, used)
        await stack.__aexit__(type(error), error, None)
        assert isinstance(used, FakeSandbox)
        assert used.stopped is stopped
    await pool.close()


@_in_a_loop
async def test_a_request_that_leaves_the_line_loses_no_sandbox(starts: Starts) -> None:
    pool = _pool(starts, concurrency=1)
    left = Request(pool)
    await _settle()
    sandbox = starts.let_one_through()
    sandbox.when_idle = left.task.cancel
    await asyncio.gather(left.task, return_exceptions=True)
    async with pool.lease() as again:
        assert again is sandbox
    await pool.close()


@_in_a_loop
async def test_those_that_wait_break_off_when_it_closes(starts: Starts) -> None:
    pool = _pool(starts)
    requests = [Request(pool) for _ in range(2 * _STARTS_AT_ONCE)]
    await _settle()
    await pool.close()
    for ended in await asyncio.gather(*(request.task for request in requests), return_exceptions=True):
        assert isinstance(ended, SandboxLost)
    assert all(start.cancelled() for start in starts.pending)
    with pytest.raises(SandboxLost):
        await pool.lease().__aenter__()


def test_what_a_burst_leaves_behind_ends_except_for_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.01)

    async def start(function: Function) -> Sandbox:
        return FakeSandbox()

    async def run() -> None:
        pool = _pool(start)
        requests = [Request(pool) for _ in range(20)]
        await asyncio.gather(*(request.started.wait() for request in requests))
        for request in requests:
            await request.end()
        await asyncio.sleep(0.1)
        alive = {request.sandbox for request in requests if not getattr(request.sandbox, "stopped", True)}
        assert pool._all == alive
        assert len(alive) == module._ALWAYS_KEPT
        await pool.close()

    asyncio.run(asyncio.wait_for(run(), 10))
