"""The settlements that processes could not make, as `core.settlements` logs them, found in a log. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

_BEGINNING = '{"severity"'
_LEFT, _MADE = "settlement_postponed", "settlement_made"


class Left(NamedTuple):
    """What a log leaves to be done."""

    settlements: list[Mapping[str, Any]]
    """Each with its `app`, `shard`, `amounts` and `unmark`."""
    unmarked: int
    """So many had reserved nothing: done again, they could be counted twice."""


def read(lines: Iterable[str]) -> Left:
    """What was postponed and not made later, as far as the log goes.

    Args:
        lines: as the process wrote them, whatever a log service has put before and behind, or as the `jsonPayload` of
            Google Cloud's logs.
    """
    events = [event for line in lines for event in _events(line)]
    postponed = [event for event in events if event["event"] == _LEFT]
    made = [event["id"] for event in events if event["event"] == _MADE]
    left = {event["id"]: event for event in postponed if event["id"] not in (None, *made)}
    unmarked = [event["id"] for event in postponed].count(None) - made.count(None)
    return Left([*left.values()], max(0, unmarked))


def _events(line: str) -> Iterator[dict[str, Any]]:
    at = line.find(_BEGINNING)
    try:
        value = json.JSONDecoder().raw_decode(line, at)[0] if at >= 0 else json.loads(line)
    except ValueError:
        return
    if isinstance(value, dict):
        value = value.get("jsonPayload", value)
    if isinstance(value, dict) and value.get("event") in (_LEFT, _MADE) and "id" in value:
        yield value
