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
_MOST_REMEMBERED = 10_000
"""Of so many ledgers it is remembered that nothing in them is over."""


@dataclass(slots=True)
class _Pending:
    """A settlement that is not made yet, and what the log has been told of it."""

    reservation: Reservation
    make: Callable[[], Awaitable[object]]
    change: Callable[[], Change]
    """What it comes to."""
    is_said: bool = False

    def say_postponed(self) -> None:
        """With all that it takes to make it: whatever becomes of the process, this line is there."""
        if not self.is_said:
            self.is_said = True
            change = self.change()
            amounts, unmark = dict(change.amounts), change.unmark
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
        self._nothing_over: dict[tuple[str, int], str] = {}
        """In which minute nothing was over in a ledger. What is over changes with the minute."""

    async def settle(self, reservation: Reservation, usage: Usage, nano_usd: int) -> None:
        """Settle a reservation, even where the caller is cancelled meanwhile. Returns once it is done or postponed."""

        async def make() -> None:
            counters = await self._ledger.settle(reservation, usage, nano_usd)
            if counters is not None:
                self.tidy(reservation, counters)

        await self._insist(_Pending(reservation, make, lambda: self._ledger.settlement(reservation, usage, nano_usd)))

    async def cancel(self, reservation: Reservation) -> None:
        """Give a reservation back, as `settle` settles one."""
        if reservation.id is not None:
            await self._insist(
                _Pending(
                    reservation,
                    lambda: self._ledger.cancel(reservation),
                    lambda: self._ledger.cancellation(reservation),
                )
            )

    def revoke(self, reservation: Reservation) -> None:
        """Give back, while nobody waits for it, a reservation of which it is not known whether it was made."""
        if reservation.id is not None:
            fields = {"app": reservation.app.id, "shard": reservation.shard, "id": reservation.id}
            logs.write(logging.WARNING, "reservation_unsure", **fields)
            self._start(self._revoke(reservation))

    async def unless_left(self, reserving: Coroutine[Any, Any, Reservation]) -> Reservation:
        """What `reserving` reserves. If the caller is cancelled meanwhile, it is given back as soon as it is there."""
        task = asyncio.get_running_loop().create_task(reserving)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._start(self._give_back(task))
            raise

    async def _give_back(self, reserving: Awaitable[Reservation]) -> None:
        with contextlib.suppress(errors.TrefoilError, StoreError):
            await self.cancel(await reserving)

    async def _revoke(self, reservation: Reservation) -> None:
        wait = _FIRST_REVOCATION_WAIT_SECONDS
        for _ in range(_REVOCATIONS):
            with contextlib.suppress(StoreError):
                if await self._ledger.cancel(reservation):
                    return
            await self._sleep(wait)
            wait *= 2

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

    async def _insist(self, pending: _Pending) -> None:
        """Make it, or see to it that it will be made, even where the caller is cancelled meanwhile."""
        making = self._start(self._make(pending))
        making.add_done_callback(lambda done: pending.say_postponed() if done.cancelled() else None)
        await asyncio.shield(making)

    async def _make(self, pending: _Pending) -> None:
        """Make it soon, or else go on trying while nobody waits for it."""
        saying = asyncio.get_running_loop().call_later(self._patience_seconds, pending.say_postponed)
        try:
            is_made = await self._try(pending.make, _QUICK_TRIES)
        finally:
            saying.cancel()
        if is_made:
            pending.say_made()
        else:
            pending.say_postponed()
            self._start(self._make_at_last(pending))

    async def _make_at_last(self, pending: _Pending) -> None:
        await self._try(pending.make, None)
        pending.say_made()

    def _start(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        task = asyncio.ensure_future(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return task

    async def _try(self, make: Callable[[], Awaitable[object]], tries: int | None) -> bool:
        """Whether it was done; without a number of tries, it is tried until it is."""
        number, wait = 0, _FIRST_WAIT_SECONDS
        while True:
            number += 1
            try:
                await make()
                return True
            except StoreError:
                if number == tries:
                    return False
            await self._sleep(wait * (0.5 + self._random() / 2))
            wait = min(_LONGEST_WAIT_SECONDS, wait * 2)

    def tidy(self, reservation: Reservation, counters: Mapping[str, int]) -> None:
        """Take away what is over, if anything is, while nobody waits for it, unless this is being done."""
        place, minute = (reservation.app.id, reservation.shard), reservation.windows.requests
        if place in self._tidying or self._nothing_over.get(place) == minute:
            return
        if self._ledger.stale(counters) or self._archive.past(counters):
            self._tidying.add(place)
            taking = self._start(self._take_away(reservation, counters))
            taking.add_done_callback(lambda _: self._tidying.discard(place))
        else:
            if len(self._nothing_over) >= _MOST_REMEMBERED:
                self._nothing_over.clear()
            self._nothing_over[place] = minute

    async def _take_away(self, reservation: Reservation, counters: Mapping[str, int]) -> None:
        try:
            await self._ledger.tidy(reservation, counters)
            await self._archive.move(reservation.app.id, reservation.shard, counters)
        except StoreError as error:  # the next one does it, and what is half archived is not lost
            logs.write(logging.WARNING, "ledger_not_tidied", app=reservation.app.id, error=str(error))
