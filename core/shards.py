"""A limit that is split over several items of the store, so that no single one has to bear every request."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from core import ledger_item
from core.ports import Change, Outcome, Store

MOST_SHARDS = 64


def share(limit: int, shard: int, shards: int) -> int:
    """How much of a limit one shard has. The shares make up the limit."""
    return limit // shards + (shard < limit % shards)


def ceilings(limits: Mapping[str, int], shard: int, shards: int) -> dict[str, int]:
    """The shares of several limits, by the name of their counter."""
    return {name: share(limit, shard, shards) for name, limit in limits.items()}


class Lender:
    """Lets one shard use what others have left: a request is refused only if all together cannot bear it."""

    def __init__(self, store: Store, app_id: str, limits: Mapping[str, int], shards: int) -> None:
        self._store = store
        self._app_id = app_id
        self._limits = limits
        self._shards = shards

    def short(self, amounts: Mapping[str, int], outcomes: Mapping[int, Outcome]) -> str | None:
        """The counter of which all shards together have not enough left for `amounts`; None if there is none."""
        for name in self._limits:
            left = sum(self._left(name, shard, outcome) for shard, outcome in outcomes.items())
            if left < amounts.get(name, 0):
                return name
        return None

    async def gather(self, amounts: Mapping[str, int], outcomes: Mapping[int, Outcome]) -> int:
        """Bring what `amounts` need to one shard, and say to which. What is there is as `outcomes` told.

        What others take meanwhile may be missing in the end. What is on its way when a process dies stays away: it is
        marked where it was taken, and can then not be used, but never twice.
        """
        borrower = max(outcomes, key=lambda shard: self._fit(amounts, shard, outcomes[shard]))
        for name in self._limits:
            wanted = amounts.get(name, 0) - self._left(name, borrower, outcomes[borrower])
            for shard in sorted(outcomes, key=lambda shard: -self._left(name, shard, outcomes[shard])):
                amount = min(wanted, self._left(name, shard, outcomes[shard]))
                if shard != borrower and amount > 0 and await self._move(name, amount, shard, borrower):
                    wanted -= amount
        return borrower

    async def _move(self, name: str, amount: int, lender: int, borrower: int) -> bool:
        """Whether the lender still had as much."""
        mark = ledger_item.LENT + secrets.token_hex(8)
        take = Change(
            {name: amount},
            {name: share(self._limits[name], lender, self._shards)},
            mark=(mark, {"counter": name, "amount": amount, "to": borrower}),
        )
        source = ledger_item.key(self._app_id, lender)
        if not (await self._store.add_within(source, take)).done:
            return False
        await self._store.add_within(ledger_item.key(self._app_id, borrower), Change({name: -amount}))
        await self._store.add_within(source, Change({}, unmark=mark))
        return True

    def _left(self, name: str, shard: int, outcome: Outcome) -> int:
        return max(0, share(self._limits[name], shard, self._shards) - outcome.counters.get(name, 0))

    def _fit(self, amounts: Mapping[str, int], shard: int, outcome: Outcome) -> int:
        """How little would have to be moved to a shard; the higher, the less."""
        return -sum(max(0, amounts.get(name, 0) - self._left(name, shard, outcome)) for name in self._limits)
