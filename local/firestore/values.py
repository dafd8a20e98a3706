"""Values: their order, and fields by path (https://firebase.google.com/docs/firestore/manage-data/data-types)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from local.firestore.messages import Message, Value
from local.firestore.names import check_field
from local.firestore.refusal import Refusal

SortKey: TypeAlias = tuple[object, ...]

# From the lowest to the highest; numbers of both kinds are one type.
_ORDER = (
    "null_value",
    "boolean_value",
    "number",
    "timestamp_value",
    "string_value",
    "bytes_value",
    "reference_value",
    "geo_point_value",
    "array_value",
    "map_value",
)


def sort_key(value: Message) -> SortKey:
    """Orders values of all types as queries do, and equal ones alike."""
    kind = type_of(value)
    content = getattr(value, value.WhichOneof("value_type"))
    rank = _ORDER.index(kind)
    match kind:
        case "null_value":
            return (rank,)
        case "number":
            return (rank, -math.inf, 0) if math.isnan(content) else (rank, content, 1)
        case "timestamp_value":
            return rank, content.seconds, content.nanos
        case "string_value":
            return rank, content.encode()
        case "reference_value":
            return rank, name_key(content)
        case "geo_point_value":
            return rank, content.latitude, content.longitude
        case "array_value":
            return rank, tuple(sort_key(entry) for entry in content.values)
        case "map_value":
            entries = sorted(content.fields.items(), key=lambda entry: entry[0].encode())
            return rank, tuple((name.encode(), sort_key(entry)) for name, entry in entries)
        case _:
            return rank, content


def name_key(name: str) -> SortKey:
    return tuple(segment.encode() for segment in name.split("/"))


def type_of(value: Message) -> str:
    kind: str | None = value.WhichOneof("value_type")
    if kind is None:
        raise Refusal("INVALID_ARGUMENT", "A value must have a type.")
    kind = "number" if kind in ("integer_value", "double_value") else kind
    if kind not in _ORDER:
        raise Refusal("INVALID_ARGUMENT", f"{kind} cannot be stored.")
    return kind


def check(value: Message, *, in_array: bool = False) -> None:
    """
    Raises:
        Refusal: it cannot be stored.
    """
    kind = type_of(value)
    if kind == "array_value":
        if in_array:
            raise Refusal("INVALID_ARGUMENT", "Nested arrays are not allowed.")
        for entry in value.array_value.values:
            check(entry, in_array=True)
    elif kind == "map_value":
        check_fields(value.map_value.fields)


def check_fields(fields: Message) -> None:
    for name, value in fields.items():
        check_field(name)
        check(value)


def find(fields: Message, path: Sequence[str]) -> Message | None:
    for name in path[:-1]:
        if name not in fields or fields[name].WhichOneof("value_type") != "map_value":
            return None
        fields = fields[name].map_value.fields
    return fields.get(path[-1])


def put(fields: Message, path: Sequence[str], value: Message) -> None:
    """What is on the way and no map is replaced by one."""
    for name in path[:-1]:
        if fields[name].WhichOneof("value_type") != "map_value":
            fields[name].CopyFrom(Value(map_value={}))
        fields = fields[name].map_value.fields
    fields[path[-1]].CopyFrom(value)


def remove(fields: Message, path: Sequence[str]) -> None:
    for name in path[:-1]:
        if name not in fields or fields[name].WhichOneof("value_type") != "map_value":
            return
        fields = fields[name].map_value.fields
    fields.pop(path[-1], None)
