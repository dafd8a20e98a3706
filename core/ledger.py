"""What each app may still use: reserved before a request, settled after it, each by one write to one item of the store.

The item holds everything that a request is counted in: requests and tokens of the minute, money of the day, of the
month and in all, and what was used by endpoint and model, so that the sum of what was used is what was spent. A
reservation is an upper bound, made only where no limit would be passed; it leaves a mark, which its settlement takes
away: so it is settled once. That of a process that died stays, and goes on counting.

How apps' operators read it is in `core.books`, what becomes of a past day in `core.usage_archive`.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from core import errors, ledger_item, refusals
from core.ports import App, Change, Key, Limits, Outcome, Store, StoreError
from core.shards import Lender, are_on_their_way, ceilings
from core.usage import Usage
from core.windows import TOTAL, Windows

_LENDINGS = 8
"""So often shares are looked at and moved for one request before it is refused because others were always quicker."""
_MOST_CROWDED = 100
"""Of so many items with many rows it is remembered which these are."""
_MOST_DROPPED = 10
_FEWEST_DROPPED = 8
"""So many windows have to be over before they are worth a write."""


class Reservation(NamedTuple):
    """A place in the ledger for what a call will have cost."""

    app: App
    shard: int
    windows: Windows
    endpoint: str
    model: str
    """As the client named it; empty where it named none."""
    id: str | None = None
    """None where nothing was reserved, since the app has no limits."""
    tokens: int = 0
    nano_usd: int = 0
    counters: Mapping[str, int] | None = None
    """The shard's, with this reservation in them."""


class Unsure(StoreError):
    """The store has failed: nobody knows whether a reservation was made. If it was, it has to be given back."""

    def __init__(self, failure: StoreError, reservation: Reservation) -> None:
        super().__init__(str(failure))
        self.reservation = reservation


