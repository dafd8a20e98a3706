"""The store on Azure: a container of Cosmos DB for NoSQL.

An item of 1 KB costs 1 request unit to read and about 5 to write
(https://learn.microsoft.com/azure/cosmos-db/understand-request-unit-consumption). The account must write in one region
only: a PATCH's condition is checked against what there is in the region that it goes to.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable

import cosmos_item
from core.ports import Change, Key, Outcome, StoreError, Value
from core.store_client import StoreClient
from cosmos_change import CosmosChange
from cosmos_container import CosmosContainer
from cosmos_credential import Credential
from cosmos_item import Item
from cosmos_rest import CosmosRest, make_client

_TRIES = 10


class CosmosStore:
    """A `Store` in a container that is there already, its partition key `/partition`, its default time to live -1.

    Counters are exact up to 2^53, and both parts of a key together have at most 511 bytes. What this process wrote or
    saw, it sees in later reads. What is said of requests is without those that are sent again after a failure.
    """

    def __init__(
        self,
        endpoint: str,
        database: str,
        container: str,
        credential: Credential,
        *,
        clock: Callable[[], float] = time.time,
        client: StoreClient | None = None,
    ) -> None:
        """
        Args:
            endpoint: the account's URL, such as `https://name.documents.azure.com`.
            client: calls the account; None for one of the store's own.

        Raises:
            ValueError: the endpoint is no URL of a server.
        """
        rest = CosmosRest(client or make_client(endpoint), database, container, credential)
        self._container = CosmosContainer(rest)
        self._clock = clock

    async def get(self, key: Key) -> Value | None:
        """One request."""
        item = await self._container.read(key)
        return cosmos_item.value_of(item) if item is not None and self._is_alive(item) else None

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        """One request; with `if_absent`, two where there is an item, three where that one has expired."""
        item = cosmos_item.make(key, value, expires_at=expires_at, now=self._now())
        if if_absent:
            return await self._put_if_absent(key, {**item, "by": secrets.token_hex(8)})
        await self._container.write(key, item)
        return True

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        """One request. Two where the change is refused, or makes the item, or has more than ten parts (a counter to add
        to or to drop, the mark, the unmark). Three where it replaces an item that has expired, bounds or drops a
        counter that the item does not have, or leaves a mark that is there already.

        Many may change one item at once. But a change of more than ten parts needs a moment in which no other is made,
        between its two requests, and where a dozen tries find none, raises `StoreError` with nothing done. One task
        that changes the item without a pause is enough for that.
        """
        return await CosmosChange(self._container, key, change, expires_at=expires_at, now=self._now).make()

    async def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        """One request for every hundred items."""
        continuation, is_first = None, True
        while is_first or continuation is not None:
            items, continuation = await self._container.page(partition, continuation)
            is_first = False
            for item in items:
                if self._is_alive(item):
                    yield item["name"], cosmos_item.value_of(item)

    async def delete(self, key: Key) -> bool:
        """Two requests; one where there is no such item."""
        item = await self._container.read(key)
        if item is None or not self._is_alive(item):
            return False
        return await self._container.delete(key)

    async def close(self) -> None:
        await self._container.close()

    async def _put_if_absent(self, key: Key, item: Item) -> bool:
        """
        Args:
            item: with a random `by`, which tells it from others where the answer to its creation is lost.
        """
        there: Item | None = None
        for _ in range(_TRIES):
            if (await self._container.replace(key, item, there)).status in (200, 201):
                return True
            there = await self._container.read(key)
            if there is not None and self._is_alive(there):
                return bool(there.get("by") == item["by"])
        raise StoreError(f"Cosmos DB: {_TRIES} attempts at making an item were all overtaken by others")

    def _is_alive(self, item: Item) -> bool:
        return cosmos_item.is_alive(item, self._now())

    def _now(self) -> int:
        """Seconds since the epoch."""
        return int(self._clock())
