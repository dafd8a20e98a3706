"""What the stores ask for, and bear: from their price lists and limits, and from how the ledger lies in each of them.

Nothing here was measured in a cloud: `docs/limits.md` says what follows from the vendors' own rules.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from typing import Any

import cosmos_item
import dynamodb_item
import firestore_item
from core import ledger_item
from core.ports import Key, Value
from core.usage import Usage
from core.windows import TOTAL, Windows

DYNAMODB_WRITE_USD_PER_MILLION = 0.625
DYNAMODB_READ_USD_PER_MILLION = 0.125
"""https://aws.amazon.com/dynamodb/pricing/on-demand/, us-east-1."""
DYNAMODB_UNIT_BYTES = 1024
DYNAMODB_UNITS_PER_SECOND = 1000
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html"""
DYNAMODB_MOST_BYTES = 400 * 1024

COSMOS_USD_PER_MILLION = 0.25
"""https://azure.microsoft.com/pricing/details/cosmos-db/serverless/, East US."""
COSMOS_UNITS_PER_SECOND = 5000
"""https://learn.microsoft.com/azure/cosmos-db/serverless-performance"""
COSMOS_WRITE_UNITS = {1: 4.95, 2: 6.29, 4: 6.67, 8: 7.04, 16: 9.52, 32: 11.23, 64: 22.67, 128: 48.19}
"""By the item's KB: https://learn.microsoft.com/azure/cosmos-db/understand-request-unit-consumption"""
COSMOS_READ_UNITS = 1.0
COSMOS_MOST_BYTES = 2 * 1024 * 1024

FIRESTORE_WRITE_USD_PER_MILLION = 0.90
FIRESTORE_READ_USD_PER_MILLION = 0.30
"""https://firebase.google.com/docs/firestore/standard-edition, us-central1."""
FIRESTORE_MOST_BYTES = 1024 * 1024

WRITES_PER_REQUEST = 2
SECONDS_PER_REQUEST = 5
SECONDS_PER_MONTH = 30 * 86_400

_AT = 1_795_629_759
_MINUTES = 7
"""So many minutes' counters stand in a ledger at most: the current one, two that may still be settled, and what is too
little to be worth a write."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many bytes something has in each store."""

    dynamodb: int
    cosmos: int
    firestore: int


def ledger(*, models: int = 1, standing: int = 0) -> Value:
    """A shard's item at its fullest, of an app with all limits that has used so many models today."""
    windows = [Windows(_AT - 60 * minute) for minute in range(_MINUTES)]
    money = (windows[0].day, windows[0].month, TOTAL)
    counters = dict.fromkeys(money, 20_123_456_789)
    for one in windows:
        counters |= {one.requests: 120, one.tokens: 123_456}
    usage = Usage(input_tokens=1_234_567, cached_input_tokens=123_456, output_tokens=234_567)
    for model in range(models):
        counters |= ledger_item.usage_amounts(
            windows[0].date, "chat.completions.create", f"gpt-4o-mini-{model}", usage, 1_234_567_890, requests=1234
        )
    said = ledger_item.reservation_mark(_AT, "chat.completions.create", "gpt-4o-mini-0", 16_995, 9_922_050)
    ids = random.Random(1)
    marks = {f"{ledger_item.RESERVATION}{ids.randbytes(8).hex()}": said for _ in range(standing)}
    return {"counters": counters, "marks": marks}


def sizes(value: Value) -> Sizes:
    key = ledger_item.key("web-shop", 0)
    return Sizes(
        _dynamodb_bytes(key, value),
        len(json.dumps(cosmos_item.make(key, value, expires_at=None, now=_AT), separators=(",", ":")).encode()),
        _firestore_bytes(key, value),
    )


def dynamodb_units(standing: int) -> int:
    """What one write of a ledger costs in which so many reservations stand."""
    return math.ceil(sizes(ledger(standing=standing)).dynamodb / DYNAMODB_UNIT_BYTES)


def cosmos_units(standing: int) -> float:
    kilobytes = sizes(ledger(standing=standing)).cosmos / 1024
    return next(units for most, units in COSMOS_WRITE_UNITS.items() if kilobytes <= most)


def dynamodb_usd_per_million(standing: int) -> float:
    return WRITES_PER_REQUEST * dynamodb_units(standing) * DYNAMODB_WRITE_USD_PER_MILLION


def cosmos_usd_per_million(standing: int) -> float:
    return WRITES_PER_REQUEST * cosmos_units(standing) * COSMOS_USD_PER_MILLION


def firestore_usd_per_million() -> float:
    return WRITES_PER_REQUEST * FIRESTORE_WRITE_USD_PER_MILLION


def standing(requests_per_second: float, shards: int = 1) -> int:
    """How many reservations stand in each shard, if requests take as long as they do."""
    return max(1, math.ceil(requests_per_second * SECONDS_PER_REQUEST / shards))


def dynamodb_requests_per_second(shards: int, *, partitions: int) -> int:
    """The most of a whole second's requests that so many shards bear, which lie in so many partitions of the table."""
    rate = 0
    while _dynamodb_units_per_second(rate + 1, shards, partitions) <= DYNAMODB_UNITS_PER_SECOND:
        rate += 1
    return rate


def _dynamodb_units_per_second(rate: int, shards: int, partitions: int) -> float:
    return WRITES_PER_REQUEST * rate / partitions * dynamodb_units(standing(rate, shards))


def _dynamodb_bytes(key: Key, value: Value) -> int:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"""
    item: dict[str, Any] = {
        **dynamodb_item.place(key),
        **dynamodb_item.contents(value),
        dynamodb_item.EXPIRES_AT: dynamodb_item.moment(None),
    }
    for name, said in value["marks"].items():
        item[dynamodb_item.MARK + name] = dynamodb_item.mark(said, write="0123456789abcdef")
    return sum(len(name.encode()) + _attribute_bytes(attribute) for name, attribute in item.items())


def _attribute_bytes(attribute: Any) -> int:
    ((kind, content),) = attribute.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return math.ceil(len(content.strip("0")) / 2) + 1
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _attribute_bytes(one) for name, one in content.items())
    return 1


def _firestore_bytes(key: Key, value: Value) -> int:
    """https://firebase.google.com/docs/firestore/storage-size"""
    fields = firestore_item.to_fields(firestore_item.Item(value, writers=("0123456789ab",) * 16))
    path = ("trefoil", firestore_item.to_id(key.partition), "trefoil_items", firestore_item.to_id(key.name))
    return sum(len(part.encode()) + 1 for part in path) + 16 + 32 + _fields_bytes(fields)


def _fields_bytes(fields: Any) -> int:
    return sum(len(name.encode()) + 1 + _field_bytes(field) for name, field in fields.items())


def _field_bytes(field: Any) -> int:
    ((kind, content),) = field.items()
    if kind == "stringValue":
        return len(content.encode()) + 1
    if kind == "mapValue":
        return _fields_bytes(content["fields"])
    if kind == "arrayValue":
        return sum(_field_bytes(one) for one in content["values"])
    return 8
