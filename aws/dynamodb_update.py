"""A change of counters as DynamoDB's UpdateItem takes it: what to do, and on which condition. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from core.ports import Change
from dynamodb_item import COUNTER, EXPIRES_AT, MARK, Attribute, Item, moment, number

_ALIVE = f"(attribute_not_exists({EXPIRES_AT}) OR attribute_type({EXPIRES_AT}, :null) OR {EXPIRES_AT} > :now)"


def request(change: Change, marked: Item, *, now: int, expires_at: int | None) -> Mapping[str, Any]:
    """The parameters that make `change` where nothing forbids it, and where the item has not expired at `now`.

    Args:
        marked: the attribute of the mark that `change` leaves, if it does. Where the item has the very same, an earlier
            try was successful, and this one is refused.
        expires_at: for an item that is made by it.
    """
    known = _Placeholders({":now": number(now), ":null": {"S": "NULL"}, ":expires_at": moment(expires_at)}, {})
    # An item that is not there meets the first two; its counters are 0, and it has no marks.
    conditions = [_ALIVE, "attribute_not_exists(json)", *_conditions(change, marked, known)]
    clauses = {
        "SET": [f"{EXPIRES_AT} = if_not_exists({EXPIRES_AT}, :expires_at)"]
        + [f"{known.name(name)} = {known.value(mark)}" for name, mark in marked.items()],
        "REMOVE": [known.name(name) for name in _unmarked(change) if name not in marked]
        + [known.name(COUNTER + name) for name in change.drop],  # no error where it is not there
        "ADD": [f"{known.name(COUNTER + name)} {known.value(number(n))}" for name, n in change.amounts.items()],
    }
    return {
        "UpdateExpression": " ".join(f"{verb} {', '.join(actions)}" for verb, actions in clauses.items() if actions),
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeValues": known.values,
        **({"ExpressionAttributeNames": known.names} if known.names else {}),  # DynamoDB takes no empty map
    }


def _conditions(change: Change, marked: Item, known: _Placeholders) -> Iterator[str]:
    for name, mark in marked.items():
        yield f"(attribute_not_exists({known.name(name)}) OR {known.name(name)} <> {known.value(mark)})"
    for name in _unmarked(change):
        yield f"attribute_exists({known.name(name)})"
    for name, ceiling in change.ceilings.items():
        room = ceiling - change.amounts.get(name, 0)
        counter = known.name(COUNTER + name)
        within = f"{counter} <= {known.value(number(room))}"
        yield f"(attribute_not_exists({counter}) OR {within})" if room >= 0 else within


def _unmarked(change: Change) -> list[str]:
    return [] if change.unmark is None else [MARK + change.unmark]


class _Placeholders(NamedTuple):
    """Stand-ins for names and values: the names of counters and marks may have any characters."""

    values: dict[str, Attribute]
    names: dict[str, str]

    def name(self, attribute: str) -> str:
        for placeholder, known in self.names.items():
            if known == attribute:
                return placeholder
        placeholder = f"#n{len(self.names)}"
        self.names[placeholder] = attribute
        return placeholder

    def value(self, attribute: Attribute) -> str:
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = attribute
        return placeholder
