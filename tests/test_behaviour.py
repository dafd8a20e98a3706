"""Directives and the scripts they lead to: what the offline upstream will do, read without a socket."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Literal

import pytest

from local.offline.behaviour import DIRECTIVES, Behaviour, parse_directives
from local.offline.refusal import Refusal, fault
from local.offline.script import (
    Chunks,
    Cut,
    Event,
    Events,
    Finish,
    Gate,
    Hang,
    Pause,
    Plain,
    Send,
    Start,
    Step,
    refused,
    script,
)

_DEFAULT = Behaviour(pace_ms=30)
_START = Start(200, (("content-type", "text/event-stream; charset=utf-8"),))
_ONE, _TWO, _DONE = Send(b'data: {"a":1}\n\n'), Send(b'data: {"b":2}\n\n'), Send(b"data: [DONE]\n\n")


def _stream(directives: str) -> list[Step]:
    events = Events([b'{"a":1}', b'{"b":2}', b"[DONE]"])
    return list(script(events, parse_directives(directives, Behaviour()), accepts_gzip=True))


def _plain(directives: str, accepts_gzip: bool = True) -> list[Step]:
    return list(script(Plain(b'{"a":1}'), parse_directives(directives, Behaviour()), accepts_gzip=accepts_gzip))


def _json_start(length: int, *more: tuple[str, str], status: int = 200) -> Start:
    return Start(
        status, (("content-type", "application/json"), *more[:-1], ("content-length", str(length)), *more[-1:])
    )


@pytest.mark.parametrize(
    ("text", "behaviour"),
    [
        pytest.param("", _DEFAULT, id="nothing"),
        pytest.param(" ;; ", _DEFAULT, id="empty items"),
        pytest.param("first=500; pace=0", Behaviour(first_ms=500, pace_ms=0), id="times"),
        pytest.param("pace=1;pace=2", Behaviour(pace_ms=2), id="the last counts"),
        pytest.param("status=429;retry-after=7", Behaviour(pace_ms=30, status=429, retry_after="7"), id="status"),
        pytest.param("cut;hang", Behaviour(pace_ms=30, cut=1, hang=0), id="bare positions"),
        pytest.param("gzip=force;crlf", Behaviour(pace_ms=30, gzip="force", crlf=True), id="gzip"),
        pytest.param("tag=a=b", Behaviour(pace_ms=30, tag="a=b"), id="a value with ="),
    ],
)
def test_directives_are_read(text: str, behaviour: Behaviour) -> None:
    assert parse_directives(text, _DEFAULT) == behaviour


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slow", f"There is no directive 'slow'; there are {', '.join(DIRECTIVES)}."),
        ("pace", "The directive 'pace' takes a whole number, not ''."),
        ("pace=-1", "The directive 'pace' takes a whole number, not '-1'."),
        ("status=200", "The directive 'status' takes an error status, 400 to 599, not '200'."),
        ("html=yes", "The directive 'html' takes no value, not 'yes'."),
        ("gzip=no", "The directive 'gzip' takes no value, or 'force', not 'no'."),
        ("retry-after=\r\nx: y", "The directive 'retry-after' takes printable ASCII, not '\r\nx: y'."),
    ],
)
def test_a_directive_that_is_none_is_named(text: str, message: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse_directives(text, _DEFAULT)
    error = {"message": message, "type": "invalid_request_error", "param": "model", "code": "invalid_directive"}
    assert (refusal.value.status, refusal.value.error) == (400, error)


@pytest.mark.parametrize(
    ("directives", "steps"),
    [
        pytest.param("", [_START, _ONE, Pause(0), _TWO, Pause(0), _DONE, Finish()], id="well-behaved"),
        pytest.param("first=9;pace=5", [Pause(9), _START, _ONE, Pause(5), _TWO, Pause(5), _DONE, Finish()], id="paced"),
        pytest.param("gate=g", [_START, _ONE, Gate("g"), _TWO, Gate("g"), _DONE, Finish()], id="gated"),
        pytest.param("drop", [Cut()], id="drop"),
        pytest.param("cut=0", [_START, Cut()], id="cut at once"),
        pytest.param("cut=1", [_START, _ONE, Pause(0), Cut()], id="cut between events"),
        pytest.param(
            "cut=1;midevent", [_START, _ONE, Pause(0), Send(b"data: {", ends_chunk=False), Cut()], id="cut in an event"
        ),
        pytest.param("end=1", [_START, _ONE, Pause(0), Finish()], id="no DONE"),
        pytest.param("hang=1", [_START, _ONE, Pause(0), Hang()], id="hang"),
        pytest.param(
            "error=1",
            [_START, _ONE, Pause(0), Send(b"data: " + fault(500).event() + b"\n\n"), Finish()],
            id="an error in the stream",
        ),
        pytest.param("end=1;crlf", [_START, Send(b'data: {"a":1}\r\n\r\n'), Pause(0), Finish()], id="crlf"),
        pytest.param(
            "end=1;comments",
            [_START, Send(b": keep-alive\n\n", ends_chunk=False), _ONE, Pause(0), Finish()],
            id="comments",
        ),
    ],
)
def test_a_stream_goes_as_it_is_told(directives: str, steps: list[Step]) -> None:
    assert _stream(directives) == steps


_NAMED = [Event("a", b'{"a":1}'), Event("b", b'{"b":2}')]
_NAMED_ONE = Send(b'event: a\ndata: {"a":1}\n\n')


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("unnamed", b"data: " + fault(500).event()),
        ("named", b"event: error\ndata: " + fault(500).named_event()),
        ("numbered", b"event: error\ndata: " + fault(500).named_event(1)),
    ],
)
def test_an_error_is_of_its_streams_kind(kind: Literal["unnamed", "named", "numbered"], error: bytes) -> None:
    steps = list(script(Events(_NAMED, kind), Behaviour(error=1), accepts_gzip=False))
    assert steps == [_START, _NAMED_ONE, Pause(0), Send(error + b"\n\n"), Finish()]


_SOUND_START = Start(200, (("content-type", "audio/wav"),))


@pytest.mark.parametrize(
    ("directives", "steps"),
    [
        pytest.param("pace=5;comments;crlf", [Send(b"ab\n"), Pause(5), Send(b"cd"), Finish()], id="paced"),
        pytest.param("gate=g", [Send(b"ab\n"), Gate("g"), Send(b"cd"), Finish()], id="gated"),
        pytest.param("cut=1;midevent", [Send(b"ab\n"), Pause(0), Send(b"c", ends_chunk=False), Cut()], id="cut"),
        pytest.param("end=1", [Send(b"ab\n"), Pause(0), Finish()], id="an early end"),
        pytest.param("hang=1", [Send(b"ab\n"), Pause(0), Hang()], id="hang"),
        pytest.param("error=1", [Send(b"ab\n"), Pause(0), Cut()], id="sound has no place for an error"),
    ],
)
def test_sound_goes_as_it_is_told(directives: str, steps: list[Step]) -> None:
    reply = Chunks([b"ab\n", b"cd"], "audio/wav")
    assert list(script(reply, parse_directives(directives, Behaviour()), accepts_gzip=True)) == [_SOUND_START, *steps]


def test_split_cuts_inside_a_character() -> None:
    steps = list(script(Events(["é".encode()]), Behaviour(split=True), accepts_gzip=True))
    middle, character = Send(b"data:", ends_chunk=False), Send(b" \xc3", ends_chunk=False)
    assert steps == [_START, middle, Pause(1), character, Pause(1), Send(b"\xa9\n\n"), Finish()]


@pytest.mark.parametrize(
    ("directives", "steps"),
    [
        pytest.param("", [_json_start(7), Send(b'{"a":1}'), Finish()], id="well-behaved"),
        pytest.param("gate=g", [Gate("g"), _json_start(7), Send(b'{"a":1}'), Finish()], id="gated"),
        pytest.param("hang", [Hang()], id="hang"),
        pytest.param("cut", [_json_start(7), Send(b'{"a', ends_chunk=False), Cut()], id="cut"),
        pytest.param("empty", [_json_start(0), Send(b""), Finish()], id="empty"),
    ],
)
def test_a_plain_answer_goes_as_it_is_told(directives: str, steps: list[Step]) -> None:
    assert _plain(directives) == steps


@pytest.mark.parametrize(
    ("directive", "accepts", "is_packed"), [("gzip", True, True), ("gzip", False, False), ("gzip=force", False, True)]
)
def test_gzip_packs_for_whom_accepts_it_or_by_force(directive: str, accepts: bool, is_packed: bool) -> None:
    start, send, _ = _plain(directive, accepts)
    assert isinstance(start, Start)
    assert isinstance(send, Send)
    assert (("content-encoding", "gzip") in start.headers) is is_packed
    assert (gzip.decompress(send.data) if is_packed else send.data) == b'{"a":1}'


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("run", [_stream, _plain])
def test_a_status_replaces_the_answer(status: int, run: Callable[[str], list[Step]]) -> None:
    body = refused(fault(status)).body
    start = _json_start(len(body), ("retry-after", "7"), status=status)
    assert run(f"status={status};retry-after=7") == [start, Send(body), Finish()]


def test_insufficient_quota_is_its_own_type_of_error() -> None:
    error = fault(429, "insufficient_quota").error
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
