"""What an answer says was made: the stored objects that from now on are the app's. Pure.

Only places are read that upstream itself fills. An answer also holds what the client sent, such as `metadata`, by which
it could otherwise claim another app's objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from core import events
from core.endpoints import Endpoint
from core.kinds import Kind
from core.schemas import Call


class Made(NamedTuple):
    """An object of a kind."""

    kind: Kind
    id: str


_TELLING_EVENTS = re.compile(rb'"type": ?"response\.(?:created|completed|incomplete|failed)"|"audio"')


def may_tell(endpoint: Endpoint, call: Call) -> bool:
    """Whether an answer has to be read at all: most make nothing that lasts."""
    if endpoint.makes is Kind.CHAT_COMPLETION:
        return call.store is True or call.audio is not None
    return endpoint.makes is not None or endpoint.name in ("responses.retrieve", "responses.cancel", "uploads.complete")


def leaves_another(endpoint: Endpoint, call: Call) -> bool:
    """Whether the same call, made again, leaves more behind than the first: a second object, or a second turn."""
    if not endpoint.repeatable:
        return True
    return bool(call.conversation or call.background is True or (call.store and endpoint.makes is Kind.CHAT_COMPLETION))


def in_answer(endpoint: Endpoint, body: bytes, *, stored: bool | None) -> Iterator[Made]:
    """What a whole answer tells. `stored` is what the request's `store` said."""
    answer = from_json(body, cache_strings="keys")
    if endpoint.makes is not None and _is_kept(endpoint.makes, answer, stored):
        yield from _one(endpoint.makes, answer)
    yield from _within(endpoint, answer)


def in_events(endpoint: Endpoint, passed: bytes, *, first: bool, stored: bool | None) -> Iterator[Made]:
    """What whole events of a stream tell; `first` are those that it begins with."""
    if not endpoint.last_events or not (_TELLING_EVENTS.search(passed) or (first and stored)):
        return
    for lines, _ in events.pieces(passed):
        try:
            event = from_json(events.data(lines), cache_strings="keys")
        except ValueError:  # the end of a chat's stream, or nothing of upstream's making: it is the client's to judge
            continue
        if not isinstance(event, dict):
            continue
        if isinstance(response := event.get("response"), dict) and _is_kept(Kind.RESPONSE, response, stored):
            yield from _one(Kind.RESPONSE, response)
            yield from _outputs(response)
        if endpoint.makes is Kind.CHAT_COMPLETION:
            if stored and first:
                yield from _one(Kind.CHAT_COMPLETION, event)
            yield from _speech(event, "delta")


def _is_kept(kind: Kind, answer: Mapping[str, Any], stored: bool | None) -> bool:
    """Whether upstream keeps the object: responses unless told not to, chat completions only if told to."""
    if kind is Kind.RESPONSE:
        return answer.get("store", stored) is not False
    return kind is not Kind.CHAT_COMPLETION or stored is True


def _within(endpoint: Endpoint, answer: Mapping[str, Any]) -> Iterator[Made]:
    """What is made beside the answer's own object."""
    if endpoint.name.startswith("responses."):
        yield from _outputs(answer)
    elif endpoint.name == "chat.completions.create":
        yield from _speech(answer, "message")
    elif endpoint.name == "uploads.complete":
        yield from _one(Kind.FILE, answer.get("file"))


def _outputs(response: Mapping[str, Any]) -> Iterator[Made]:
    """A response's items, and the containers in which its code ran."""
    for item in _list(response, "output"):
        yield from _one(Kind.ITEM, item)
        yield from _one(Kind.CONTAINER, item, "container_id")
        yield from _one(Kind.CONTAINER, item.get("environment"), "container_id")
        for part in _list(item, "content"):
            for annotation in _list(part, "annotations"):
                yield from _one(Kind.CONTAINER, annotation, "container_id")


def _speech(completion: Mapping[str, Any], place: str) -> Iterator[Made]:
    for choice in _list(completion, "choices"):
        message = choice.get(place)
        if isinstance(message, dict):
            yield from _one(Kind.AUDIO, message.get("audio"))


def _one(kind: Kind, value: object, name: str = "id") -> Iterator[Made]:
    if isinstance(value, dict) and isinstance(value.get(name), str) and value[name]:
        yield Made(kind, value[name])


def _list(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in the list under a name; upstream's word is not trusted to be well-formed."""
    found = value.get(name)
    return [element for element in found if isinstance(element, dict)] if isinstance(found, list) else []
