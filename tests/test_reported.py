"""What whole answers say that they used, and what is made of answers that say it oddly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.endpoints import ENDPOINTS
from core.reported import in_answer, in_event
from core.usage import Usage
from offline_client import Upstream

_ENDPOINTS = {endpoint.name: endpoint for endpoint in ENDPOINTS}
_CHAT, _RESPONSE = "chat.completions.create", "responses.create"


def _read(name: str, answer: object) -> Usage | None:
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return in_answer(_ENDPOINTS[name], content)


_CHAT_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 8, "audio_tokens": 20, "image_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 25, "audio_tokens": 5, "rejected_prediction_tokens": 3},
}
_CHAT_COUNTS = Usage(
    input_tokens=100,
    cached_input_tokens=40,
    cache_write_tokens=8,
    input_audio_tokens=20,
    input_image_tokens=30,
    output_tokens=50,
    reasoning_tokens=25,
    output_audio_tokens=5,
)
_TOKENS = {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        (_CHAT, {"choices": [{"message": {"content": "x"}}], "usage": _CHAT_USAGE}, _CHAT_COUNTS),
        ("completions.create", {"choices": [], "usage": _CHAT_USAGE}, _CHAT_COUNTS),
        ("embeddings.create", {"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}, Usage(input_tokens=8)),
        ("moderations.create", {"results": []}, Usage()),
        ("responses.input_tokens.count", {"object": "response.input_tokens", "input_tokens": 11}, Usage()),
        (
            "responses.compact",
            {"output": [], "usage": {**_TOKENS, "input_tokens_details": {"cached_tokens": 3}}},
            Usage(input_tokens=10, cached_input_tokens=3, output_tokens=4),
        ),
        (
            "responses.retrieve",
            {"usage": {**_TOKENS, "output_tokens_details": {"reasoning_tokens": 2}}},
            Usage(input_tokens=10, output_tokens=4, reasoning_tokens=2),
        ),
        ("responses.cancel", {"status": "cancelled", "usage": None}, None),
        (
            "images.generate",
            {
                "data": [{"b64_json": "QUJD"}],
                "usage": {**_TOKENS, "input_tokens_details": {"text_tokens": 3, "image_tokens": 7}},
            },
            Usage(input_tokens=10, input_image_tokens=7, output_tokens=4, output_image_tokens=4),
        ),
        (
            "images.edit",
            {
                "data": [{}],
                "usage": {
                    **_TOKENS,
                    "input_tokens_details": {"image_tokens": 7},
                    "cached_tokens": 6,
                    "cached_tokens_details": {"cached_image_tokens": 5, "cached_text_tokens": 1},
                    "output_tokens_details": {"text_tokens": 1, "image_tokens": 3},
                },
            },
            Usage(
                input_tokens=10,
                cached_input_tokens=6,
                input_image_tokens=7,
                cached_image_tokens=5,
                output_tokens=4,
                output_image_tokens=3,
            ),
        ),
        ("images.create_variation", {"created": 1, "data": [{"url": "a"}, {"url": "b"}]}, Usage(images=2)),
        ("images.generate", {"created": 1, "data": "no list"}, None),
        (
            "audio.transcriptions.create",
            {"text": "x", "usage": {"type": "tokens", **_TOKENS, "input_token_details": {"audio_tokens": 9}}},
            Usage(input_tokens=10, input_audio_tokens=9, output_tokens=4),
        ),
        (
            "audio.transcriptions.create",
            {"text": "x", "duration": 9.9, "usage": {"type": "duration", "seconds": 7}},
            Usage(audio_milliseconds=7000),
        ),
        ("audio.translations.create", {"text": "x", "duration": 8.4700001}, Usage(audio_milliseconds=8471)),
        ("audio.translations.create", {"text": "x"}, None),
        ("audio.transcriptions.create", b"1\n00:00:00,000 --> 00:00:01,000\nx\n", None),
        ("audio.speech.create", b"\xff\xf3\x00", None),
    ],
)
def test_every_endpoint(name: str, answer: object, expected: Usage | None) -> None:
    assert _read(name, answer) == expected


def test_tools_of_a_response() -> None:
    search: dict[str, Any] = {"type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    output = [
        search,
        {**search, "status": "failed"},
        {**search, "action": {"type": "open_page"}},
        {**search, "action": None},
        {"type": "file_search_call", "status": "completed", "results": None},
        {"type": "file_search_call", "status": "incomplete"},
        {"type": "code_interpreter_call", "container_id": "cntr_1"},
        {"type": "code_interpreter_call", "container_id": "cntr_1"},
        {"type": "code_interpreter_call", "container_id": "cntr_named"},
        {"type": "code_interpreter_call", "container_id": None},
        {"type": "shell_call", "environment": {"type": "container_reference", "container_id": "cntr_2"}},
        "nonsense",
    ]
    answer = {"usage": _TOKENS, "output": output, "tools": [{"type": "code_interpreter", "container": "cntr_named"}, 7]}
    counts = Usage(input_tokens=10, output_tokens=4, file_searches=1, containers=2)
    assert _read(_RESPONSE, answer) == Usage(
        input_tokens=10, output_tokens=4, web_searches=2, file_searches=1, containers=2
    )
    # What upstream itself counts goes before what can be counted.
    assert _read(_RESPONSE, {**answer, "tool_usage": {"web_search": {"num_requests": 0}}}) == counts


def test_images_of_a_response() -> None:
    made = {
        "input_tokens": 30,
        "input_tokens_details": {"image_tokens": 20, "text_tokens": 10},
        "output_tokens": 1000,
        "output_tokens_details": {"image_tokens": 1000, "text_tokens": 0},
        "total_tokens": 1030,
    }
    answer = {"usage": _TOKENS, "output": [], "tool_usage": {"image_gen": made, "web_search": {"num_requests": 3}}}
    assert _read(_RESPONSE, answer) == Usage(
        input_tokens=40, input_image_tokens=20, output_tokens=1004, output_image_tokens=1000, web_searches=3
    )


@pytest.mark.parametrize(
    ("tier", "expected"),
    [("flex", "flex"), ("priority", "priority"), ("default", None), (None, None), (7, None), ("x" * 33, None)],
)
def test_service_tier(tier: object, expected: str | None) -> None:
    assert _read(_CHAT, {"service_tier": tier, "usage": _CHAT_USAGE}) == Usage(
        **{name: getattr(_CHAT_COUNTS, name) for name in _CHAT_COUNTS._fields if name != "service_tier"},
        service_tier=expected,
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        # Thinking that is in the total only.
        (
            {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
            Usage(input_tokens=20, output_tokens=603),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 0}, Usage(input_tokens=5, output_tokens=5)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 1,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": 3,
            },
            Usage(input_tokens=9, cached_input_tokens=4, cache_write_tokens=3, output_tokens=1),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4},
            Usage(input_tokens=9, cached_input_tokens=4, output_tokens=1),
        ),
        # Of a kind there is never more than there is in all.
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 9, "audio_tokens": 4, "image_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 1, "image_tokens": 7},
            },
            Usage(
                input_tokens=5,
                cached_input_tokens=5,
                input_audio_tokens=4,
                input_image_tokens=1,
                output_tokens=2,
                reasoning_tokens=2,
                output_audio_tokens=1,
                output_image_tokens=1,
            ),
        ),
        ({"prompt_tokens": 5.0, "completion_tokens": 2.5}, Usage(input_tokens=5, output_tokens=3)),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": [], "completion_tokens_details": 1},
            Usage(input_tokens=5, output_tokens=2),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": -3}},
            Usage(input_tokens=5, output_tokens=2),
        ),
        ({"prompt_tokens": -1, "completion_tokens": 2}, None),
        ({"prompt_tokens": 1, "completion_tokens": -2, "total_tokens": 1}, None),
        ({"prompt_tokens": "1", "completion_tokens": 2}, None),
        ({"prompt_tokens": True, "completion_tokens": 2}, None),
        ({"prompt_tokens": 10**30, "completion_tokens": 2}, None),
        ({"prompt_tokens": float("nan"), "completion_tokens": 2}, None),
        ({"prompt_tokens": float("inf"), "completion_tokens": 2}, None),
        ({"prompt_tokens": 7}, None),
        ({"completion_tokens": 7}, None),
        ({"type": "duration", "seconds": "7"}, None),
        ({"type": "duration", "seconds": 1e300}, None),
        ({}, None),
        ([], None),
        ("12", None),
        (None, None),
    ],
)
def test_odd_reports(usage: object, expected: Usage | None) -> None:
    assert _read(_CHAT, {"choices": [], "usage": usage}) == expected


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"usage":' * 9000])
def test_what_is_no_answer(content: bytes) -> None:
    for endpoint in ENDPOINTS:
        if endpoint.name not in ("moderations.create", "responses.input_tokens.count"):
            assert in_answer(endpoint, content) is None
        assert in_event(endpoint, content) is None


@pytest.mark.parametrize("odd", [None, True, -1, 1e400, "x", [], [[]], {}, {"type": {}}, [{"type": []}]])
def test_odd_values_anywhere(odd: object) -> None:
    names = ("tool_usage", "output", "tools", "service_tier", "duration", "data", "response")
    for name in names:
        content = json.dumps({"usage": _TOKENS, name: odd}).encode()
        for endpoint in (_RESPONSE, "images.generate", "audio.transcriptions.create"):
            found = in_answer(_ENDPOINTS[endpoint], content)
            assert found is not None
            assert found.tokens == 14


def test_the_event_of_a_response_carries_it_within() -> None:
    within = {"type": "response.completed", "usage": {"input_tokens": 1, "output_tokens": 1}, "response": {}}
    endpoint = _ENDPOINTS[_RESPONSE]
    assert in_event(endpoint, json.dumps(within).encode()) is None
    within["response"] = {"usage": _TOKENS, "service_tier": "flex"}
    expected = Usage(input_tokens=10, output_tokens=4, service_tier="flex")
    assert in_event(endpoint, json.dumps(within).encode()) == expected


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.started() as started:
        yield started


_MESSAGES = [{"role": "user", "content": "Grüß dich, 世界"}]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (_CHAT, {"model": "gpt-5", "messages": _MESSAGES}),
        ("completions.create", {"model": "gpt-3.5-turbo-instruct", "prompt": "Say"}),
        (_RESPONSE, {"model": "gpt-5", "input": "Say"}),
        ("embeddings.create", {"model": "text-embedding-3-small", "input": ["a", "b"], "encoding_format": "base64"}),
        ("images.generate", {"model": "gpt-image-1", "prompt": "A leaf", "n": 2}),
    ],
)
def test_the_offline_upstream_reports(upstream: Upstream, name: str, body: dict[str, Any]) -> None:
    endpoint = _ENDPOINTS[name]
    answer = upstream.ask("POST", endpoint.path, body)
    found = in_answer(endpoint, answer.body)
    assert found is not None
    assert found.tokens == answer.json["usage"]["total_tokens"] > 0
    silent = upstream.ask("POST", endpoint.path, {**body, "model": body["model"] + ";nousage"})
    assert in_answer(endpoint, silent.body) == (Usage(images=2) if name == "images.generate" else None)


def test_the_offline_upstream_reports_images_that_are_paid_by_the_piece(upstream: Upstream) -> None:
    endpoint = _ENDPOINTS["images.generate"]
    answer = upstream.ask("POST", endpoint.path, {"model": "dall-e-2", "prompt": "A leaf", "n": 3})
    assert in_answer(endpoint, answer.body) == Usage(images=3)


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe"])
def test_the_offline_upstream_reports_what_it_heard(upstream: Upstream, model: str) -> None:
    with upstream.client.audio.transcriptions.with_streaming_response.create(model=model, file=b"x" * 900) as response:
        content = response.read()
    found = in_answer(_ENDPOINTS["audio.transcriptions.create"], content)
    usage = json.loads(content)["usage"]
    assert found is not None
    if model == "whisper-1":
        assert found == Usage(audio_milliseconds=1000 * usage["seconds"])
    else:
        assert (found.tokens, found.input_audio_tokens) == (usage["total_tokens"], 10)