class Ledger:
    """The ledgers of all apps, as requests write them."""

    def __init__(
        self, store: Store, *, clock: Callable[[], float] = time.time, choose: Callable[[int], int] = random.randrange
    ) -> None:
        """
        Args:
            choose: a random number below the given one: which shard is tried first.
        """
        self._store = store
        self._clock = clock
        self._choose = choose
        self._crowded: dict[Key, Mapping[str, int]] = {}
        """The counters of items that are full of rows, or soon will be."""

    async def reserve(
        self, app: App, endpoint: str, model: str, *, tokens: int, nano_usd: int, is_free: bool = False
    ) -> Reservation:
        """Room for a request that uses `tokens` and `nano_usd` at most.

        One write; where the app's counters are split and the first shard is full, one for each that is tried.

        Args:
            is_free: the call costs nothing: it is only counted, and has to be settled only where it has no counters.

        Raises:
            RequestsLimited, TokensLimited, QuotaExceeded: it would pass one of the app's limits.
            Unsure: the store failed while it was being made.
            StoreError: the store failed before.
        """
        reservation = self.without_limits(app, endpoint, model)
        limits = app.limits
        if not limits.are_counted or (is_free and limits.requests_per_minute is None):
            return reservation
        windows = reservation.windows
        if is_free:
            change = Change({windows.requests: 1} | self._used(reservation, Usage(), 0))
        else:
            new_id = os.urandom(8).hex()
            reservation = Reservation(app, reservation.shard, windows, endpoint, model, new_id, tokens, nano_usd)
            mark = ledger_item.reservation_mark(windows.at, endpoint, model, tokens, nano_usd)
            change = Change(
                _amounts(limits, windows, requests=1, tokens=tokens, nano_usd=nano_usd),
                mark=(f"{ledger_item.RESERVATION}{reservation.id}", mark),
            )
        shard, outcome = await self._place(reservation, change, _limits(limits, windows))
        return reservation._replace(shard=shard, counters=outcome.counters)

    def without_limits(self, app: App, endpoint: str, model: str) -> Reservation:
        """A place for a call for which nothing is reserved: it can only be settled."""
        shards = app.limits.shards
        shard = self._choose(shards) if shards > 1 else 0
        return Reservation(app, shard, Windows(int(self._clock())), endpoint, model)

    async def settle(self, reservation: Reservation, usage: Usage, nano_usd: int) -> Mapping[str, int] | None:
        """Put what a call has really cost in the place of its reservation. One write.

        Returns the shard's counters, to see what in them can go; None where it was settled before.

        Raises:
            StoreError: it is not known to be done. It can be tried again: what is reserved is settled once.
        """
        key = ledger_item.key(reservation.app.id, reservation.shard)
        outcome = await self._store.add_within(key, self.settlement(reservation, usage, nano_usd))
        self._note(key, outcome.counters)
        return outcome.counters if outcome.done else None

    async def cancel(self, reservation: Reservation) -> bool:
        """Give back what was reserved for a call that has cost nothing. The request itself stays counted.

        Whether there was anything to give back.

        Raises:
            StoreError: as `settle`.
        """
        if reservation.id is None:
            return False
        key = ledger_item.key(reservation.app.id, reservation.shard)
        return (await self._store.add_within(key, self.cancellation(reservation))).done

    async def tidy(self, reservation: Reservation, counters: Mapping[str, int]) -> None:
        """Take away the counters of windows that are over, if there are several. One write then.

        Raises:
            StoreError: they may still be there.
        """
        if stale := self.stale(counters):
            key = ledger_item.key(reservation.app.id, reservation.shard)
            await self._store.add_within(key, Change({}, drop=frozenset(stale)))

    def stale(self, counters: Mapping[str, int]) -> list[str]:
        """Those of a ledger's counters that `tidy` would take away now."""
        stale = Windows(int(self._clock())).stale(counters)
        return stale[:_MOST_DROPPED] if len(stale) >= _FEWEST_DROPPED else []

    def settlement(self, reservation: Reservation, usage: Usage, nano_usd: int) -> Change:
        """The change that settles a reservation."""
        correction = self._correction(reservation, usage.tokens, nano_usd)
        return Change({**correction, **self._used(reservation, usage, nano_usd)}, unmark=_mark(reservation))

    def cancellation(self, reservation: Reservation) -> Change:
        """The change that gives a reservation back."""
        return Change(self._correction(reservation, 0, 0), unmark=_mark(reservation))

    def _used(self, reservation: Reservation, usage: Usage, nano_usd: int) -> dict[str, int]:
        """What to add to the rows of usage for one call."""
        day, endpoint = reservation.windows.date, reservation.endpoint
        known = self._crowded.get(ledger_item.key(reservation.app.id, reservation.shard), reservation.counters or {})
        model = ledger_item.fitting_model(known, day, endpoint, reservation.model)
        return ledger_item.usage_amounts(day, endpoint, model, usage, nano_usd, requests=1)

    def _note(self, key: Key, counters: Mapping[str, int]) -> None:
        self._crowded.pop(key, None)
        if len(counters) >= ledger_item.MOST_ROWS:
            if len(self._crowded) >= _MOST_CROWDED:
                self._crowded.clear()
            self._crowded[key] = counters

    def _correction(self, reservation: Reservation, tokens: int, nano_usd: int) -> dict[str, int]:
        windows = reservation.windows
        in_time = reservation.id is not None and windows.counts_minute_at(int(self._clock()))
        return _amounts(
            reservation.app.limits,
            windows,
            tokens=tokens - reservation.tokens if in_time else 0,
            nano_usd=nano_usd - reservation.nano_usd,
        )

    async def _place(self, reservation: Reservation, change: Change, limits: Mapping[str, int]) -> tuple[int, Outcome]:
        """The shard where the change was made, and what came of it."""
        # What a call does not add to cannot refuse it, though a limit may be lower by now than what it is for.
        limits = {name: limit for name, limit in limits.items() if change.amounts.get(name, 0) > 0}
        app, first, shards = reservation.app, reservation.shard, reservation.app.limits.shards
        outcomes: dict[int, Outcome] = {}
        over: str | None = None
        for step in range(shards):
            shard = (first + step) % shards
            outcomes[shard] = outcome = await self._make(reservation, shard, change, limits)
            if outcome.done:
                return shard, outcome
            over = outcome.over or over
        lender = Lender(self._store, app.id, limits, shards, clock=self._clock)
        for _ in range(_LENDINGS if shards > 1 else 0):
            if lender.short(change.amounts, outcomes):
                seen = outcomes
                outcomes, are_moving = await self._look(app.id, shards)
                if not are_moving and _agree(seen, outcomes, limits):
                    break
                continue
            shard = await lender.gather(change.amounts, outcomes)
            outcome = await self._make(reservation, shard, change, limits)
            if outcome.done:
                return shard, outcome
            over = outcome.over or over
            outcomes, _ = await self._look(app.id, shards)
        over = lender.short(change.amounts, outcomes) or over
        raise self._refusal(app, change, limits, reservation.windows, outcomes, over)

    async def _make(self, reservation: Reservation, shard: int, change: Change, limits: Mapping[str, int]) -> Outcome:
        """
        Raises:
            Unsure: it is not known whether the change was made.
        """
        key = ledger_item.key(reservation.app.id, shard)
        shares = ceilings(limits, shard, reservation.app.limits.shards)
        try:
            outcome = await self._store.add_within(key, Change(change.amounts, shares, change.mark))
        except StoreError as failure:
            raise Unsure(failure, reservation._replace(shard=shard)) from failure
        self._note(key, outcome.counters)
        return outcome

    async def _look(self, app_id: str, shards: int) -> tuple[dict[int, Outcome], bool]:
        """How the shards stand now, and whether something is on its way between them."""
        values = await asyncio.gather(*(self._store.get(ledger_item.key(app_id, shard)) for shard in range(shards)))
        are_moving = are_on_their_way((value for value in values if value), now=int(self._clock()))
        outcomes = {n: Outcome(False, value["counters"] if value else {}) for n, value in enumerate(values)}
        return outcomes, are_moving

    @staticmethod
    def _refusal(
        app: App,
        change: Change,
        limits: Mapping[str, int],
        windows: Windows,
        outcomes: Mapping[int, Outcome],
        over: str | None,
    ) -> errors.TrefoilError:
        assert over is not None
        used = {
            name: max(0, sum(outcome.counters.get(name, 0) for outcome in outcomes.values()))
            for name in (windows.requests, windows.tokens, over)
        }
        return refusals.of(app, windows, over, limit=limits[over], used=used, wanted=change.amounts[over])


