"""How a store's item looks in Cosmos DB. Pure.

An item has the properties `partition` (the partition key) and `name`, either `value` or `counters` and `marks`,
`expires_at` (seconds since the epoch), and, where that is not in the year 9999, `ttl` (seconds after its last write, at
which Cosmos DB deletes it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.ports import Key, Value

Item = Mapping[str, Any]

_NEVER = 253_402_300_799
"""An item without a time has this one, so that a condition need not ask whether there is one."""
_LATER_SECONDS = 300
"""Cosmos DB deletes so much later than an item expires: the clocks of those who still use it may differ."""
_LONGEST_TTL_SECONDS = 2**31 - 1

_UNSAFE = re.compile(rb"[^a-z0-9]|s(?=elect)")
_ESCAPED = re.compile(rb"_(..)")


def item_id(key: Key) -> str:
    """The id of an item: both parts in hexadecimal, which keeps the order of the names and has no forbidden character.

    It is unique in the container, though Cosmos DB asks for no more than unique in the partition: the emulator looks
    for the id alone when it checks a PATCH's condition. An id has 1023 bytes at most, so a key has 511.
    """
    return f"{key.partition.encode().hex()}.{key.name.encode().hex()}"


def make(key: Key, value: Value, *, expires_at: int | None, now: int) -> dict[str, Any]:
    item: dict[str, Any] = {"id": item_id(key), **key._asdict(), "expires_at": _NEVER}
    if value.keys() == {"counters", "marks"}:
        item |= {part: {escape(name): said for name, said in value[part].items()} for part in value}
    else:
        item["value"] = value
    if expires_at is not None and expires_at < _NEVER:
        ttl = max(1, expires_at - now + _LATER_SECONDS)
        item |= {"expires_at": expires_at, "ttl": min(ttl, _LONGEST_TTL_SECONDS)}
    return item


def value_of(item: Item) -> Value:
    if "value" in item:
        value: Value = item["value"]
        return value
    return {
        "counters": counters_of(item),
        "marks": {_unescape(name): said for name, said in item["marks"].items()},
    }


def counters_of(item: Item) -> dict[str, int]:
    # Cosmos DB counts in doubles, exactly up to 2^53, and may write a large integer with an exponent.
    return {_unescape(name): int(count) for name, count in item["counters"].items()}


def is_alive(item: Item, now: int) -> bool:
    return bool(item["expires_at"] > now)


def escape(name: str) -> str:
    """`name` as a property's name that is safe in a path and in a condition: small letters, digits and `_`.

    No capitals, because the emulator reads conditions in small letters; nor the word `select`, by which it knows a
    condition that is a whole query.
    """
    return _UNSAFE.sub(lambda match: b"_%02x" % match[0][0], name.encode()).decode()


def _unescape(name: str) -> str:
    if "_" not in name:
        return name
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), name.encode()).decode()
