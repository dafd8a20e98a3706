"""A store that notes for whom it is asked for what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from core.ports import Change, Key, Outcome, Store, Value

CALLER: ContextVar[str] = ContextVar("caller", default="")
"""Who is being served. Tasks that a request starts have it too, and so have those that go on after it."""


class StoreCall(NamedTuple):
    """One verb."""

    caller: str
    verb: str
    partition: str
    name: str | None = None
    """None for a list."""
    change: Change | None = None


@dataclass(slots=True)
class RecordingStore:
    """Passes everything on to the store behind it."""

    behind: Store
    calls: list[StoreCall] = field(default_factory=list)

    def of(self, caller: str) -> list[StoreCall]:
        return [call for call in self.calls if call.caller == caller]

    async def get(self, key: Key) -> Value | None:
        self._note("get", key)
        return await self.behind.get(key)

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        self._note("put", key)
        return await self.behind.put(key, value, if_absent=if_absent, expires_at=expires_at)

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        self._note("add_within", key, change)
        return await self.behind.add_within(key, change, expires_at=expires_at)

    def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        self.calls.append(StoreCall(CALLER.get(), "list", partition))
        return self.behind.list(partition)

    async def delete(self, key: Key) -> bool:
        self._note("delete", key)
        return await self.behind.delete(key)

    def _note(self, verb: str, key: Key, change: Change | None = None) -> None:
        self.calls.append(StoreCall(CALLER.get(), verb, *key, change))
