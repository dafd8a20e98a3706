"""The ledgers as their operators read and mend them: what was used and spent, and what stands reserved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from core import ledger_item
from core.ledger_item import RESERVATION, Standing, UsageRow
from core.ports import App, Change, Store, Value
from core.shards import MOST_SHARDS, Loans, share
from core.usage import Usage
from core.usage_archive import UsageArchive
from core.windows import TOTAL, Windows


class Spending(NamedTuple):
    """What an app has spent, in nano-dollars, without what is reserved."""

    day_nano_usd: int
    month_nano_usd: int
    total_nano_usd: int
    reserved_nano_usd: int


class Books:
    """Reads all shards of an app's ledger. Requests that are at work meanwhile may be seen or not."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._archive = UsageArchive(store, clock=clock)
        self._clock = clock

    async def usage(self, app_id: str, first_day: str, last_day: str) -> list[UsageRow]:
        """What the app used from one day to another, both included, such as `2026-11-25`, in this order of days."""
        before = await self._items(app_id)
        while True:
            for shard, item in before.items():
                await self._archive.finish(app_id, shard, item["marks"])
            counters: dict[str, int] = {}
            async for day in self._archive.days(app_id):
                _add(counters, day)
            after = await self._items(app_id)
            if self._past(before) == self._past(after):
                break
            before = after  # a day was archived while it was read, and may have been seen twice, or not at all
        for item in after.values():
            _add(counters, item["counters"])
        return sorted(row for row in ledger_item.rows(counters) if first_day <= row.day <= last_day)

    async def standing(self, app_id: str) -> list[Standing]:
        """The reservations that are not settled, the oldest first."""
        items = await self._items(app_id)
        found = [one for shard, item in items.items() for one in ledger_item.standing(shard, item["marks"])]
        return sorted(found, key=lambda one: (one.at, one.id))

    async def spending(self, app: App) -> Spending:
        windows = Windows(int(self._clock()))
        items = await self._items(app.id)
        for shard, item in items.items():
            if await Loans(self._store, app.id).finish(shard, item["marks"], now=windows.at):
                return await self.spending(app)
        sums: dict[str, int] = {}
        reserved: list[Standing] = []
        for shard, item in items.items():
            _add(sums, item["counters"])
            reserved += ledger_item.standing(shard, item["marks"])

        def spent(counter: str) -> int:
            still = sum(one.nano_usd for one in reserved if counter in _money(Windows(one.at)))
            return sums.get(counter, 0) - still

        return Spending(spent(windows.day), spent(windows.month), spent(TOTAL), sum(one.nano_usd for one in reserved))

    async def release(self, app_id: str, reservation_id: str, *, charge: bool) -> bool:
        """Settle a reservation whose process died: for nothing, or, with `charge`, for all that was reserved.

        Whether there was such a reservation.
        """
        for one in await self.standing(app_id):
            if one.id == reservation_id:
                change = _charged(one) if charge else _returned(one)
                return (await self._store.add_within(ledger_item.key(app_id, one.shard), change)).done
        return False

    async def reshard(self, app_id: str, old: int, new: int) -> None:
        """Spread what the app has spent and reserved over another number of shards.

        Nobody may reserve meanwhile. A change that is broken off leaves too much counted, never too little; done again,
        it goes on from there.
        """
        windows = Windows(int(self._clock()))
        items = await self._items(app_id, at_least=new)
        for counter in (windows.day, windows.month, TOTAL):
            now = {n: items[n]["counters"].get(counter, 0) if n in items else 0 for n in range(max(old, new))}
            total = sum(now.values())
            moves = {n: (share(total, n, new) if n < new else 0) - count for n, count in now.items()}
            for shard, amount in sorted(moves.items(), key=lambda move: -move[1]):
                if amount:
                    await self._store.add_within(ledger_item.key(app_id, shard), Change({counter: amount}))

    async def forget(self, app_id: str) -> None:
        """Delete all that is known of what the app used."""
        for shard in await self._items(app_id):
            await self._store.delete(ledger_item.key(app_id, shard))
        await self._archive.forget(app_id)

    def _past(self, items: Mapping[int, Value]) -> list[tuple[int, str]]:
        """What of the items is archived or about to be."""
        return [
            (shard, name)
            for shard, item in items.items()
            for name in (*self._archive.past(item["counters"]), *item["marks"])
            if not name.startswith(RESERVATION)
        ]

    async def _items(self, app_id: str, *, at_least: int = 1) -> Mapping[int, Value]:
        """Each shard's value. Those of shards that are no more are among them: requests may still be settled there."""
        record = await self._store.get(App.key(app_id))
        app = None if record is None else App.model_validate(record)
        shards = MOST_SHARDS if app is None else max(at_least, app.limits.shards, app.most_shards)
        values = await asyncio.gather(*(self._store.get(ledger_item.key(app_id, n)) for n in range(shards)))
        return {shard: value for shard, value in enumerate(values) if value is not None}


def _returned(one: Standing) -> Change:
    windows = Windows(one.at)
    amounts = dict.fromkeys(_money(windows), -one.nano_usd) if one.nano_usd else {}
    return Change(amounts, unmark=RESERVATION + one.id)


def _charged(one: Standing) -> Change:
    used = ledger_item.usage_amounts(Windows(one.at).date, one.endpoint, one.model, Usage(), one.nano_usd, requests=1)
    return Change(used, unmark=RESERVATION + one.id)


def _money(windows: Windows) -> tuple[str, str, str]:
    return windows.day, windows.month, TOTAL


def _add(sums: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        sums[name] = sums.get(name, 0) + count
