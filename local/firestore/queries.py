"""Which documents a query finds (https://firebase.google.com/docs/firestore/reference/rest/v1/StructuredQuery). Pure.

Known: one collection or collection group, filters joined by AND, order, cursors, offset, limit and selected fields.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from local.firestore import values
from local.firestore.messages import Document, Message, Value
from local.firestore.names import field_path
from local.firestore.refusal import Refusal
from local.firestore.values import SortKey

_NAME = "__name__"
_DESCENDING = 2
_Order: TypeAlias = Sequence[tuple[str, bool]]
"""Field paths, and whether they descend."""

_COMPARISONS: Mapping[str, Callable[[SortKey, SortKey], bool]] = {
    "LESS_THAN": operator.lt,
    "LESS_THAN_OR_EQUAL": operator.le,
    "GREATER_THAN": operator.gt,
    "GREATER_THAN_OR_EQUAL": operator.ge,
}


def run(query: Message, parent: str, documents: Iterable[Message]) -> list[Message]:
    if len(query.from_) != 1:
        raise Refusal("INVALID_ARGUMENT", "A query must have exactly one collection.")
    (selector,) = query.from_
    filters = _filters(query.where)
    order = _order(query, filters)
    found = [
        document
        for document in documents
        if _is_in(document.name, parent, selector) and all(_matches(document, entry) for entry in filters)
    ]
    found = [document for document in found if all(_field(document, path) is not None for path, _ in order)]
    for path, descending in reversed(order):
        found.sort(key=lambda document: _key(document, path), reverse=descending)
    found = [document for document in found if _is_between(document, query, order)]
    end = query.offset + query.limit.value if query.HasField("limit") else None
    return [_selected(document, query) for document in found[query.offset : end]]


def _is_in(name: str, parent: str, selector: Message) -> bool:
    if not name.startswith(f"{parent}/"):
        return False
    path = name.removeprefix(f"{parent}/").split("/")
    if selector.collection_id and path[-2] != selector.collection_id:
        return False
    return bool(selector.all_descendants) or len(path) == 2


def _filters(where: Message) -> list[Message]:
    """Field and unary filters, all of which must hold."""
    kind = where.WhichOneof("filter_type")
    if kind is None:
        return []
    if kind != "composite_filter":
        return [getattr(where, kind)]
    composite = where.composite_filter
    if composite.Operator.Name(composite.op) != "AND":
        raise Refusal("UNIMPLEMENTED", "The emulator joins filters by AND only.")
    return [entry for part in composite.filters for entry in _filters(part)]


def _order(query: Message, filters: Sequence[Message]) -> _Order:
    """As asked for, then by the fields that are compared for more than equality, then by name."""
    order = [(entry.field.field_path, entry.direction == _DESCENDING) for entry in query.order_by]
    compared = [entry.field.field_path for entry in filters if entry.Operator.Name(entry.op) in _COMPARISONS]
    descending = order[-1][1] if order else False
    for path in (*sorted(set(compared)), _NAME):
        if path not in [known for known, _ in order]:
            order.append((path, descending))
    return order


def _matches(document: Message, entry: Message) -> bool:
    operation = entry.Operator.Name(entry.op)
    value = _field(document, entry.field.field_path)
    if value is None:
        return False
    if not hasattr(entry, "value"):
        if operation not in ("IS_NULL", "IS_NOT_NULL"):
            raise Refusal("UNIMPLEMENTED", f"The emulator knows no {operation}.")
        return bool(value.HasField("null_value") == (operation == "IS_NULL"))
    return _compares(operation, value, entry.value)


def _compares(operation: str, value: Message, wanted: Message) -> bool:
    key, other = values.sort_key(value), values.sort_key(wanted)
    if operation in _COMPARISONS:
        return key[0] == other[0] and _COMPARISONS[operation](key, other)
    match operation:
        case "EQUAL":
            return key == other
        case "NOT_EQUAL":
            return key != other
        case "IN":
            return key in map(values.sort_key, wanted.array_value.values)
        case "ARRAY_CONTAINS":
            return other in map(values.sort_key, value.array_value.values)
    raise Refusal("UNIMPLEMENTED", f"The emulator knows no {operation}.")


def _is_between(document: Message, query: Message, order: _Order) -> bool:
    start, end = query.start_at, query.end_at
    if query.HasField("start_at"):
        side = _side(document, start, order)
        if side < 0 or (side == 0 and not start.before):
            return False
    if query.HasField("end_at"):
        side = _side(document, end, order)
        return side < 0 or (side == 0 and not end.before)
    return True


def _side(document: Message, cursor: Message, order: _Order) -> int:
    """Below zero where the document lies before the cursor's position, 0 at it."""
    for value, (path, descending) in zip(cursor.values, order, strict=False):
        key, other = _key(document, path), values.sort_key(value)
        if key != other:
            return -1 if (key < other) != descending else 1
    return 0


def _key(document: Message, path: str) -> SortKey:
    return values.sort_key(_field(document, path))


def _field(document: Message, path: str) -> Message | None:
    if path == _NAME:
        return Value(reference_value=document.name)
    return values.find(document.fields, field_path(path))


def _selected(document: Message, query: Message) -> Message:
    if not query.HasField("select"):
        return document
    selected = Document(name=document.name, create_time=document.create_time, update_time=document.update_time)
    for path in (entry.field_path for entry in query.select.fields):
        value = None if path == _NAME else _field(document, path)
        if value is not None:
            values.put(selected.fields, field_path(path), value)
    return selected
