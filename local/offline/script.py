"""An answer and a behaviour become a script: the steps in which the answer is sent, cut, delayed or never finished.

Pure, so that a test can read what will happen without a socket; `exchange` plays it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeAlias

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


@dataclass(frozen=True, slots=True)
class Events:
    """An answer as server-sent events: the data of each."""

    data: Iterable[bytes]


Reply: TypeAlias = Plain | Events


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
    elif isinstance(reply, Events):
        yield from _stream(reply, behaviour)
    else:
        yield from _plain(reply, behaviour, accepts_gzip)


def _replaced(reply: Reply, behaviour: Behaviour) -> Reply:
    """What is sent in the answer's place."""
    if behaviour.status is not None:
        reply = refused(fault(behaviour.status, behaviour.code))
    streamed = isinstance(reply, Events)
    status = 200 if isinstance(reply, Events) else reply.status
    if behaviour.html:
        return Plain(_HTML % status, status, "text/html; charset=utf-8")
    if behaviour.garbage:
        return Plain(_GARBAGE_BYTES, 200, _EVENT_STREAM) if streamed else Plain(_GARBAGE_JSON)
    if behaviour.empty:
        return Plain(b"", status, _EVENT_STREAM if streamed else _JSON)
    return reply


def _plain(reply: Plain, behaviour: Behaviour, accepts_gzip: bool) -> Iterator[Step]:
    if behaviour.gate is not None:
        yield Gate(behaviour.gate)
    if behaviour.hang is not None:
        yield Hang()
        return
    body, headers = reply.body, [("content-type", reply.content_type)]
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


def _stream(reply: Events, behaviour: Behaviour) -> Iterator[Step]:
    yield Start(200, (("content-type", _EVENT_STREAM), *_retry_after(behaviour)))
    for position, data in enumerate(chain(reply.data, [None])):
        if data is None:
            yield Finish()
            return
        if position:
            yield Gate(behaviour.gate) if behaviour.gate is not None else Pause(behaviour.pace_ms)
        event = _framed(data, behaviour)
        if (ending := _ending(position, event, behaviour)) is not None:
            yield from ending
            return
        if behaviour.comments:
            yield Send(_lines(b": keep-alive\n\n", behaviour), ends_chunk=False)
        yield from _written(event, behaviour)


def _ending(position: int, event: bytes, behaviour: Behaviour) -> list[Step] | None:
    """How the stream ends before this event, if it is told to end here."""
    if position == behaviour.cut:
        return [Send(event[: len(event) // 2], ends_chunk=False), Cut()] if behaviour.midevent else [Cut()]
    if position == behaviour.end:
        return [Finish()]
    if position == behaviour.error:
        return [Send(_framed(fault(500, behaviour.code).event(), behaviour)), Finish()]
    if position == behaviour.hang:
        return [Hang()]
    return None


def _framed(data: bytes, behaviour: Behaviour) -> bytes:
    return _lines(b"data: " + data + b"\n\n", behaviour)


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
