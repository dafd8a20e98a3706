"""What lies in one Firestore document, and under which id. Pure.

A plain value is JSON text in the string field `value`: Firestore knows no empty field names and no nested arrays. An
item of counters has a map of integers, `counters`, and a map of JSON texts, `marks`. Both may have `expire_at`, a
timestamp on which the database's TTL policy acts, and both have `writers`: see `Item`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from core import json_text
from core.ports import StoreError, Value

Fields = Mapping[str, Any]
"""A document's fields as REST has them: {name: {"stringValue": ...}}
(https://firebase.google.com/docs/firestore/reference/rest/v1/Value).
"""

# What an id cannot hold, or a URL with an id before a `:verb`. The escapes begin with a neighbour of what they stand
# for, so escaped texts sort as the plain ones do.
_ESCAPES = {".": "..", "/": ".~", ":": ";.", ";": ";;"}
_ESCAPED = re.compile(r"\.[.~]|;[.;]")
_TO_ESCAPED = str.maketrans(dict[str, str | int | None](_ESCAPES))
_PLAIN = {pair: character for character, pair in _ESCAPES.items()}


class Item(NamedTuple):
    value: Value
    expires_at: int | None = None
    """Seconds since the epoch, UTC."""
    writers: tuple[str, ...] = ()
    """Random names of the latest writes, the newest last: a writer whose answer was lost finds its own here."""

    def is_alive(self, unix_time: float) -> bool:
        return self.expires_at is None or self.expires_at > unix_time


def to_id(text: str) -> str:
    """A document's id for any text. Ids have the texts' order, and none is empty, `.`, `..` or `__reserved__`."""
    return "=" + text.translate(_TO_ESCAPED)


def from_id(document_id: str) -> str:
    return _ESCAPED.sub(lambda pair: _PLAIN[pair[0]], document_id[1:])


def to_fields(item: Item) -> Fields:
    fields: dict[str, Any] = {"writers": {"arrayValue": {"values": [_string(name) for name in item.writers]}}}
    if item.expires_at is not None:
        moment = datetime.fromtimestamp(item.expires_at, UTC).replace(tzinfo=None)
        fields["expire_at"] = {"timestampValue": f"{moment.isoformat()}Z"}
    if item.value.keys() == {"counters", "marks"}:
        counters, marks = item.value["counters"], item.value["marks"]
        fields["counters"] = _map({name: {"integerValue": str(count)} for name, count in counters.items()})
        fields["marks"] = _map({name: _json(said) for name, said in marks.items()})
    else:
        fields["value"] = _json(item.value)
    return fields


def from_fields(fields: Fields) -> Item:
    """
    Raises:
        StoreError: no store of ours wrote these.
    """
    try:
        return Item(_value(fields), _expires_at(fields), _writers(fields))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError("a document in Firestore is not of this service's making") from error


def _value(fields: Fields) -> Value:
    if "value" in fields:
        value: Value = json_text.read(fields["value"]["stringValue"])
        return value
    counters, marks = _entries(fields["counters"]), _entries(fields["marks"])
    return {
        "counters": {name: int(count["integerValue"]) for name, count in counters.items()},
        "marks": {name: json_text.read(said["stringValue"]) for name, said in marks.items()},
    }


def _expires_at(fields: Fields) -> int | None:
    if "expire_at" not in fields:
        return None
    return int(datetime.fromisoformat(fields["expire_at"]["timestampValue"]).timestamp())


def _writers(fields: Fields) -> tuple[str, ...]:
    values = fields.get("writers", {"arrayValue": {}})["arrayValue"].get("values", [])
    return tuple(value["stringValue"] for value in values)


def _string(text: str) -> Fields:
    return {"stringValue": text}


def _json(value: Value) -> Fields:
    return _string(json_text.write(value).decode())


def _map(entries: Mapping[str, Fields]) -> Fields:
    return {"mapValue": {"fields": {_to_field_name(name): value for name, value in entries.items()}}}


def _entries(value: Fields) -> Mapping[str, Fields]:
    # An empty map comes without its fields.
    return {name.removeprefix("="): said for name, said in value["mapValue"].get("fields", {}).items()}


def _to_field_name(name: str) -> str:
    """The name itself wherever Firestore allows it, which empty and `__reserved__` ones are not."""
    return f"={name}" if name.startswith(("=", "__")) or not name else name
