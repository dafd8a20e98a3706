"""Items in Firestore's documents: `trefoil/{partition}/trefoil_items/{name}`.

All items lie in collections of one name, because a TTL policy is for a name. The documents above them do not exist,
which Firestore does not mind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from core.ports import Key
from firestore_item import Item, from_fields, from_id, to_fields, to_id
from firestore_rest import FirestoreRest, Refused

_PARTITIONS = "trefoil"
_ITEMS = "trefoil_items"
_PAGE = 300
_PRECONDITION_FAILED = frozenset({"ALREADY_EXISTS", "NOT_FOUND", "FAILED_PRECONDITION"})


class Found(NamedTuple):
    item: Item
    update_time: str
    """The document's version."""


class Conflict(Exception):
    """The document was not as the write presumed."""

    def __init__(self, *, maybe_done: bool) -> None:
        super().__init__()
        self.maybe_done = maybe_done
        """Whether it was this very write that changed it, at an attempt whose answer was lost."""


class FirestoreDocuments:
    def __init__(self, rest: FirestoreRest, database: str) -> None:
        """
        Args:
            database: such as `projects/my-project/databases/(default)`.
        """
        self._rest = rest
        self._root = f"{database}/documents"

    async def read(self, key: Key) -> Found | None:
        """One document read."""
        (answer,) = await self._rest.call("documents:batchGet", {"documents": [self._name(key)]})
        return _found(answer["found"]) if "found" in answer else None

    async def write(self, key: Key, item: Item) -> None:
        """One document write, over whatever was there."""
        await self._commit({"update": {"name": self._name(key), "fields": to_fields(item)}})

    async def replace(self, key: Key, item: Item, before: Found | None) -> Found:
        """One document write, if the document still is `before`, or absent where that is None.

        Raises:
            Conflict: it is not.
        """
        precondition = {"exists": False} if before is None else {"updateTime": before.update_time}
        document = {"name": self._name(key), "fields": to_fields(item)}
        answer = await self._commit_if({"update": document, "currentDocument": precondition})
        return Found(item, answer["writeResults"][0]["updateTime"])

    async def delete(self, key: Key) -> None:
        """One document delete.

        Raises:
            Conflict: there is none.
        """
        await self._commit_if({"delete": self._name(key), "currentDocument": {"exists": True}})

    async def page(self, partition: str, after: str | None) -> tuple[list[tuple[str, Item]], bool]:
        """The items of a partition behind the name `after`, in the order of the names, and whether there may be more.

        One document read for each, and one where there are none.
        """
        query: dict[str, Any] = {
            "from": [{"collectionId": _ITEMS}],
            "orderBy": [{"field": {"fieldPath": "__name__"}, "direction": "ASCENDING"}],
            "limit": _PAGE,
        }
        if after is not None:
            query["startAt"] = {"values": [{"referenceValue": self._name(Key(partition, after))}], "before": False}
        parent = f"documents/{_PARTITIONS}/{quote(to_id(partition), safe='')}"
        answers = await self._rest.call(f"{parent}:runQuery", {"structuredQuery": query})
        documents = [answer["document"] for answer in answers if "document" in answer]
        items = [(from_id(document["name"].rpartition("/")[2]), _found(document).item) for document in documents]
        return items, len(documents) == _PAGE

    async def _commit(self, write: Mapping[str, Any]) -> Any:
        return await self._rest.call("documents:commit", {"writes": [write]})

    async def _commit_if(self, write: Mapping[str, Any]) -> Any:
        try:
            return await self._commit(write)
        except Refused as refused:
            if refused.status in _PRECONDITION_FAILED:
                raise Conflict(maybe_done=refused.maybe_done) from refused
            raise

    def _name(self, key: Key) -> str:
        return f"{self._root}/{_PARTITIONS}/{to_id(key.partition)}/{_ITEMS}/{to_id(key.name)}"


def _found(document: Mapping[str, Any]) -> Found:
    # A document without fields comes without that key.
    return Found(from_fields(document.get("fields", {})), document["updateTime"])
