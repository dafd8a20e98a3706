"""How a stream says that it is complete, or that it failed: by an event's own type, not by what it quotes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from pydantic_core import from_json

from core import events

_FAILED_TYPES = frozenset({"error", "response.failed"})
_MAY_FAIL = (b"error", b"failed")
DONE = "[DONE]"
"""The last data of streams that are no objects with types, such as a chat's."""


class End(Enum):
    COMPLETE = auto()
    FAILED = auto()
    """Upstream, or this service, says that it failed."""


def find(passed: bytes, last_types: frozenset[str]) -> End | None:
    """Whether one of these whole events is a stream's last one; `last_types` are those of a complete stream's."""
    for mark in _marks(last_types):
        if mark in passed:
            break
    else:
        return None  # most events are told from the last at a glance
    for lines, _ in events.pieces(passed):
        data = events.data(lines)
        if data == DONE.encode() and DONE in last_types:
            return End.COMPLETE
        event = _object(data)
        kind = str(event.get("type"))  # of whatever type upstream made it
        if kind in _FAILED_TYPES or (isinstance(event.get("error"), dict) and "type" not in event):
            return End.FAILED
        if kind in last_types:
            return End.COMPLETE
    return None


@lru_cache
def _marks(last_types: frozenset[str]) -> Sequence[bytes]:
    """What stands in an event that may be the last."""
    return (*_MAY_FAIL, *(name.encode() for name in last_types))


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = from_json(data, cache_strings="keys")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
