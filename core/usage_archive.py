"""What becomes of a day's usage when the day is over: it moves from the ledger into an item of its own.

So the ledger stays small, whatever an app has used in its life. The move is exact whoever dies in its midst, or does
the same at the same time: what leaves the ledger stands in a mark there until the archive has it, and the archive takes
each mark once.
"""

from __future__ import annotations

import calendar
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from core import ledger_item
from core.ledger_item import ARCHIVING
from core.ports import Change, Key, Store, Value
from core.windows import iso_day

_TAKEN = "taken/"
"""How the archive's counters begin that tell which marks it has taken."""
_MOVES = "archived"
"""The ledger's counter of moves: one that has seen another state of the ledger than there is now is refused."""
_SETTLING_SECONDS = 3600
"""So long after its end a day stays in the ledger, for the requests that began in it."""
_KEPT_SECONDS = 800 * 86_400
_MOST_AT_ONCE = 8
"""With the count of moves and the mark, the most that `Change` allows for an item that others change all the time."""


class UsageArchive:
    """The days that are over, of all apps."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def past(self, counters: Mapping[str, int]) -> dict[str, int]:
        """Those of a ledger's counters that are to be archived; at most so many as one move takes."""
        today = iso_day(int(self._clock()) - _SETTLING_SECONDS)
        past = {name: count for name, count in counters.items() if (ledger_item.usage_day(name) or today) < today}
        return dict(sorted(past.items())[:_MOST_AT_ONCE])

    async def move(self, app_id: str, shard: int, counters: Mapping[str, int]) -> None:
        """Archive what is `past` among the counters of a ledger's item. Three writes, if there is any.

        Where one of them has changed since, nothing is moved: it will be the next time.

        Raises:
            StoreError: it may be half done; `finish` does the rest.
        """
        key, past = ledger_item.key(app_id, shard), self.past(counters)
        mark = ARCHIVING + secrets.token_hex(8)
        change = Change(
            {_MOVES: 1},
            ceilings={**past, _MOVES: counters.get(_MOVES, 0) + 1},
            mark=(mark, {"counters": past}),
            drop=past.keys(),
        )
        if past and (await self._store.add_within(key, change)).done:
            await self._take(app_id, shard, mark, past)

    async def finish(self, app_id: str, shard: int, marks: Mapping[str, Value]) -> None:
        """Archive what others had taken out of a ledger's item when they died."""
        for mark, said in marks.items():
            if mark.startswith(ARCHIVING):
                await self._take(app_id, shard, mark, said["counters"])

    async def days(self, app_id: str) -> AsyncIterator[Mapping[str, int]]:
        """The counters of each day that is archived, by shards."""
        async for _, value in self._store.list(_partition(app_id)):
            yield value["counters"]

    async def forget(self, app_id: str) -> None:
        async for name, _ in self._store.list(_partition(app_id)):
            await self._store.delete(Key(_partition(app_id), name))

    async def _take(self, app_id: str, shard: int, mark: str, counters: Mapping[str, Any]) -> None:
        taken = _TAKEN + mark
        for day in {ledger_item.usage_day(name) or "" for name in counters}:
            amounts = {name: count for name, count in counters.items() if ledger_item.usage_day(name) == day}
            await self._store.add_within(
                Key(_partition(app_id), f"{day}/{shard:02}"),
                # Past its ceiling, if it was taken before.
                Change({**amounts, taken: 1}, ceilings={taken: 1}),
                expires_at=calendar.timegm(time.strptime(day, "%Y-%m-%d")) + _KEPT_SECONDS,
            )
        await self._store.add_within(ledger_item.key(app_id, shard), Change({}, unmark=mark))


def _partition(app_id: str) -> str:
    return f"apps/{app_id}/usage"
