"""A process that spends from a budget in Firestore: apart from the tests, so that it starts quickly."""

from __future__ import annotations

import asyncio

from core.ports import Change, Key
from firestore_store import FirestoreStore

PRICE = 7
CEILING = 300
_HALF = 10


def spend(url: str) -> int:
    """How many of its changes were made: the first half asked for one by one, the second at once."""
    return asyncio.run(_spend(url))


async def _spend(url: str) -> int:
    store = FirestoreStore("project", base_url=url, token=None)
    key, change = Key("apps/a/counters", "one"), Change({"money": PRICE}, {"money": CEILING})
    outcomes = [await store.add_within(key, change) for _ in range(_HALF)]
    outcomes += await asyncio.gather(*(store.add_within(key, change) for _ in range(_HALF)))
    await store.aclose()
    return sum(outcome.done for outcome in outcomes)
