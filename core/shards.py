"""A limit that is split over several items of the store, so that no single one has to bear every request."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from core import ledger_item
from core.ports import Change, Outcome, Store, Value

MOST_SHARDS = 64
_BRINGING_SECONDS = 20
"""So long may the process that took a loan bring it: if it was frozen meanwhile, it leaves that to others."""
_LONGEST_LOAN_SECONDS = 120
"""What has been on its way for longer, nobody is bringing any more: a call of the store takes less than the difference.
"""


class Loan(NamedTuple):
    counter: str
    amount: int
    borrower: int
    """The shard that it is for."""
    at: int
    """When it was made, in seconds since the epoch, UTC."""


def share(limit: int, shard: int, shards: int) -> int:
    """How much of a limit one shard has. The shares make up the limit."""
    return limit // shards + (shard < limit % shards)


def ceilings(limits: Mapping[str, int], shard: int, shards: int) -> dict[str, int]:
    """The shares of several limits, by the name of their counter."""
    if shards == 1:
        return dict(limits)
    return {name: share(limit, shard, shards) for name, limit in limits.items()}


def are_on_their_way(items: Iterable[Value], *, now: int) -> bool:
    """Whether something is on its way from one of these items to another, which for a moment looks like used."""
    return any(
        mark.startswith(ledger_item.LENT) and now - said["at"] <= _LONGEST_LOAN_SECONDS
        for item in items
        for mark, said in item["marks"].items()
    )


class Loans:
    """What is on its way from one shard to another of an app's ledger: taken here, and given there once."""

    def __init__(self, store: Store, app_id: str, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._app_id = app_id
        self._clock = clock

    async def make(self, loan: Loan, lender: int, ceiling: int) -> bool:
        """Whether the borrower has it now: the lender still had as much below its ceiling.

        Raises:
            StoreError: it may be half done; `finish` does the rest.
        """
        mark = ledger_item.LENT + secrets.token_hex(8)
        take = Change({loan.counter: loan.amount}, {loan.counter: ceiling}, mark=(mark, loan._asdict()))
        if not (await self._store.add_within(ledger_item.key(self._app_id, lender), take)).done:
            return False
        if self._clock() - loan.at > _BRINGING_SECONDS:  # others may have given it already, and left no trace of that
            return False
        await self._give(mark, loan, lender)
        return True

    async def finish(self, lender: int, marks: Mapping[str, Value], *, now: int) -> bool:
        """Give what others had taken out of a shard when they died, or when the store failed them. Whether there was
        any.
        """
        left = {mark: said for mark, said in marks.items() if mark.startswith(ledger_item.LENT)}
        old = {mark: said for mark, said in left.items() if now - said["at"] > _LONGEST_LOAN_SECONDS}
        for mark, said in old.items():
            await self._give(mark, Loan(**said), lender)
        return bool(old)

    async def _give(self, mark: str, loan: Loan, lender: int) -> None:
        borrower, given = ledger_item.key(self._app_id, loan.borrower), ledger_item.GIVEN + mark
        # Past its ceiling, if it was given before.
        await self._store.add_within(borrower, Change({loan.counter: -loan.amount, given: 1}, ceilings={given: 1}))
        await self._store.add_within(ledger_item.key(self._app_id, lender), Change({}, unmark=mark))
        await self._store.add_within(borrower, Change({}, drop={given}))


class Lender:
    """Lets one shard use what others have left: a request is refused only if all together cannot bear it."""

    def __init__(
        self, store: Store, app_id: str, limits: Mapping[str, int], shards: int, *, clock: Callable[[], float]
    ) -> None:
        self._loans = Loans(store, app_id, clock=clock)
        self._clock = clock
        self._limits = limits
        self._shards = shards

    def short(self, amounts: Mapping[str, int], outcomes: Mapping[int, Outcome]) -> str | None:
        """The counter of which all shards together have not enough left for `amounts`; None if there is none."""
        for name in self._limits:
            left = sum(self._share(name, shard) - outcome.counters.get(name, 0) for shard, outcome in outcomes.items())
            if left < amounts.get(name, 0):
                return name
        return None

    async def gather(self, amounts: Mapping[str, int], outcomes: Mapping[int, Outcome]) -> int:
        """Bring what `amounts` need to one shard, and say to which. What is there is as `outcomes` told.

        What others take meanwhile may be missing in the end.
        """
        borrower = max(outcomes, key=lambda shard: self._fit(amounts, shard, outcomes[shard]))
        for name in self._limits:
            wanted = amounts.get(name, 0) - self._left(name, borrower, outcomes[borrower])
            for shard in sorted(outcomes, key=lambda shard: -self._left(name, shard, outcomes[shard])):
                amount = min(wanted, self._left(name, shard, outcomes[shard]))
                if shard == borrower or amount <= 0:
                    continue
                loan = Loan(name, amount, borrower, int(self._clock()))
                if await self._loans.make(loan, shard, self._share(name, shard)):
                    wanted -= amount
        return borrower

    def _left(self, name: str, shard: int, outcome: Outcome) -> int:
        return max(0, self._share(name, shard) - outcome.counters.get(name, 0))

    def _share(self, name: str, shard: int) -> int:
        return share(self._limits[name], shard, self._shards)

    def _fit(self, amounts: Mapping[str, int], shard: int, outcome: Outcome) -> int:
        """How little would have to be moved to a shard; the higher, the less."""
        return -sum(max(0, amounts.get(name, 0) - self._left(name, shard, outcome)) for name in self._limits)
