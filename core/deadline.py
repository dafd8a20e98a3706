"""A deadline for all the waits of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class Deadline:
    """Ends the wait for a stream's next chunk when the time is up.

    `asyncio.timeout` would set a timer for each chunk, which takes a third of the time that a chunk takes in all. Here
    there is one timer for the stream.
    """

    def __init__(self, seconds: float | None) -> None:
        """
        Args:
            seconds: from now; None for no deadline.
        """
        self._passed = False
        self._waiting: asyncio.Task[object] | None = None
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._pass)

    async def next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        """The next of `chunks`; None where there are no more.

        Raises:
            TimeoutError: it did not come in time.
        """
        if self._passed:
            raise TimeoutError
        task = self._waiting = asyncio.current_task()
        assert task is not None
        cancelled_before = task.cancelling()
        try:
            return await anext(chunks, None)
        except asyncio.CancelledError:
            if self._passed and task.uncancel() <= cancelled_before:
                raise TimeoutError from None
            raise
        finally:
            self._waiting = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _pass(self) -> None:
        self._passed = True
        if self._waiting is not None:
            self._waiting.cancel()
