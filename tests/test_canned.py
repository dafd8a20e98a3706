"""The canned answers: each shape of an OpenAI chat answer, built from a request without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from local.offline import canned, chat_rules
from local.offline.instance import instance_of
from local.offline.refusal import Refusal
from local.offline.tokens import count_tokens, split_tokens

_HELLO: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Grüß dich, 世界"}]}
_HELLO_TEXT = (
    "This is a canned answer from Trefoil's offline upstream; no model was asked. "
    "You wrote: “Grüß dich, 世界”. (naïve café — 漢字 🍀)"
)
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": _CITY}} for name in ("weather", "time", "weather_map")
]


def _completion(body: Mapping[str, Any]) -> dict[str, Any]:
    chat_rules.check(body)
    return canned.completion(canned.answer(body))


def _called(body: Mapping[str, Any]) -> list[str]:
    message = _completion(body)["choices"][0]["message"]
    return [call["function"]["name"] for call in message.get("tool_calls", [])]


def test_a_plain_answer_is_a_whole_chat_completion() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 36,
        "total_tokens": 46,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    message: dict[str, Any] = {"role": "assistant", "content": _HELLO_TEXT, "refusal": None, "annotations": []}
    assert _completion(_HELLO) == {
        "id": f"chatcmpl-{canned.request_hash(_HELLO)[:29]}",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "gpt-4o",
        "service_tier": "default",
        "system_fingerprint": "fp_offline0",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage,
    }


def test_a_stream_says_the_same_in_pieces() -> None:
    body = {**_HELLO, "stream": True, "stream_options": {"include_usage": True}}
    first, *middle, last, usage = canned.chunks(canned.answer(body))
    plain = _completion(_HELLO)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in middle) == _HELLO_TEXT
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert [chunk["usage"] for chunk in (first, *middle, last)] == [None] * (len(middle) + 2)
    assert usage == {**plain, "object": "chat.completion.chunk", "choices": []}


def test_without_include_usage_no_chunk_mentions_usage() -> None:
    assert not any("usage" in chunk for chunk in canned.chunks(canned.answer({**_HELLO, "stream": True})))


def test_choices_differ_and_take_turns_in_a_stream() -> None:
    whole = canned.answer({**_HELLO, "n": 3})
    texts = [choice["message"]["content"] for choice in canned.completion(whole)["choices"]]
    assert texts == [f"(Choice {place} of 3) {_HELLO_TEXT}" for place in (1, 2, 3)]
    turns = [chunk["choices"][0]["index"] for chunk in canned.chunks(whole)]
    assert turns == [0, 1, 2] * (len(turns) // 3)


@pytest.mark.parametrize(
    ("extra", "content", "reason"),
    [
        pytest.param({"max_tokens": 3}, "This is a", "length", id="max_tokens"),
        pytest.param({"max_completion_tokens": 1}, "This", "length", id="max_completion_tokens"),
        pytest.param({"max_tokens": 10_000}, _HELLO_TEXT, "stop", id="a limit that is not reached"),
        pytest.param({"stop": " canned"}, "This is a", "stop", id="one stop sequence"),
        pytest.param({"stop": ["never", "answer", "canned"]}, "This is a ", "stop", id="the earliest of several"),
    ],
)
def test_the_text_ends_where_it_is_told(extra: dict[str, Any], content: str, reason: str) -> None:
    completion = _completion({**_HELLO, **extra})
    choice = completion["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, reason)
    assert completion["usage"]["completion_tokens"] == count_tokens(content)


def test_logprobs_cover_every_token_plain_and_streamed() -> None:
    whole = canned.answer({**_HELLO, "logprobs": True, "top_logprobs": 2})
    content = canned.completion(whole)["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in content] == split_tokens(_HELLO_TEXT)
    this = {"token": "This", "logprob": -0.01, "bytes": [84, 104, 105, 115]}
    other = {"token": "This·", "logprob": -1.01, "bytes": [84, 104, 105, 115, 194, 183]}
    assert content[0] == {**this, "top_logprobs": [this, other]}
    streamed = [chunk["choices"][0]["logprobs"] for chunk in canned.chunks(whole)]
    assert [entry for one in streamed if one for entry in one["content"]] == content


@pytest.mark.parametrize(
    ("text", "extra", "called"),
    [
        pytest.param("hello", {}, [], id="auto, none named"),
        pytest.param("the weather, please", {}, ["weather"], id="auto, one named"),
        pytest.param("time, weather", {}, ["weather", "time"], id="auto, two in parallel"),
        pytest.param("time, weather", {"parallel_tool_calls": False}, ["weather"], id="auto, not in parallel"),
        pytest.param("the weather", {"tool_choice": "none"}, [], id="none"),
        pytest.param("hello", {"tool_choice": "required"}, ["weather"], id="required, none named"),
        pytest.param("the time", {"tool_choice": "required"}, ["time"], id="required, one named"),
        pytest.param(
            "hello", {"tool_choice": {"type": "function", "function": {"name": "time"}}}, ["time"], id="forced by name"
        ),
        pytest.param(
            "time, weather",
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [_TOOLS[1]]}}},
            ["time"],
            id="allowed_tools",
        ),
    ],
)
def test_tools_are_called_as_tool_choice_says(text: str, extra: dict[str, Any], called: list[str]) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "tools": _TOOLS, **extra}
    assert _called(body) == called


def test_after_a_tools_result_the_answer_repeats_it_and_required_goes_on_to_the_next_tool() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "the weather"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain ☔"},
    ]
    body = {"model": "gpt-4o", "messages": messages, "tools": _TOOLS}
    content = _completion(body)["choices"][0]["message"]["content"]
    assert "Your tool answered: “rain ☔”." in content
    assert _called({**body, "tool_choice": "required"}) == ["time"]


def test_a_tool_call_is_streamed_in_fragments_of_its_arguments() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "time, weather"}], "tools": _TOOLS}
    whole = canned.answer(body)
    first, *middle, last = (chunk["choices"][0] for chunk in canned.chunks(whole))
    assert first["delta"] == {"role": "assistant", "content": None, "refusal": None}
    assert last["finish_reason"] == "tool_calls"
    joined: dict[int, dict[str, Any]] = {}
    for (piece,) in (entry["delta"]["tool_calls"] for entry in middle):
        if "id" in piece:
            joined[piece["index"]] = {"id": piece["id"], "type": piece["type"], "function": dict(piece["function"])}
        else:
            assert piece.keys() == {"index", "function"}
            joined[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    assert list(joined.values()) == canned.completion(whole)["choices"][0]["message"]["tool_calls"]


@pytest.mark.parametrize("limit", range(1, 14))
def test_no_limit_is_passed_by_tool_calls(limit: int) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "time, weather"}], "tools": _TOOLS}
    completion = _completion({**body, "max_tokens": limit})
    assert completion["usage"]["completion_tokens"] <= limit
    assert completion["choices"][0]["finish_reason"] == "length"


def test_json_mode_answers_with_a_json_object() -> None:
    messages = [{"role": "user", "content": "in JSON"}]
    body = {"model": "gpt-4o", "messages": messages, "response_format": {"type": "json_object"}}
    content = json.loads(_completion(body)["choices"][0]["message"]["content"])
    assert content["heard"] == "You wrote: “in JSON”."


_NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        pytest.param({"type": "string"}, "canned value 🍀", id="string"),
        pytest.param({"type": "string", "maxLength": 3}, "can", id="short string"),
        pytest.param({"type": "string", "minLength": 17}, "canned value 🍀...", id="long string"),
        pytest.param({"type": "string", "format": "date"}, "2026-01-02", id="format"),
        pytest.param({"type": ["null", "boolean"]}, True, id="several types"),
        pytest.param({"enum": ["b", "a"]}, "b", id="enum"),
        pytest.param({"const": 7}, 7, id="const"),
        pytest.param({"type": "integer", "minimum": 5, "multipleOf": 4}, 8, id="integer from below"),
        pytest.param({"type": "integer", "exclusiveMaximum": 0}, -1, id="integer from above"),
        pytest.param({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 0.5, id="number between"),
        pytest.param({"type": "number", "exclusiveMaximum": -2}, -3, id="number from above"),
        pytest.param({"type": "array", "items": {"type": "null"}, "minItems": 2}, [None, None], id="array"),
        pytest.param({"type": "array", "items": {"type": "null"}, "maxItems": 0}, [], id="empty array"),
        pytest.param({"prefixItems": [{"const": 1}, {"const": 2}], "type": "array"}, [1, 2], id="tuple"),
        pytest.param({"allOf": [_CITY, {"properties": {"n": {"const": 1}}}]}, {"city": "canned city 🍀", "n": 1}),
        pytest.param(_NODE, {"next": {"next": None}}, id="recursive through anyOf"),
        pytest.param(
            {
                "$defs": {"T": {"properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/T"}}}}},
                "$ref": "#/$defs/T",
            },
            {"kids": []},
            id="recursive through an array",
        ),
    ],
)
def test_an_instance_satisfies_its_schema(schema: dict[str, Any], value: object) -> None:
    assert instance_of(schema) == value


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, id="endless"),
        pytest.param({"$ref": "#/$defs/none"}, id="nowhere"),
        pytest.param({"type": "integer", "minimum": "many"}, id="not a schema"),
        pytest.param({"type": "array", "minItems": 10**12}, id="too large"),
    ],
)
def test_a_schema_without_an_instance_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        instance_of(schema)
    assert (refused.value.status, refused.value.error["code"]) == (400, "invalid_json_schema")


def test_the_bytes_of_a_text_bound_its_tokens_and_none_is_lost() -> None:
    for text in ("", "a", "    ", "a  b\n\n c", "漢字漢字漢字", "🍀" * 9, "naïve  café "):
        assert "".join(split_tokens(text)) == text
        assert count_tokens(text) <= len(text.encode())
