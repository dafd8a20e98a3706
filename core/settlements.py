"""Settlements that are made whatever happens meanwhile: the client leaves, the store fails for a while.

What cannot be made soon is logged with all that it takes to make it (`python -m core settlement replay`), and tried on
while the process lives. A reservation is settled once, however often that is tried; only the usage of an app without
limits, for which nothing is reserved, could be counted twice where the store loses an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from core import errors, logs
from core.ledger import Ledger, Reservation
from core.ports import Change, StoreError
from core.usage import Usage
from core.usage_archive import UsageArchive

_QUICK_TRIES = 3
"""While the client still waits for the end of its answer."""
_PATIENCE_SECONDS = 2.0
"""A store that takes longer may fail, and the process end meanwhile: so the log is told by then."""
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 30.0
_CLOSING_SECONDS = 2.0
_REVOCATIONS = 6
"""A reservation whose answer did not come may still be on its way: it is given back in half a minute, or was lost."""
_FIRST_REVOCATION_WAIT_SECONDS = 1.0


@dataclass(slots=True)
class _Pending:
    """A settlement that is not made yet, and what the log has been told of it."""

    reservation: Reservation
    change: Change
    is_said: bool = False

    def say_postponed(self) -> None:
        """With all that it takes to make it: whatever becomes of the process, this line is there."""
        if not self.is_said:
            self.is_said = True
            amounts, unmark = dict(self.change.amounts), self.change.unmark
            logs.write(logging.ERROR, "settlement_postponed", **self._fields(), amounts=amounts, unmark=unmark)

    def say_made(self) -> None:
        """Only where it was said to be postponed."""
        if self.is_said:
            logs.write(logging.INFO, "settlement_made", **self._fields())

    def _fields(self) -> dict[str, object]:
        return {"app": self.reservation.app.id, "shard": self.reservation.shard, "id": self.reservation.id}


class Settlements:
    """The settlements of one process."""

    def __init__(
        self,
        ledger: Ledger,
        archive: UsageArchive,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._archive = archive
        self._sleep = sleep
        self._random = random
        self._patience_seconds = patience_seconds
        self._working: set[asyncio.Task[Any]] = set()
        self._tidying: set[tuple[str, int]] = set()

    async def settle(self, reservation: Reservation, usage: Usage, nano_usd: int) -> None:
        """Settle a reservation, even where the caller is cancelled meanwhile. Returns once it is done or postponed."""

        async def work() -> None:
            counters = await self._ledger.settle(reservation, usage, nano_usd)
            if counters is not None:
                self.tidy(reservation, counters)

        await self._insist(reservation, work, self._ledger.settlement(reservation, usage, nano_usd))

    async def cancel(self, reservation: Reservation) -> None:
        """Give a reservation back, as `settle` settles one."""
        if reservation.id is not None:
            cancellation = self._ledger.cancellation(reservation)
            await self._insist(reservation, lambda: self._ledger.cancel(reservation), cancellation)

    def revoke(self, reservation: Reservation) -> None:
        """Give back, while nobody waits for it, a reservation of which it is not known whether it was made."""
        if reservation.id is not None:
            fields = {"app": reservation.app.id, "shard": reservation.shard, "id": reservation.id}
            logs.write(logging.WARNING, "reservation_unsure", **fields)
            self._start(self._revoke(reservation))

    async def unless_left(self, reserving: Coroutine[Any, Any, Reservation]) -> Reservation:
        """What `reserving` reserves. If the caller is cancelled meanwhile, it is given back as soon as it is there."""
        task = asyncio.ensure_future(reserving)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._start(self._give_back(task))
            raise

    async def _give_back(self, reserving: Awaitable[Reservation]) -> bool:
        try:
            reservation = await reserving
        except (errors.TrefoilError, StoreError):
            return False
        await self.cancel(reservation)
        return True

    async def _revoke(self, reservation: Reservation) -> bool:
        wait = _FIRST_REVOCATION_WAIT_SECONDS
        for _ in range(_REVOCATIONS):
            with contextlib.suppress(StoreError):
                if await self._ledger.cancel(reservation):
                    return True
            await self._sleep(wait)
            wait *= 2
        return False

    async def idle(self) -> None:
        """Wait until all that was begun is done."""
        while self._working:
            await asyncio.gather(*self._working, return_exceptions=True)

    async def close(self) -> None:
        """Make what can be made soon, and let go of the rest: what was postponed is in the log."""
        if self._working:
            await asyncio.wait(self._working, timeout=_CLOSING_SECONDS)
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    async def _insist(self, reservation: Reservation, work: Callable[[], Awaitable[object]], change: Change) -> None:
        pending = _Pending(reservation, change)
        saying = asyncio.get_running_loop().call_later(self._patience_seconds, pending.say_postponed)
        quick = self._start(self._try(work, _QUICK_TRIES))
        quick.add_done_callback(lambda done: self._go_on(done, saying, pending, work))
        await asyncio.shield(quick)

    def _start(self, work: Any) -> asyncio.Task[bool]:
        task: asyncio.Task[bool] = asyncio.ensure_future(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return task

    async def _try(self, work: Callable[[], Awaitable[object]], tries: int | None) -> bool:
        """Whether it was done; without a number of tries, it is tried until it is."""
        number, wait = 0, _FIRST_WAIT_SECONDS
        while True:
            number += 1
            try:
                await work()
                return True
            except StoreError:
                if number == tries:
                    return False
            await self._sleep(wait * (0.5 + self._random() / 2))
            wait = min(_LONGEST_WAIT_SECONDS, wait * 2)

    def _go_on(
        self,
        quick: asyncio.Task[bool],
        saying: asyncio.TimerHandle,
        pending: _Pending,
        work: Callable[[], Awaitable[object]],
    ) -> None:
        saying.cancel()
        if not quick.cancelled() and quick.exception() is not None:
            return
        if not quick.cancelled() and quick.result():
            pending.say_made()
            return
        pending.say_postponed()

        async def until_made() -> bool:
            await self._try(work, None)
            pending.say_made()
            return True

        if not quick.cancelled():  # which it is when the process ends
            self._start(until_made())

    def tidy(self, reservation: Reservation, counters: Mapping[str, int]) -> None:
        """Take away what is over, while nobody waits for it, unless this is being done."""
        place = (reservation.app.id, reservation.shard)
        if place not in self._tidying:
            self._tidying.add(place)
            self._start(self._tidy(reservation, counters)).add_done_callback(lambda _: self._tidying.discard(place))

    async def _tidy(self, reservation: Reservation, counters: Mapping[str, int]) -> bool:
        try:
            await self._ledger.tidy(reservation, counters)
            await self._archive.move(reservation.app.id, reservation.shard, counters)
        except StoreError as error:  # the next one does it, and what is half archived is not lost
            logs.write(logging.WARNING, "ledger_not_tidied", app=reservation.app.id, error=str(error))
        return True
