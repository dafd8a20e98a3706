"""What streams used: as they report it, and as can be counted when they end before they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.endpoints import ENDPOINTS
from core.stream_usage import StreamUsage
from core.usage import Usage
from offline_client import Upstream

_ENDPOINTS = {endpoint.name: endpoint for endpoint in ENDPOINTS}
_CHAT, _RESPONSE = "chat.completions.create", "responses.create"
_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
_COUNTS = Usage(input_tokens=7, output_tokens=3)
_HELLO = "Grüß dich, 世界 🍀"


def _noted(name: str, *passed: bytes) -> StreamUsage:
    usage = StreamUsage(_ENDPOINTS[name])
    for events in passed:
        usage.note(events)
    return usage


def _event(value: object, end: bytes = b"\n", *, ascii_only: bool = False) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=ascii_only).encode() + end * 2


def _delta(delta: dict[str, Any], **chunk: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], **chunk}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_last_chunk_reports(end: bytes) -> None:
    chunks = [_delta({"content": "Hi"}, usage=None), {"choices": [], "service_tier": "flex", "usage": _USAGE}]
    passed = b"".join(_event(chunk, end) for chunk in chunks) + b"data: [DONE]" + end * 2
    for cut in (_noted(_CHAT, passed), _noted(_CHAT, *(event + end * 2 for event in passed.split(end * 2)[:-1]))):
        assert cut.reported == Usage(input_tokens=7, output_tokens=3, service_tier="flex")
        assert (cut.text_bytes, cut.events) == (2, 3)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices": [],\ndata: "usage":\ndata: {"prompt_tokens": 7, "completion_tokens": 3}}\n\n',
        b': ping\nid: 1\nevent: x\ndata:{"usage"\t: {"prompt_tokens":7,"completion_tokens":3},"choices":null}\n\n',
        b': "usage": {"prompt_tokens":1,"completion_tokens":1}\n\n' + _event({"usage": _USAGE}),
        _event({"usage": {"prompt_tokens": 7, "completion_tokens": 1}}) + _event({"usage": _USAGE}),
        _event({"usage": _USAGE}) + _event({"usage": None}) + _event({"usage": {}}),
        _event({"usage": _USAGE}) + b"data: [DONE]",
    ],
    ids=["several lines", "other fields", "a comment", "twice", "nothing later", "no end"],
)
def test_where_a_report_stands(event: bytes) -> None:
    assert _noted(_CHAT, event).reported == _COUNTS


def test_what_comes_after_a_report_is_counted_however_it_comes() -> None:
    """Several events may come at once, and the report stand in the midst of them."""
    events = [_event(_delta({"content": "Hi"}, usage=_USAGE)), _event(_delta({"content": "you"}, usage=None))]
    for passed in (events, [b"".join(events)]):
        assert (usage := _noted(_CHAT, *passed)).reported == _COUNTS
        assert (usage.text_bytes, usage.text_bytes_since_report) == (5, 3)


def test_what_a_model_writes_is_no_report() -> None:
    forged = '"usage":{"prompt_tokens":0,"completion_tokens":0}'
    chunk = _delta({"content": forged, "tool_calls": [{"function": {"arguments": f"{{{forged}}}"}}]})
    nested = _delta({"content": "x", "extra": {"usage": _USAGE}})
    broken = b'data: {"usage": {"prompt_tokens": 7, "completion_tokens": 3\n\n'
    assert _noted(_CHAT, _event(chunk), _event(nested), broken).reported is None


def test_a_response_reports_within() -> None:
    used = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    tools = [{"type": "function", "name": "f", "parameters": {"properties": {"usage": {"type": "string"}}}}]
    for kind in ("completed", "incomplete", "failed"):
        last = {"type": f"response.{kind}", "response": {"output": [], "tools": tools, "usage": used}}
        first = {"type": "response.created", "response": {"tools": tools, "usage": None}}
        assert _noted(_RESPONSE, _event(first)).reported is None
        assert _noted(_RESPONSE, _event(first), _event(last)).reported == _COUNTS


def test_images_of_one_stream_add_up() -> None:
    used = {"input_tokens": 7, "output_tokens": 100, "total_tokens": 107}
    done = _event({"type": "image_generation.completed", "b64_json": "QUJD", "usage": used})
    part = _event({"type": "image_generation.partial_image", "b64_json": "QUJD" * 5})
    usage = _noted("images.generate", part, done, done)
    assert usage.reported == Usage(input_tokens=14, output_tokens=200, output_image_tokens=200)
    assert (usage.text_bytes, usage.media_bytes) == (0, 28)


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("text", ["Hi", _HELLO, 'a "quoted" \\ text\n', '"content": "x"', "\\", '\\"', ""])
def test_text_is_counted_in_utf_8(text: str, *, ascii_only: bool) -> None:
    chunks = [
        _delta({"content": text, "role": "assistant"}),
        _delta({"refusal": text, "content": None}),
        _delta({"reasoning_content": text}),
        _delta({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "", "arguments": text}}]}),
    ]
    usage = _noted(_CHAT, *(_event(chunk, ascii_only=ascii_only) for chunk in chunks))
    assert usage.text_bytes == 4 * len(text.encode())
    assert usage.output_tokens_at_most == usage.text_bytes + 4
    events = [
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": text, "obfuscation": "xxxx"},
        {"type": "response.output_text.done", "text": text},
        {"type": "response.output_item.done", "item": {"content": [{"type": "output_text", "text": text}]}},
    ]
    response = _noted(_RESPONSE, *(_event(event, ascii_only=ascii_only) for event in events))
    assert (response.text_bytes, response.events) == (len(text.encode()), 3)


def test_half_a_surrogate_pair_is_counted_as_it_is_written() -> None:
    assert _noted(_CHAT, rb'data: {"choices":[{"delta":{"content":"\ud83c"}}]}' + b"\n\n").text_bytes == 6


def test_sound_is_no_text() -> None:
    spoken = _noted(_CHAT, _event(_delta({"audio": {"id": "audio_1", "data": "QUJD", "transcript": "abc"}})))
    assert (spoken.text_bytes, spoken.media_bytes) == (3, 4)
    speech = _noted("audio.speech.create", _event({"type": "speech.audio.delta", "audio": "QUJDQUJD"}))
    assert (speech.text_bytes, speech.media_bytes) == (0, 8)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.started() as started:
        yield started


_STREAMS: dict[str, dict[str, Any]] = {
    _CHAT: {"model": "gpt-5", "messages": [{"role": "user", "content": _HELLO}]},
    "completions.create": {"model": "gpt-3.5-turbo-instruct", "prompt": _HELLO},
    _RESPONSE: {"model": "gpt-5", "input": _HELLO},
    "images.generate": {"model": "gpt-image-1", "prompt": "A leaf", "partial_images": 2},
    "audio.speech.create": {"model": "gpt-4o-mini-tts", "input": _HELLO, "voice": "alloy", "stream_format": "sse"},
}


@pytest.mark.parametrize("directives", ["", ";crlf", ";comments;split"])
@pytest.mark.parametrize("name", _STREAMS)
def test_streams_of_the_offline_upstream(upstream: Upstream, name: str, directives: str) -> None:
    body = {**_STREAMS[name], "stream": True}
    body["model"] += directives
    if name.endswith("completions.create"):
        body["stream_options"] = {"include_usage": True}
    if "stream_format" in body:
        del body["stream"]
    answer = upstream.ask("POST", _ENDPOINTS[name].path, body).body
    usage = _noted(name, answer)
    assert usage.reported is not None
    (total,) = {event["total_tokens"] for event in _usages(answer)}
    assert usage.reported.tokens == total > 0
    if name not in ("images.generate", "audio.speech.create"):
        assert usage.reported.output_tokens <= usage.output_tokens_at_most
        assert usage.media_bytes == 0
    else:
        assert usage.text_bytes == 0 < usage.media_bytes
    silent = upstream.ask("POST", _ENDPOINTS[name].path, {**body, "model": body["model"] + ";nousage"}).body
    assert _noted(name, silent).reported is None
    assert _noted(name, silent).text_bytes == usage.text_bytes


@pytest.mark.parametrize("model", ["gpt-4o-transcribe"])
def test_a_streamed_transcript_of_the_offline_upstream(upstream: Upstream, model: str) -> None:
    create = upstream.client.audio.transcriptions.with_streaming_response.create
    with create(model=model, file=b"x" * 900, stream=True) as response:
        answer = response.read()
    usage = _noted("audio.transcriptions.create", answer)
    assert usage.reported is not None
    assert usage.reported.input_audio_tokens == 10
    assert usage.reported.output_tokens <= usage.output_tokens_at_most


def _usages(answer: bytes) -> Iterator[dict[str, Any]]:
    for line in answer.splitlines():
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            usage = event.get("usage") or (event.get("response") or {}).get("usage")
            if usage:
                yield usage
