"""What an endpoint is given and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from local.offline.account import Account
from local.offline.behaviour import Behaviour
from local.offline.refusal import Refusal
from local.offline.request_log import Received
from local.offline.script import Event, Events, Plain, Reply
from local.offline.shelf import Json


@dataclass(frozen=True)
class Call:
    """A request as an endpoint sees it.

    `names` are those in its path; `behaviour` shapes the answer's content; `ask` answers another request, for batches.
    """

    received: Received
    names: dict[str, str]
    behaviour: Behaviour
    account: Account
    ask: Callable[[Received], Reply]

    @cached_property
    def body(self) -> dict[str, Any]:
        """The JSON body; Refusal 400 if there is none."""
        return self.received.json_object()

    @cached_property
    def optional_body(self) -> dict[str, Any]:
        """The JSON body, or an empty one where nothing was sent."""
        return self.body if self.received.body else {}

    @cached_property
    def query(self) -> dict[str, str]:
        """The query string; of two equal names the last counts."""
        return dict(parse_qsl(self.received.query, keep_blank_values=True))

    def nested_query(self, name: str) -> dict[str, str]:
        """The pairs of a nested parameter: `metadata[a]=b` is a -> b."""
        return {key[len(name) + 1 : -1]: value for key, value in self.query.items() if key.startswith(f"{name}[")}

    def flag(self, name: str) -> bool:
        """A boolean of the query string."""
        return self.query.get(name, "false").lower() == "true"


Endpoint: TypeAlias = Callable[[Call], Reply]


def document(value: object) -> Plain:
    """A JSON answer, indented like the service's own."""
    return Plain(json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n")


def line(value: object) -> bytes:
    """JSON on one line: what an event carries."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def chunk_events(chunks: Iterable[Json]) -> Events:
    """A stream as the older endpoints send it: events without a name, and [DONE] at the end."""
    return Events(chain((line(chunk) for chunk in chunks), [b"[DONE]"]))


def named_events(events: Iterable[Json]) -> Events:
    """A stream as the newer endpoints send it: each event is named by its type, and the last one is the end."""
    return Events((Event(event["type"], line(event)) for event in events), "named")


def numbered_events(events: Iterable[Json], *, after: int = -1) -> Events:
    """The same with a `sequence_number` in each, from the one after `after`: how responses are streamed."""
    numbered = ({**event, "sequence_number": number} for number, event in enumerate(events) if number > after)
    return Events((Event(event["type"], line(event)) for event in numbered), "numbered")


def typed_events(events: Iterable[Json]) -> Events:
    """A stream as the audio endpoints send it: the type is in the data only."""
    return Events(line(event) for event in events)


def deleted(kind: str, key: str) -> Plain:
    """What a deletion is answered with."""
    return document({"id": key, "object": kind, "deleted": True})


def boolean(text: str, name: str) -> bool:
    """A boolean of a form."""
    if text.lower() not in ("true", "false"):
        raise Refusal(400, f"'{name}' is {text!r}; it must be true or false.", param=name, code="invalid_type")
    return text.lower() == "true"
