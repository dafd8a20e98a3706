"""A store that is a dictionary, and counts what it is asked."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from core import counters
from core.ports import Change, Key, Outcome, Value


class MemoryStore:
    """A `Store` of one process. Nothing in it expires."""

    def __init__(self) -> None:
        self.items: dict[Key, Any] = {}
        self.calls: Counter[str] = Counter()

    async def get(self, key: Key) -> Value | None:
        self.calls["get"] += 1
        return self.items.get(key)

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        self.calls["put"] += 1
        if if_absent and key in self.items:
            return False
        self.items[key] = value
        return True

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        self.calls["add_within"] += 1
        self.items[key], outcome = counters.apply(self.items.get(key), change)
        return outcome

    async def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        self.calls["list"] += 1
        for key in sorted(key for key in self.items if key.partition == partition):
            yield key.name, self.items[key]

    async def delete(self, key: Key) -> bool:
        self.calls["delete"] += 1
        return self.items.pop(key, None) is not None


def copied(path: str) -> MemoryStore:
    """One that holds what the embedded store in the file `path` holds."""
    store = MemoryStore()
    connection = sqlite3.connect(path)
    for partition, name, value in connection.execute("SELECT partition, name, value FROM items"):
        store.items[Key(partition, name)] = json.loads(value)
    connection.close()
    return store
