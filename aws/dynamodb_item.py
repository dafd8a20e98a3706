"""How a value lies in an item of the DynamoDB table, in DynamoDB's own notation for attributes. Pure.

Every item has `pk` and `sk`, its key's partition and name, and `expires_at`: seconds since the epoch, or NULL where it
never expires. Then either `json`, the value as text, because DynamoDB's maps have no floats and no empty names. Or, for
a value of counters and marks, a number `counter:<name>` for each counter and a map `mark:<id>` for each mark, whose
`said` is what the mark says, again as text: so each can be added to, made or taken away by itself. `write`, in an item
or in a mark, names the write that made it, so that it is told from others that say the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from core.ports import Key, Value

Attribute: TypeAlias = Mapping[str, Any]
"""One attribute's type and content, such as `{"N": "5"}`."""
Item: TypeAlias = Mapping[str, Attribute]

EXPIRES_AT = "expires_at"
COUNTER = "counter:"
MARK = "mark:"


def place(key: Key) -> Item:
    return {"pk": {"S": key.partition}, "sk": {"S": key.name}}


def moment(seconds: int | None) -> Attribute:
    """`expires_at` of an item. Where it is NULL, DynamoDB's own deletion passes the item by."""
    return {"NULL": True} if seconds is None else number(seconds)


def number(value: int) -> Attribute:
    return {"N": str(value)}


def mark(said: Value, *, write: str | None = None) -> Attribute:
    """What a mark says, and which write made it."""
    return {"M": {"said": _text(said)} | ({} if write is None else {"write": {"S": write}})}


def contents(value: Value) -> Item:
    """The attributes that hold `value`."""
    if value.keys() != {"counters", "marks"}:
        return {"json": _text(value)}
    counters = {COUNTER + name: number(count) for name, count in value["counters"].items()}
    return counters | {MARK + name: mark(said) for name, said in value["marks"].items()}


def value_of(item: Item) -> Value:
    if "json" in item:
        value: Value = json.loads(item["json"]["S"])
        return value
    marks = {name: json.loads(found["M"]["said"]["S"]) for name, found in _named(item, MARK).items()}
    return {"counters": counters_of(item), "marks": marks}


def counters_of(item: Item) -> Mapping[str, int]:
    return {name: int(found["N"]) for name, found in _named(item, COUNTER).items()}


def is_alive(item: Item, now: int) -> bool:
    """Whether it has not expired at `now`. One without `expires_at`, which others may write, never does."""
    until = item.get(EXPIRES_AT, {}).get("N")
    return until is None or int(until) > now


def _named(item: Item, kind: str) -> Item:
    return {name.removeprefix(kind): found for name, found in item.items() if name.startswith(kind)}


def _text(value: Value) -> Attribute:
    return {"S": json.dumps(value, separators=(",", ":"))}
