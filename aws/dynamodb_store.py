"""The store on AWS: one DynamoDB table, whose keys are the strings `pk` and `sk`, and whose TTL is in `expires_at`."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping

import dynamodb_item as items
import dynamodb_update
from core import counters
from core.ports import Change, Key, Outcome, StoreError, Value
from dynamodb_item import EXPIRES_AT, MARK, Item
from dynamodb_table import DynamodbTable, Refused

_ROUNDS = 4
_GONE = f"attribute_not_exists(pk) OR {EXPIRES_AT} <= :now"


class DynamodbStore:
    """A `Store` in the DynamoDB table named `table`. It belongs to the event loop that uses it first.

    Each verb is one request: a consistent read, or one write. `list` is one for each MB; `add_within` is two where the
    item has expired and DynamoDB has not deleted it yet. A write costs a unit for each KB of the item, marks included,
    and one that is refused is billed, too. One item bears 1,000 units a second however large the table, and holds at
    most 400 KB: what is hotter or longer must be split over several keys by the caller.

    Requests are tried again, as `DynamodbTable` says. Where only the answer was lost, the second try finds what the
    first one left, and says that it is done. With two exceptions: a change that only takes a mark away is made once as
    well, but reported as not done; and one without any mark is not tried again where it may have been made, since it
    leaves nothing to be found. Neither is one that only drops counters: the second try would drop what others have
    added since, even under a ceiling.

    Args:
        region, environ: as for `DynamodbTable`.

    Raises:
        ConfigurationError: as `DynamodbTable`. Nothing is connected yet.
    """

    def __init__(
        self, table: str, region: str, environ: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._name = table
        self._table = DynamodbTable(table, region, environ)
        self._clock = clock

    async def get(self, key: Key) -> Value | None:
        answer = await self._table.get(Key=items.place(key), ConsistentRead=True)
        return self._value(answer.get("Item", {}), self._now())

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        item = _item(key, value, expires_at)
        if not if_absent:
            await self._table.put(Item=item)
            return True
        write = {"S": secrets.token_hex(8)}
        try:
            await self._put_where_gone({**item, "write": write}, self._now())
        except Refused as refusal:
            return refusal.item.get("write") == write  # by an earlier try, whose answer was lost
        return True

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        marked = _marked(change)
        for _ in range(_ROUNDS):
            now = self._now()
            request = dynamodb_update.request(change, marked, now=now, expires_at=expires_at)
            try:
                item = await self._table.update(once=_leaves_nothing(change), Key=items.place(key), **request)
                return Outcome(True, items.counters_of(item))
            except Refused as refusal:
                met = refusal.item
            if marked and marked.items() <= met.items():
                return Outcome(True, items.counters_of(met))  # by an earlier try, whose answer was lost
            after, outcome = counters.apply(self._value(met, now), change)
            if not outcome.done:
                return outcome
            # Nothing forbids it but that the item has expired: it is replaced, unless another was quicker.
            try:
                item = {**_item(key, after, expires_at), **marked}
                await self._put_where_gone(item, now, once=_leaves_nothing(change))
            except Refused:
                continue
            return outcome
        raise StoreError(f"DynamoDB table {self._name}: counters changed so fast that nothing could be added to them")

    async def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        wanted: dict[str, object] = {
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": partition}},
            "ConsistentRead": True,
        }
        while True:
            page = await self._table.query(**wanted)
            for item in page["Items"]:
                value = self._value(item, self._now())
                if value is not None:
                    yield item["sk"]["S"], value
            if "LastEvaluatedKey" not in page:
                return
            wanted["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def delete(self, key: Key) -> bool:
        answer = await self._table.delete(Key=items.place(key), ReturnValues="ALL_OLD")
        return self._value(answer.get("Attributes", {}), self._now()) is not None

    async def close(self) -> None:
        await self._table.close()

    def _now(self) -> int:
        return int(self._clock())

    @staticmethod
    def _value(item: Item, now: int) -> Value | None:
        return items.value_of(item) if item and items.is_alive(item, now) else None

    async def _put_where_gone(self, item: Item, now: int, *, once: bool = False) -> None:
        """
        Raises:
            Refused: there is one, and it has not expired.
        """
        values = {":now": items.number(now)}
        await self._table.put(once=once, Item=item, ConditionExpression=_GONE, ExpressionAttributeValues=values)


def _item(key: Key, value: Value, expires_at: int | None) -> Item:
    return {**items.place(key), **items.contents(value), EXPIRES_AT: items.moment(expires_at)}


def _marked(change: Change) -> Item:
    """The mark that this change leaves, told from those of all other changes; empty where it leaves none."""
    if change.mark is None:
        return {}
    name, said = change.mark
    return {MARK + name: items.mark(said, write=secrets.token_hex(8))}


def _leaves_nothing(change: Change) -> bool:
    """Whether a second try could not find out that the first one was successful."""
    return change.mark is None and change.unmark is None
