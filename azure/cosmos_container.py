"""What can be done to the items of one container: a request each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from core.ports import Key
from cosmos_item import Item, item_id
from cosmos_rest import Answer, Call, CosmosRest

_BY_NAME = 'SELECT * FROM c WHERE c["partition"] = @partition ORDER BY c.id'
_PAGE_ITEMS = 100

# Point reads have no use for it, but the emulator fails the one of a missing item without it.
_POINT_READ = {"x-ms-documentdb-query-enablecrosspartition": "True"}


class Page(NamedTuple):
    items: list[Item]
    continuation: str | None
    """What to ask for the next page with; None after the last one."""


class CosmosContainer:
    """Every method may raise `StoreError`."""

    def __init__(self, rest: CosmosRest) -> None:
        self._rest = rest

    async def read(self, key: Key) -> Item | None:
        answer = await self._rest.send(
            Call("GET", key.partition, item_id(key), headers=_POINT_READ, needs_session=True)
        )
        return None if answer.status == 404 else answer.body

    async def write(self, key: Key, item: Item) -> None:
        """Whatever was there."""
        await self._rest.send(Call("POST", key.partition, body=item, headers={"x-ms-documentdb-is-upsert": "True"}))

    async def replace(self, key: Key, item: Item, over: Item | None, *, repeatable: bool = True) -> Answer:
        """Put `item` in the place of `over`, or of nothing. 200 or 201 where it was done, else 404, 409 or 412.

        Args:
            repeatable: see `Call`.
        """
        if over is None:
            return await self._rest.send(Call("POST", key.partition, body=item, repeatable=repeatable))
        condition = {"if-match": over["_etag"]}
        return await self._rest.send(
            Call("PUT", key.partition, item_id(key), item, headers=condition, repeatable=repeatable)
        )

    async def patch(self, key: Key, body: Mapping[str, Any], *, repeatable: bool) -> Answer:
        """200 with the item as it is now; 404 where there is none, 412 where the condition is not met."""
        content_type = "application/json-patch+json"
        return await self._rest.send(
            Call("PATCH", key.partition, item_id(key), body, content_type=content_type, repeatable=repeatable)
        )

    async def delete(self, key: Key) -> bool:
        """Whether there was such an item."""
        answer = await self._rest.send(Call("DELETE", key.partition, item_id(key)))
        return answer.status == 204 or answer.unsure

    async def page(self, partition: str, continuation: str | None) -> Page:
        """A page of a partition's items, in the order of their ids."""
        query = {"query": _BY_NAME, "parameters": [{"name": "@partition", "value": partition}]}
        headers = {"x-ms-documentdb-isquery": "True", "x-ms-max-item-count": str(_PAGE_ITEMS)}
        if continuation is not None:
            headers["x-ms-continuation"] = continuation
        answer = await self._rest.send(
            Call(
                "POST",
                partition,
                body=query,
                content_type="application/query+json",
                headers=headers,
                needs_session=True,
            )
        )
        return Page(answer.body["Documents"], answer.headers.get("x-ms-continuation"))

    async def close(self) -> None:
        await self._rest.close()
