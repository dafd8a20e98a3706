"""The settlements that processes could not make, as `core.settlements` logs them, found in a log. Pure.

The clouds' tools export logs each in its own shape: lines with something before and behind, one JSON document or many,
events as objects, or as text inside of JSON or CSV. So whatever can hold an event is looked through.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_BEGINNING = '{"severity"'
_LEFT, _MADE = "settlement_postponed", "settlement_made"
_QUOTES = ('"', '""', '\\"')
"""How a quotation mark is written: in JSON, in a field of CSV, in a JSON string."""
_decoder = json.JSONDecoder()

_Found = dict[str, Any] | None
"""An event, or None for a mention of one that is not understood."""


class Left(NamedTuple):
    """What a log leaves to be done."""

    settlements: list[Mapping[str, Any]]
    """Each with its `app`, `shard`, `amounts` and `unmark`."""
    unmarked: int
    """So many had reserved nothing: done again, they could be counted twice."""
    not_understood: int
    """So many mentions of a postponed settlement are in no shape that is known, or not whole."""


def read(log: str) -> Left:
    """What was postponed and not made later, as far as the log goes.

    Args:
        log: lines as the process wrote them, whatever a log service has put before and behind; or what a cloud's tool
            exports: `aws logs filter-log-events`, `gcloud logging read`, `az monitor log-analytics query`, or CSV.
    """
    found = [*_in_log(log.removeprefix("\ufeff"))]
    events = [event for event in found if event is not None]
    postponed = [event for event in events if event["event"] == _LEFT]
    made = [event["id"] for event in events if event["event"] == _MADE]
    done = {None, *made}
    left = {event["id"]: event for event in postponed if event["id"] not in done}
    unmarked = [event["id"] for event in postponed].count(None) - made.count(None)
    return Left([*left.values()], max(0, unmarked), found.count(None))


def _in_log(log: str) -> Iterator[_Found]:
    documents = _documents(log)
    if documents is not None:
        for document in documents:
            yield from _in_value(document)
        return
    # Not at U+2028 and the like, which may stand inside of a line.
    for line in log.split("\n"):
        yield from _in_text(line)


def _documents(log: str) -> list[Any] | None:
    """The objects and arrays that a log consists of; None where it is not JSON from one end to the other."""
    documents, at = [], 0
    while rest := log[at : at + 1]:
        if rest.isspace():
            at += 1
            continue
        if rest not in "{[":
            return None
        try:
            document, at = _decoder.raw_decode(log, at)
        except (ValueError, RecursionError):
            return None
        documents.append(document)
    return documents


def _in_text(text: str) -> Iterator[_Found]:
    """In a line, or in a string of a document."""
    if _LEFT not in text and _MADE not in text:
        return
    values = _values(text)
    for value in values:
        yield from _in_value(value)
    if not values and _LEFT in text:
        yield None


def _values(text: str) -> list[Any]:
    """The JSON that a text is; otherwise the log lines of this service inside of it."""
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        pass
    for quote in _QUOTES:
        if _BEGINNING.replace('"', quote) in text:
            return [*_log_lines(text.replace(quote, '"'))]
    return []


def _log_lines(text: str) -> Iterator[Any]:
    at = text.find(_BEGINNING)
    while at >= 0:
        try:
            value, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            yield value
        at = text.find(_BEGINNING, end)


def _in_value(value: Any) -> Iterator[_Found]:
    if isinstance(value, str):
        yield from _in_text(value)
    elif isinstance(value, dict) and value.get("event") in (_LEFT, _MADE) and "id" in value:
        yield _event(value)
    elif isinstance(value, list):
        yield from _in_parts(value)
    elif isinstance(value, dict) and not _is_of_another(value.get("event")):
        yield from _in_parts([*value.values()])


def _is_of_another(event: object) -> bool:
    """Whether this is another line of the service: in its words, some are a client's, a mention means nothing."""
    return isinstance(event, str) and _LEFT not in event and _MADE not in event


def _in_parts(parts: list[Any]) -> Iterator[_Found]:
    found = [event for part in parts if part != _LEFT for event in _in_value(part)]
    yield from found
    # A column for the event's name is nothing of its own beside the event.
    if _LEFT in parts and not any(found):
        yield None


def _event(value: dict[str, Any]) -> _Found:
    """An event whose numbers are integers again, whatever a log service has made of them; None where it is broken."""
    if value["id"] is None or (value["event"] == _MADE and isinstance(value["id"], str)):
        return value
    shard, amounts = _integer(value.get("shard")), value.get("amounts")
    if not (isinstance(value["id"], str) and isinstance(value.get("app"), str) and isinstance(amounts, dict)):
        return None
    whole = {name: _integer(amount) for name, amount in amounts.items()}
    if shard is None or None in whole.values() or not isinstance(value.get("unmark"), str):
        return None
    return {**value, "shard": shard, "amounts": whole}


def _integer(number: object) -> int | None:
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number if isinstance(number, int) else None
