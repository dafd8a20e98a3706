"""One change of an item of counters, from the first attempt to its outcome."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import cosmos_item
from core import counters
from core.ports import Change, Key, Outcome, StoreError, Value
from cosmos_container import CosmosContainer
from cosmos_item import Item
from cosmos_patch import patch
from cosmos_rest import Answer

_TRIES = 12
_LONGEST_PAUSE_SECONDS = 0.05
"""Between two tries, times the number of the try."""


class CosmosChange:
    """A change is tried with one PATCH. Where that is refused, the item is read to learn why, and, where the change can
    be made, tried with the PATCH that fits what was read: others who only count do not overtake that. Where no PATCH
    can make the change, the item is written anew, provided that nobody else wrote it meanwhile.
    """

    def __init__(
        self, container: CosmosContainer, key: Key, change: Change, *, expires_at: int | None, now: Callable[[], int]
    ) -> None:
        self._container = container
        self._key = key
        self._change = change
        self._expires_at = expires_at
        self._now = now
        # With one of them, or with two that differ, it shows in the item whether the change was made.
        self._repeatable = (change.mark and change.mark[0]) != change.unmark
        self._seen: Value | None = None
        """What the item held when last read."""
        self._unsure = False
        """Whether it may have been made without an answer having come."""

    async def make(self) -> Outcome:
        """
        Raises:
            StoreError: it was not made, or, if no mark tells, nobody knows whether it was.
        """
        for number in range(_TRIES):
            patched = await self._patch()
            if patched is not None and patched.status == 200:
                return Outcome(True, cosmos_item.counters_of(patched.body))
            is_missing = patched is not None and patched.status == 404
            item = None if is_missing else await self._container.read(self._key)
            if outcome := await self._decide(item):
                return outcome
            await asyncio.sleep(random.random() * _LONGEST_PAUSE_SECONDS * number)  # noqa: S311
        raise StoreError(f"Cosmos DB: {_TRIES} attempts at a change of counters were all overtaken by others")

    async def _patch(self) -> Answer | None:
        """None where no PATCH can make the change."""
        body = patch(self._change, self._now(), self._seen)
        if body is None:
            return None
        return self._noted(await self._container.patch(self._key, body, repeatable=self._repeatable))

    async def _decide(self, item: Item | None) -> Outcome | None:
        """What becomes of the change to `item`; None if it is to be tried again."""
        now = self._now()
        value = cosmos_item.value_of(item) if item is not None and cosmos_item.is_alive(item, now) else None
        if value is not None and self._unsure and self._has_left_mark(value):
            return Outcome(True, value["counters"])
        after, outcome = counters.apply(value, self._change)
        if not outcome.done or after == value:
            return outcome
        self._seen = value
        if value is not None and patch(self._change, now, value) is not None:
            return None
        expires_at = self._expires_at if value is None or item is None else item["expires_at"]
        made = cosmos_item.make(self._key, after, expires_at=expires_at, now=now)
        return outcome if await self._write(made, item) else None

    def _has_left_mark(self, value: Value) -> bool:
        if self._change.mark is None:
            return False
        name, said = self._change.mark
        return name in value["marks"] and bool(value["marks"][name] == said)

    async def _write(self, made: dict[str, Any], over: Item | None) -> bool:
        answer = await self._container.replace(self._key, made, over, repeatable=self._repeatable)
        return self._noted(answer).status in (200, 201)

    def _noted(self, answer: Answer) -> Answer:
        self._unsure |= answer.unsure
        return answer
