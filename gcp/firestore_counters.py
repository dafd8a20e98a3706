"""Changes of counters in Firestore: exact, and never above a ceiling even for a moment.

Firestore has no condition on a sum. So a change is worked out here, and written on the condition that the document is
still the one that was worked on. A read-write transaction would need the same two calls, hold locks between them, and
fail no less often. Incrementing first and taking back what was too much would need one, but until it is taken back, a
smaller change that fits is refused.

Two things keep the calls few. Changes of one item that come while another is being written are then written together,
so that a process never competes with itself. And a process remembers what it wrote last: as long as no other writes the
same item, a change is one write and no read. A refusal, though, is never based on memory.

Processes that do compete for an item pause before they write it, for the longer the more often they collide. The pause
outlasts the write that it was needed for: who has just won does not come first again.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from core import counters
from core.ports import Change, Key, Outcome, StoreError, Value
from firestore_documents import Conflict, FirestoreDocuments, Found
from firestore_item import Item

_PATIENCE_SECONDS = 10.0
"""How long a change competes with other processes' for one document."""
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.01, 1.0
_WRITERS_KEPT = 16
_REMEMBERED = 1024


class _Waiting(NamedTuple):
    change: Change
    expires_at: int | None
    outcome: asyncio.Future[Outcome]


class _Memory(NamedTuple):
    found: Found | None
    pause_seconds: float
    """Up to this long before the item is read and written again. 0: no other process was seen to write it lately, so
    it need not even be read.
    """


_NOTHING = _Memory(None, 0.0)


class _Plan(NamedTuple):
    item: Item | None
    """What is to be written; None where no change is to be made."""
    outcomes: Sequence[Outcome]


class FirestoreCounters:
    def __init__(self, documents: FirestoreDocuments, clock: Callable[[], float]) -> None:
        self._documents = documents
        self._clock = clock
        self._queues: dict[Key, list[_Waiting]] = {}
        """The changes that wait, for each item that is being written."""
        self._writers: set[asyncio.Task[None]] = set()
        self._memory: OrderedDict[Key, _Memory] = OrderedDict()

    async def change(self, key: Key, change: Change, expires_at: int | None) -> Outcome:
        """
        Raises:
            StoreError: the change may have been made, or may not.
        """
        waiting = _Waiting(change, expires_at, asyncio.get_running_loop().create_future())
        if key in self._queues:
            self._queues[key].append(waiting)
        else:
            self._queues[key] = [waiting]
            # A task of its own: the caller may be cancelled, and others wait for the same write.
            writer = asyncio.create_task(self._write_all(key))
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return await waiting.outcome

    async def _write_all(self, key: Key) -> None:
        """Make the changes that wait, and those that come meanwhile."""
        try:
            while batch := [waiting for waiting in self._queues[key] if not waiting.outcome.cancelled()]:
                self._queues[key] = []
                await self._answer(key, batch)
        finally:
            del self._queues[key]

    async def _answer(self, key: Key, batch: Sequence[_Waiting]) -> None:
        failure: Exception | None = None
        outcomes: Sequence[Outcome] = ()
        try:
            outcomes = await self._make(key, batch)
        except Exception as error:  # whatever it is, it is each caller's to raise
            failure = error
        for place, waiting in enumerate(batch):
            if waiting.outcome.cancelled():
                continue
            if failure is None:
                waiting.outcome.set_result(outcomes[place])
            else:
                waiting.outcome.set_exception(failure)

    async def _make(self, key: Key, batch: Sequence[_Waiting]) -> Sequence[Outcome]:
        """Make the changes of a batch, one after the other, by one write."""
        known = self._memory.pop(key, _NOTHING)
        found, pause, fresh = known.found, known.pause_seconds, False
        sent: dict[str, Sequence[Outcome]] = {}
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            if pause or found is None:
                found, fresh = await self._read_after(pause, key), True
                if (made := _made_already(found, sent)) is not None:
                    return made
            writer = secrets.token_hex(6)
            plan = self._plan(found, batch, writer)
            if not fresh and not all(outcome.done for outcome in plan.outcomes):
                found = None
                continue
            if plan.item is not None:
                sent[writer] = plan.outcomes
                try:
                    found = await self._documents.replace(key, plan.item, found)
                except Conflict:
                    pause = _longer(pause, end)
                    continue
            self._remember(key, _Memory(found, _shorter(pause)))
            return plan.outcomes

    async def _read_after(self, pause_seconds: float, key: Key) -> Found | None:
        await asyncio.sleep(random.uniform(0, pause_seconds))  # noqa: S311
        return await self._documents.read(key)

    def _plan(self, found: Found | None, batch: Sequence[_Waiting], writer: str) -> _Plan:
        alive = found is not None and found.item.is_alive(self._clock())
        before = found.item if found is not None and alive else None
        value: Value | None = before.value if before else None
        expires_at = before.expires_at if before else None
        outcomes = []
        for waiting in batch:
            after, outcome = counters.apply(value, waiting.change)
            outcomes.append(outcome)
            if outcome.done:
                expires_at = waiting.expires_at if value is None else expires_at
                value = after
        if value is None or not any(outcome.done for outcome in outcomes):
            return _Plan(None, outcomes)
        writers = (*(before.writers if before else ()), writer)[-_WRITERS_KEPT:]
        return _Plan(Item(value, expires_at, writers), outcomes)

    def _remember(self, key: Key, memory: _Memory) -> None:
        self._memory[key] = memory
        if len(self._memory) > _REMEMBERED:
            self._memory.popitem(last=False)


def _longer(pause_seconds: float, end: float) -> float:
    """
    Raises:
        StoreError: the end has come, by the monotonic clock.
    """
    if time.monotonic() > end:
        raise StoreError("too many processes change one Firestore document: this one did not get its turn")
    return min(max(pause_seconds * 2, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)


def _shorter(pause_seconds: float) -> float:
    return pause_seconds * 0.75 if pause_seconds > _SHORTEST_PAUSE_SECONDS else 0.0


def _made_already(found: Found | None, sent: dict[str, Sequence[Outcome]]) -> Sequence[Outcome] | None:
    """The outcomes of an earlier attempt that was written although its answer was lost."""
    writers = found.item.writers if found else ()
    return next((sent[writer] for writer in writers if writer in sent), None)
