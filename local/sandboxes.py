"""The sandboxes of one function, as Lambda keeps them: one request each at a time, reused until one breaks."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from local.runtime_api import FunctionError, SandboxError, SandboxLost
from local.sandbox import Function, Sandbox

# More at once would only slow each other down: what a sandbox does while it starts is to import.
_STARTS_AT_ONCE = 2 * (os.cpu_count() or 1)
_IDLE_SECONDS = 60.0
_ALWAYS_KEPT = 4


class Throttled(Exception):
    """As many requests are being answered as may be at once."""


class Sandboxes:
    """At most `function.concurrency` sandboxes, for as many requests. A request gets an idle one; where there is none,
    the first that becomes idle or has started for it. What a burst leaves behind ends after a minute without work.
    """

    def __init__(self, function: Function, *, start: Callable[[Function], Awaitable[Sandbox]] = Sandbox.start) -> None:
        self._function = function
        self._start = start
        self._leases = 0
        self._turns: deque[asyncio.Future[Sandbox]] = deque()
        self._starts: set[asyncio.Task[None]] = set()
        self._all: set[Sandbox] = set()
        self._idle: dict[Sandbox, float] = {}
        """Since when each has been idle: the one used last at the end, those that were never used at the beginning."""
        self._ends: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Sandbox]:
        """An idle sandbox for one request. One that fails or is left half-way is stopped, not used again.

        Raises:
            Throttled: the function's concurrency is used up.
            SandboxError: the sandbox that was to start for this request did not.
        """
        if self._leases >= self._function.concurrency:
            raise Throttled
        self._leases += 1
        try:
            sandbox = await self._take()
            try:
                yield sandbox
            except FunctionError:
                self._offer(sandbox)
                raise
            except BaseException:
                await self._discard(sandbox)
                raise
            self._offer(sandbox)
        finally:
            self._leases -= 1

    async def warm(self) -> None:
        """Have a sandbox ready. Raises `SandboxError` where none can be."""
        async with self.lease():
            pass

    async def close(self) -> None:
        """Stop all, and start no more; requests that are being answered break off."""
        self._closed = True
        for start in self._starts:
            start.cancel()
        while self._turns:
            self._refuse(SandboxLost("the emulator is stopping"))
        await asyncio.gather(*self._starts, *self._ends, return_exceptions=True)
        for sandbox in list(self._all):
            await self._discard(sandbox)

    async def _take(self) -> Sandbox:
        while True:
            sandbox = self._idle.popitem()[0] if self._idle else await self._next()
            try:
                await sandbox.idle()
            except SandboxError:  # it broke after its last answer, which is not this request's fault
                await self._discard(sandbox)
            except BaseException:
                await self._discard(sandbox)
                raise
            else:
                return sandbox

    async def _next(self) -> Sandbox:
        """Wait in line for a sandbox."""
        if self._closed:
            raise SandboxLost("the emulator is stopping")
        turn: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        self._start_enough()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and not turn.exception():
                self._offer(turn.result())
            raise

    def _offer(self, sandbox: Sandbox, *, used: bool = True) -> None:
        """An idle sandbox for whoever has waited longest, or else for a request to come: those in use go on in use."""
        if turn := self._first_turn():
            turn.set_result(sandbox)
        elif sandbox in self._all:
            loop = asyncio.get_running_loop()
            newest = {sandbox: loop.time()}
            self._idle = self._idle | newest if used else newest | self._idle
            loop.call_later(_IDLE_SECONDS, self._end_surplus)

    def _refuse(self, error: Exception) -> None:
        if turn := self._first_turn():
            turn.set_exception(error)

    def _first_turn(self) -> asyncio.Future[Sandbox] | None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                return turn
        return None

    def _start_enough(self) -> None:
        """A start for each that waits, as far as there is room."""
        room = self._function.concurrency - len(self._all)
        wanted = min(len(self._turns), _STARTS_AT_ONCE, room)
        while len(self._starts) < wanted and not self._closed:
            start = asyncio.create_task(self._start_one())
            self._starts.add(start)
            start.add_done_callback(self._started)

    async def _start_one(self) -> None:
        try:
            sandbox = await self._start(self._function)
            try:
                await sandbox.idle()
            except BaseException:
                await sandbox.stop()
                raise
        except Exception as error:  # of whatever kind: somebody is waiting, and must be told
            self._refuse(error)
        else:
            self._all.add(sandbox)
            self._offer(sandbox, used=False)

    def _started(self, start: asyncio.Task[None]) -> None:
        self._starts.discard(start)
        self._start_enough()

    def _end_surplus(self) -> None:
        """End those that have been idle for long, except for a few."""
        earliest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        for sandbox in [sandbox for sandbox, since in self._idle.items() if since <= earliest]:
            if len(self._idle) <= _ALWAYS_KEPT:
                return
            del self._idle[sandbox]
            end = asyncio.create_task(self._discard(sandbox))
            self._ends.add(end)
            end.add_done_callback(self._ends.discard)

    async def _discard(self, sandbox: Sandbox) -> None:
        self._all.discard(sandbox)
        await sandbox.stop()
        self._start_enough()
