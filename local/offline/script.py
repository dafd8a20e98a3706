"""An answer and a behaviour become a script: the steps in which the answer is sent, cut, delayed or never finished.

Pure, so that a test can read what will happen without a socket; `exchange` plays it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal, TypeAlias

from local.offline.behaviour import Behaviour
from local.offline.refusal import Refusal, fault

Headers: TypeAlias = tuple[tuple[str, str], ...]

_HTML: Final = b"<html>\r\n<head><title>%d</title></head>\r\n<body><h1>A proxy was here</h1></body>\r\n</html>\r\n"
_GARBAGE_JSON: Final = b'{"id": "chatcmpl-\xff\xfe", "choices": [{"message": \x00'
_GARBAGE_BYTES: Final = bytes(range(256)) * 4
_JSON: Final = "application/json"
_EVENT_STREAM: Final = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer with one body."""

    body: bytes
    status: int = 200
    content_type: str = _JSON
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event that has a name beside its data."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Events:
    """An answer as server-sent events. An error among them has the same kind: named, or named and numbered."""

    data: Iterable[bytes | Event]
    kind: Literal["unnamed", "named", "numbered"] = "unnamed"


@dataclass(frozen=True, slots=True)
class Chunks:
    """An answer whose body comes piece by piece, such as sound."""

    parts: Iterable[bytes]
    content_type: str


Reply: TypeAlias = Plain | Events | Chunks


@dataclass(frozen=True, slots=True)
class Start:
    """Send the status and the headers."""

    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many milliseconds."""

    ms: int


@dataclass(frozen=True, slots=True)
class Gate:
    """Wait until somebody opens the gate of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes and flush them; they may be a whole chunk, or a part that does not count."""

    data: bytes
    ends_chunk: bool = True


@dataclass(frozen=True, slots=True)
class Finish:
    """End the body as HTTP wants it."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Do nothing more until the client leaves."""


Step: TypeAlias = Start | Pause | Gate | Send | Finish | Cut | Hang


def refused(refusal: Refusal) -> Plain:
    """The reply that an error is."""
    return Plain(refusal.body(), refusal.status)


def script(reply: Reply, behaviour: Behaviour, *, accepts_gzip: bool) -> Iterator[Step]:
    """The steps of a reply under a behaviour."""
    reply = _replaced(reply, behaviour)
    if behaviour.first_ms:
        yield Pause(behaviour.first_ms)
    if behaviour.drop:
        yield Cut()
    elif isinstance(reply, Plain):
        yield from _plain(reply, behaviour, accepts_gzip)
    else:
        yield from _stream(reply, behaviour)


def _replaced(reply: Reply, behaviour: Behaviour) -> Reply:
    """What is sent in the answer's place."""
    if behaviour.status is not None:
        reply = refused(fault(behaviour.status, behaviour.code))
    status = reply.status if isinstance(reply, Plain) else 200
    if behaviour.html:
        return Plain(_HTML % status, status, "text/html; charset=utf-8")
    if behaviour.garbage:
        return Plain(_GARBAGE_JSON) if isinstance(reply, Plain) else Plain(_GARBAGE_BYTES, 200, _content_type(reply))
    if behaviour.empty:
        return Plain(b"", status, _content_type(reply))
    return reply


def _content_type(reply: Reply) -> str:
    return _EVENT_STREAM if isinstance(reply, Events) else reply.content_type


def _plain(reply: Plain, behaviour: Behaviour, accepts_gzip: bool) -> Iterator[Step]:
    if behaviour.gate is not None:
        yield Gate(behaviour.gate)
    if behaviour.hang is not None:
        yield Hang()
        return
    body, headers = reply.body, [("content-type", reply.content_type), *reply.headers]
    if behaviour.gzip == "force" or (behaviour.gzip and accepts_gzip):
        body = gzip.compress(body, mtime=0)
        headers.append(("content-encoding", "gzip"))
    headers.append(("content-length", str(len(body))))
    yield Start(reply.status, tuple(headers) + _retry_after(behaviour))
    if behaviour.cut is not None:
        yield Send(body[: len(body) // 2], ends_chunk=False)
        yield Cut()
        return
    yield from _written(body, behaviour)
    yield Finish()


def _stream(reply: Events | Chunks, behaviour: Behaviour) -> Iterator[Step]:
    yield Start(200, (("content-type", _content_type(reply)), *_retry_after(behaviour)))
    for position, chunk in enumerate(chain(_framed(reply, behaviour), [None])):
        if chunk is None:
            yield Finish()
            return
        if position:
            yield Gate(behaviour.gate) if behaviour.gate is not None else Pause(behaviour.pace_ms)
        if (ending := _ending(position, chunk, reply, behaviour)) is not None:
            yield from ending
            return
        if behaviour.comments and isinstance(reply, Events):
            yield Send(_lines(b": keep-alive\n\n", behaviour), ends_chunk=False)
        yield from _written(chunk, behaviour)


def _ending(position: int, chunk: bytes, reply: Events | Chunks, behaviour: Behaviour) -> list[Step] | None:
    """How the stream ends before this chunk, if it is told to end here."""
    if position == behaviour.cut:
        return [Send(chunk[: len(chunk) // 2], ends_chunk=False), Cut()] if behaviour.midevent else [Cut()]
    if position == behaviour.end:
        return [Finish()]
    if position == behaviour.error:
        return _failure(position, reply, behaviour)
    if position == behaviour.hang:
        return [Hang()]
    return None


def _failure(position: int, reply: Events | Chunks, behaviour: Behaviour) -> list[Step]:
    """An error inside a stream: an event of the stream's own kind. Sound has no place for one, so it is cut."""
    if isinstance(reply, Chunks):
        return [Cut()]
    error = fault(500, behaviour.code)
    if reply.kind == "unnamed":
        return [Send(_event(error.event(), behaviour)), Finish()]
    named = Event("error", error.named_event(position if reply.kind == "numbered" else None))
    return [Send(_event(named, behaviour)), Finish()]


def _framed(reply: Events | Chunks, behaviour: Behaviour) -> Iterable[bytes]:
    """The chunks as they are written."""
    return reply.parts if isinstance(reply, Chunks) else (_event(event, behaviour) for event in reply.data)


def _event(event: bytes | Event, behaviour: Behaviour) -> bytes:
    if isinstance(event, Event):
        return _lines(b"event: " + event.name.encode() + b"\ndata: " + event.data + b"\n\n", behaviour)
    return _lines(b"data: " + event + b"\n\n", behaviour)


def _lines(text: bytes, behaviour: Behaviour) -> bytes:
    return text.replace(b"\n", b"\r\n") if behaviour.crlf else text


def _written(data: bytes, behaviour: Behaviour) -> Iterator[Step]:
    """The writes of one chunk: one, or for `split` several, the cuts also inside of characters."""
    if not behaviour.split:
        yield Send(data)
        return
    inside_characters = [index + 1 for index, byte in enumerate(data) if byte >= 0xC0]
    cuts = sorted({len(data) // 2, *inside_characters[:8], len(data)} - {0})
    start = 0
    for end in cuts:
        yield Send(data[start:end], ends_chunk=end == len(data))
        if end < len(data):
            yield Pause(1)  # without it the writes would travel as one packet
        start = end


def _retry_after(behaviour: Behaviour) -> Headers:
    return () if behaviour.retry_after is None else (("retry-after", behaviour.retry_after),)
