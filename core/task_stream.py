"""A task's answer as server-sent events, while it is still at work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic_core import to_json

from core import errors, logs
from core.http import Request
from core.ports import StoreError
from core.task_calls import Declined, Emit

HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class TaskStream:
    """The events of work that runs beside whoever reads them. If nobody does any more, it is given up."""

    def __init__(
        self,
        request: Request,
        work: Callable[[Emit], Awaitable[Mapping[str, Any]]],
        *,
        close: Callable[[], Awaitable[None]],
        on_end: Callable[[str], None],
    ) -> None:
        """
        Args:
            work: tells events as they come, and returns the last one.
            close: what has to be done after it, however it ends; doing it twice does nothing.
            on_end: told once how a started stream has ended.
        """
        self._request = request
        self._work = work
        self._close = close
        self._on_end = on_end
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._first: bytes | None = None
        self._open = False

    async def start(self) -> None:
        """Wait for the first event, while the response can still be something else.

        Raises:
            Whatever `work` raises before it.
        """
        self._task = asyncio.ensure_future(self._run())
        try:
            self._first = await self._events.get()
        except BaseException:
            await self.aclose()
            raise
        if self._first is None:
            await self._task
        self._open = True

    def __aiter__(self) -> TaskStream:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if not self._open:
            raise StopAsyncIteration
        event = await self._events.get()
        if event is not None:
            return event
        assert self._task is not None
        try:
            await self._task
        except Exception as error:
            return self._fail(error)
        self._end("ok")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Let the work go. Closing twice, or after the end, does nothing."""
        self._end("client_left")
        self._first = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()  # there is nobody to be told
        await self._close()

    async def _run(self) -> None:
        try:
            last = await self._work(lambda event: self._events.put_nowait(_event(event)))
            self._events.put_nowait(_event(last))
        finally:
            try:
                await self._close()
            finally:
                self._events.put_nowait(None)

    def _fail(self, error: Exception) -> bytes:
        """The event that says what went wrong, in OpenAI's shape."""
        if isinstance(error, Declined) and isinstance(error.response.body, bytes):
            self._end("upstream_declined")
            return b"data: " + b" ".join(error.response.body.splitlines()) + b"\n\n"
        if isinstance(error, StoreError):
            told: errors.TrefoilError = errors.StoreUnavailable()
        elif isinstance(error, errors.TrefoilError):
            told = error
        else:
            logs.write_crash(self._request, error)
            told = errors.InternalError()
        self._end(told.code or told.type)
        return errors.to_event(told)

    def _end(self, outcome: str) -> None:
        if self._open:
            self._open = False
            self._on_end(outcome)


def _event(event: Mapping[str, Any]) -> bytes:
    return b"data: " + to_json(event) + b"\n\n"
