"""The store in Firestore (Native mode), spoken to over REST with the function's own identity.

What its documents hold is told in `firestore_item.py` and `firestore_documents.py`. The database needs a TTL policy on
the field `expire_at` of the collection group `trefoil_items`; no query but by name is made, so no field needs an index.

Firestore sustains about one write a second to one document
(https://firebase.google.com/docs/firestore/best-practices). Changes that one process makes at the same time share a
write, so that the limit counts processes, not requests; what many processes change often has to be split over several
items.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable

from core.ports import Change, Key, Outcome, StoreError, Value
from firestore_counters import FirestoreCounters
from firestore_documents import Conflict, FirestoreDocuments, Found
from firestore_item import Item
from firestore_rest import FirestoreRest, TokenSource

_GOOGLE = "https://firestore.googleapis.com"
_TURNS = 10


class FirestoreStore:
    """A `Store` in one database. Making one opens nothing; it then stays with the event loop that used it first."""

    def __init__(
        self,
        project: str,
        database: str = "(default)",
        *,
        base_url: str = _GOOGLE,
        token: TokenSource | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            project: the id, not the number.
            token: gives access tokens; None for an emulator, which asks for none.
        """
        name = f"projects/{project}/databases/{database}"
        self._rest = FirestoreRest(base_url, name, token)
        self._documents = FirestoreDocuments(self._rest, name)
        self._counters = FirestoreCounters(self._documents, clock)
        self._clock = clock

    async def get(self, key: Key) -> Value | None:
        found = await self._alive(key)
        return found.item.value if found else None

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        item = Item(value, expires_at, writers=(secrets.token_hex(6),))
        if if_absent:
            return await self._put_if_absent(key, item)
        await self._documents.write(key, item)
        return True

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        return await self._counters.change(key, change, expires_at)

    async def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        after, more = None, True
        while more:
            items, more = await self._documents.page(partition, after)
            for name, item in items:
                after = name
                if item.is_alive(self._clock()):
                    yield name, item.value

    async def delete(self, key: Key) -> bool:
        if await self._alive(key) is None:
            return False
        try:
            await self._documents.delete(key)
        except Conflict as conflict:
            return conflict.maybe_done
        return True

    async def aclose(self) -> None:
        await self._rest.aclose()

    async def _alive(self, key: Key) -> Found | None:
        found = await self._documents.read(key)
        return found if found and found.item.is_alive(self._clock()) else None

    async def _put_if_absent(self, key: Key, item: Item) -> bool:
        before: Found | None = None
        for _ in range(_TURNS):
            try:
                await self._documents.replace(key, item, before)
            except Conflict:
                before = await self._documents.read(key)
                if before and before.item.writers == item.writers:  # written by an attempt whose answer was lost
                    return True
                if before and before.item.is_alive(self._clock()):
                    return False
            else:
                return True
        raise StoreError("a Firestore document was made and deleted again and again while it was to be made")
