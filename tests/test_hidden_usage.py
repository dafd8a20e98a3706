"""Streams whose usage was asked for by the gateway, and is kept from the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.endpoints import ENDPOINTS
from core.hidden_usage import hide
from offline_client import Upstream

_ENDPOINTS = {endpoint.name: endpoint for endpoint in ENDPOINTS}
_REPORT = b'{"prompt_tokens":7,"completion_tokens_details":{"reasoning_tokens":0},"x":[]}'


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (b'{"choices":[{"delta":{}}],"usage":null}', b'{"choices":[{"delta":{}}]}'),
        (b'{"choices":[],"usage":null,"x":"y","z":1}', b'{"choices":[],"x":"y","z":1}'),
        (b'{"choices":[],"usage":null,"x":"}"}', b'{"choices":[],"x":"}"}'),
        (b'{"usage":null,"choices":[{"delta":{}}]}', b'{"choices":[{"delta":{}}]}'),
        (b'{"usage": null, "choices": []}', b'{"choices": []}'),
        (b'{"a": 1, "usage" : null , "choices": [1]}', b'{"a": 1 , "choices": [1]}'),
        (b'{ "usage": null }', b"{  }"),
        (b'{"usage":null,"usage":null,"a":1,"usage":null}', b'{"a":1}'),
        (b'{"choices":[1],"usage":' + _REPORT + b',"a":{}}', b'{"choices":[1],"a":{}}'),
        (b'{"usage":' + _REPORT + b',"choices":[{}]}', b'{"choices":[{}]}'),
        (b'{"usage":' + _REPORT + b"}", b"{}"),
        # Not the chunk's own.
        (b'{"choices":[{"usage":null}]}', b'{"choices":[{"usage":null}]}'),
        (b'{"choices":[{"delta":{},"usage":null}],"usage":null}', b'{"choices":[{"delta":{},"usage":null}]}'),
        (b'{"choices":[{"x":[],"usage":null}]}', b'{"choices":[{"x":[],"usage":null}]}'),
        (b'{"choices":[],"x_groq":{"id":"r","usage":{"a":1}}}', b'{"choices":[],"x_groq":{"id":"r","usage":{"a":1}}}'),
        (b'{"object":"usage"}', b'{"object":"usage"}'),
        (rb'{"c":"\"usage\":null,\"usage\":null"}', rb'{"c":"\"usage\":null,\"usage\":null"}'),
        (rb'{"c":",\"usage\":null}","usage":null}', rb'{"c":",\"usage\":null}"}'),
        (rb'{"c\"usage":null,"usage":null}', rb'{"c\"usage":null}'),
        (rb'{"c":"\u0061\\","usage":null}', rb'{"c":"\u0061\\"}'),
        (b"[DONE]", b"[DONE]"),
        # Nothing but usage.
        (b'{"choices":[],"usage":' + _REPORT + b"}", None),
        (b'{"id":"c","usage":' + _REPORT + b',"choices": [ ]}', None),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_one_chunk(chunk: bytes, expected: bytes | None, end: bytes) -> None:
    before, after = b'data: {"a":[1]}' + end * 2, b': "usage" ,"usage":null}' + end * 2
    event = b"" if expected is None else b"data: " + expected + end * 2
    assert hide(b"data: " + chunk + end * 2) == event
    assert hide(before + b"data: " + chunk + end * 2 + after) == before + event + after
    named = b": ping" + end + b"event: x" + end + b"data:"
    assert hide(named + chunk + end * 2) == (b"" if expected is None else named + expected + end * 2)


def test_an_event_of_several_lines() -> None:
    event = b'id: 7\ndata: {"choices":\ndata: [1],\ndata: "usage":\ndata: null}\nretry: 5\n\n'
    assert hide(event) == b'id: 7\ndata: {"choices":\ndata: [1]}\nretry: 5\n\n'
    nested = b'data: {"choices": [\ndata: {"a":1,"usage":null}\ndata: ]}\n\n'
    assert hide(nested) == nested


@pytest.mark.parametrize(
    "odd",
    [b"", b'data: {"usage"', b'data: "usage":', b'"usage"\n\n', b'data: ]}"usage":1}\n\n'],
)
def test_what_is_no_event_passes(odd: bytes) -> None:
    assert hide(odd) == odd


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.started() as started:
        yield started


@pytest.mark.parametrize("directives", ["", ";crlf"])
@pytest.mark.parametrize(
    "body",
    [
        {"model": "gpt-4o", "messages": [{"role": "user", "content": 'Say "usage":null}'}], "n": 2, "logprobs": True},
        {"model": "gpt-3.5-turbo-instruct", "prompt": 'Say "usage":null}', "logprobs": 1},
    ],
    ids=["chat", "completion"],
)
def test_a_stream_is_as_if_usage_had_not_been_asked_for(
    upstream: Upstream, body: dict[str, Any], directives: str
) -> None:
    path = _ENDPOINTS["chat.completions.create" if "messages" in body else "completions.create"].path
    body = {**body, "model": body["model"] + directives, "stream": True}
    unasked = upstream.ask("POST", path, body).body
    asked = upstream.ask("POST", path, {**body, "stream_options": {"include_usage": True}}).body
    assert unasked != asked
    assert hide(asked) == unasked == hide(unasked)
    end = b"\r\n" if "crlf" in directives else b"\n"
    events = [event + end * 2 for event in asked.split(end * 2)[:-1]]
    assert b"".join(map(hide, events)) == unasked
    assert b"" in map(hide, events)


def test_chunks_as_another_service_writes_them() -> None:
    chunk = {"usage": None, "id": "c", "choices": [{"delta": {"content": 'ü, "usage": null'}, "index": 0}]}
    without = {name: value for name, value in chunk.items() if name != "usage"}
    assert hide(b"data: " + json.dumps(chunk).encode() + b"\n\n") == b"data: " + json.dumps(without).encode() + b"\n\n"
