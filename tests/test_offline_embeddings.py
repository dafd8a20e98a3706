"""The offline upstream's embeddings, moderations and completions, asked by the real client."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from local.offline.embeddings import likeness, vector
from local.offline.tokens import split_tokens
from offline_client import Upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    # Not strict: embeddings as base64 and a finish_reason that is still null are real, but not in the client's types.
    with Upstream.started(strict=False) as started:
        yield started


@pytest.mark.parametrize(
    ("model", "given", "extra", "rows", "dimensions"),
    [
        ("text-embedding-3-small", "one text", {}, 1, 1536),
        ("text-embedding-3-large", ["a", "b"], {}, 2, 3072),
        ("text-embedding-ada-002", [1, 2, 3], {}, 1, 1536),
        ("offline", [[1, 2], [3]], {"dimensions": 7}, 2, 7),
        ("text-embedding-3-small", "x", {"encoding_format": "float"}, 1, 1536),
    ],
)
def test_embeddings_are_unit_vectors(
    upstream: Upstream, model: str, given: Any, extra: dict[str, Any], rows: int, dimensions: int
) -> None:
    made = upstream.client.embeddings.create(model=model, input=given, **extra)
    assert [row.index for row in made.data] == list(range(rows))
    for row in made.data:
        assert len(row.embedding) == dimensions
        assert math.hypot(*row.embedding) == pytest.approx(1, abs=1e-6)


def test_floats_and_base64_are_the_same_numbers(upstream: Upstream) -> None:
    ask = {"model": "text-embedding-3-small", "input": "Grüß dich"}
    rows = [
        upstream.ask("POST", "/v1/embeddings", {**ask, "encoding_format": form}).json["data"][0]["embedding"]
        for form in ("float", "base64")
    ]
    assert rows[0] == list(struct.unpack("<1536f", base64.b64decode(rows[1])))


def test_texts_with_the_same_tokens_are_closer() -> None:
    cat, cats, rain = (vector(split_tokens(text), 256) for text in ("a cat sat", "the cat sat", "rain in spring"))
    assert likeness(cat, cats) > likeness(cat, rain) + 0.3


def test_usage_is_the_tokens_of_all_inputs(upstream: Upstream) -> None:
    made = upstream.client.embeddings.create(model="offline", input=["one two", "three"])
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (4, 4)
    answer = upstream.ask("POST", "/v1/embeddings", {"model": "offline;nousage", "input": "x"})
    assert "usage" not in answer.json


@pytest.mark.parametrize(
    ("extra", "status", "param", "code"),
    [
        ({"model": "gpt-0"}, 404, None, "model_not_found"),
        ({"input": None}, 400, "input", "missing_required_parameter"),
        ({"input": ""}, 400, "input", "invalid_value"),
        ({"input": []}, 400, "input", "empty_array"),
        ({"input": ["a", ""]}, 400, "input[1]", "invalid_value"),
        ({"input": ["a", 1]}, 400, "input[1]", "invalid_type"),
        ({"input": {}}, 400, "input", "invalid_type"),
        ({"input": ["x"] * 2049}, 400, "input", "array_above_max_length"),
        ({"input": "a " * 8193}, 400, "input", "context_length_exceeded"),
        ({"dimensions": 1537}, 400, "dimensions", "integer_above_max_value"),
        ({"model": "text-embedding-ada-002", "dimensions": 5}, 400, "dimensions", None),
        ({"encoding_format": "hex"}, 400, "encoding_format", "invalid_value"),
    ],
    ids=str,
)
def test_a_bad_request_is_refused(
    upstream: Upstream, extra: dict[str, Any], status: int, param: str | None, code: str | None
) -> None:
    ask = {"model": "text-embedding-3-small", "input": "x", **extra}
    answer = upstream.ask("POST", "/v1/embeddings", ask)
    error = answer.json["error"]
    assert (answer.status, error["param"], error["code"]) == (status, param, code)


@pytest.mark.parametrize(
    ("given", "flagged"),
    [
        ("hello", [False]),
        ("I will kill it", [True]),
        (["hello", "gore", "x"], [False, True, False]),
        ([{"type": "text", "text": "hello"}], [False]),
        ([{"type": "image_url", "image_url": {"url": "https://x"}}, {"type": "text", "text": "bomb"}], [True]),
    ],
)
def test_moderations_flag_by_words(upstream: Upstream, given: Any, flagged: list[bool]) -> None:
    made = upstream.client.moderations.create(input=given)
    assert [result.flagged for result in made.results] == flagged
    assert made.model == "omni-moderation-latest"


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "input"), ({"input": []}, "input"), ({"input": [1]}, "input[0]"), ({"input": [{}]}, "input[0].type")],
)
def test_a_bad_moderation_is_refused(upstream: Upstream, body: dict[str, Any], param: str) -> None:
    answer = upstream.ask("POST", "/v1/moderations", body)
    assert (answer.status, answer.json["error"]["param"]) == (400, param)


_COMPLETE: dict[str, Any] = {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon"}
_CANNED = "This is a canned answer from"


@pytest.mark.parametrize(
    ("extra", "starts", "reason", "count"),
    [
        ({}, ["This is a"], "length", 1),
        ({"max_tokens": 999}, ["This is a"], "stop", 1),
        ({"max_tokens": 0, "echo": True}, ["Once upon"], "length", 1),
        ({"echo": True}, ["Once uponThis is a"], "length", 1),
        ({"n": 2}, ["(Choice 1", "(Choice 2"], "length", 2),
        ({"prompt": ["a", "b"], "n": 2, "max_tokens": 999}, ["(Choice 1", "(Choice 2"] * 2, "stop", 4),
        ({"prompt": [1, 2]}, ["This is"], "length", 1),
        ({"stop": " canned", "max_tokens": 99}, ["This is a"], "stop", 1),
    ],
    ids=str,
)
def test_completions_are_the_same_plain_and_streamed(
    upstream: Upstream, extra: dict[str, Any], starts: list[str], reason: str, count: int
) -> None:
    ask: dict[str, Any] = {**_COMPLETE, **extra}
    plain = upstream.client.completions.create(**ask)
    assert [choice.finish_reason for choice in plain.choices] == [reason] * count
    for choice, start in zip(plain.choices, starts, strict=True):
        assert choice.text.startswith(start)
    texts = dict.fromkeys(range(count), "")
    usage = None
    for chunk in upstream.client.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert list(texts.values()) == [choice.text for choice in plain.choices]
    assert usage == plain.usage


def test_the_older_logprobs_cover_the_text(upstream: Upstream) -> None:
    (choice,) = upstream.client.completions.create(**_COMPLETE, logprobs=2, echo=True).choices
    found = choice.logprobs
    assert found is not None
    assert found.tokens is not None
    assert found.text_offset is not None
    assert found.top_logprobs is not None
    assert "".join(found.tokens) == choice.text
    assert [choice.text[at : at + len(token)] for at, token in zip(found.text_offset, found.tokens, strict=True)] == (
        found.tokens
    )
    assert {len(one) for one in found.top_logprobs} == {2}


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"logprobs": 6}, "logprobs"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"stream_options": {}, "stop": list("abcde")}, "stop"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"prompt": 1}, "prompt"),
    ],
    ids=str,
)
def test_a_bad_completion_is_refused(upstream: Upstream, extra: dict[str, Any], param: str) -> None:
    answer = upstream.ask("POST", "/v1/completions", {**_COMPLETE, **extra})
    assert (answer.status, answer.json["error"]["param"]) == (400, param)
