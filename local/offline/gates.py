"""Gates by name: an answer waits at one until a test opens it, so a test proves an order of events without sleeping."""

from __future__ import annotations

import asyncio


class Gates:
    """Each opening lets one waiter through; an opening before anybody waits is kept."""

    def __init__(self) -> None:
        self._passes: dict[str, asyncio.Semaphore] = {}

    def open(self, name: str, count: int) -> None:
        """Let `count` waiters through, now or later."""
        for _ in range(count):
            self._named(name).release()

    async def wait(self, name: str) -> None:
        """Return when an opening was there for this waiter."""
        await self._named(name).acquire()

    def forget(self) -> None:
        """Drop the openings that nobody used; who waits, waits on."""
        self._passes = {name: passes for name, passes in self._passes.items() if passes.locked()}

    def _named(self, name: str) -> asyncio.Semaphore:
        return self._passes.setdefault(name, asyncio.Semaphore(0))