def _agree(before: Mapping[int, Outcome], after: Mapping[int, Outcome], limits: Mapping[str, int]) -> bool:
    """Whether nothing changed between two looks at all shards: so it all was there at one moment.

    Each look takes its time. What is given back at one shard when that was seen, and reserved at another before that is
    seen, looks as if there had been no room at any moment.
    """
    return all(
        before[shard].counters.get(name, 0) == after[shard].counters.get(name, 0) for shard in after for name in limits
    )


def _limits(limits: Limits, windows: Windows) -> Mapping[str, int]:
    """What each counter must not pass, where there is a limit."""
    known: dict[str, int] = {}
    if limits.requests_per_minute is not None:
        known[windows.requests] = limits.requests_per_minute
    if limits.tokens_per_minute is not None:
        known[windows.tokens] = limits.tokens_per_minute
    if limits.day_nano_usd is not None:
        known[windows.day] = limits.day_nano_usd
    if limits.month_nano_usd is not None:
        known[windows.month] = limits.month_nano_usd
    if limits.total_nano_usd is not None:
        known[TOTAL] = limits.total_nano_usd
    return known


def _amounts(
    limits: Limits, windows: Windows, *, requests: int = 0, tokens: int = 0, nano_usd: int = 0
) -> dict[str, int]:
    """What to add to which counter. Money is always counted, since a budget may be set later; minutes are not."""
    amounts: dict[str, int] = {}
    if requests and limits.requests_per_minute is not None:
        amounts[windows.requests] = requests
    if tokens and limits.tokens_per_minute is not None:
        amounts[windows.tokens] = tokens
    if nano_usd:
        amounts[windows.day] = amounts[windows.month] = amounts[TOTAL] = nano_usd
    return amounts


def _mark(reservation: Reservation) -> str | None:
    return None if reservation.id is None else ledger_item.RESERVATION + reservation.id
