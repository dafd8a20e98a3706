"""What a body must be, and what is said of one that is not."""

from __future__ import annotations

import json

import pytest

from core import errors, schemas
from core.http import Request

_MESSAGES = [{"role": "user", "content": "hi"}]


def _read(body: bytes, headers: dict[str, str] | None = None, limit: int = 1000) -> schemas.ChatCompletion:
    request = Request("POST", "/v1/chat/completions", headers=headers or {}, body=body)
    return schemas.read(schemas.ChatCompletion, request, limit_bytes=limit)


@pytest.mark.parametrize(
    ("stream", "expected"), [({}, None), ({"stream": None}, None), ({"stream": True}, True), ({"stream": False}, False)]
)
def test_what_is_understood(stream: dict[str, object], expected: bool | None) -> None:
    body = {"model": "gpt-4o", "messages": _MESSAGES, "brand_new_parameter": {"a": 1}, **stream}
    call = _read(json.dumps(body).encode())
    assert (call.model, call.stream) == ("gpt-4o", expected)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        (b'{"model": "\xff"}', "invalid_json", None),
        (b'{"model": "a"} trailing', "invalid_json", None),
        (b"[" * 100_000, "invalid_json", None),
        (b"[]", "invalid_type", None),
        (b"null", "invalid_type", None),
        (b'"text"', "invalid_type", None),
        (b"{}", "missing_required_parameter", "model"),
        (b'{"messages": [{}]}', "missing_required_parameter", "model"),
        (b'{"model": null, "messages": [{}]}', "invalid_type", "model"),
        (b'{"model": 4, "messages": [{}]}', "invalid_type", "model"),
        (b'{"model": "", "messages": [{}]}', "invalid_value", "model"),
        (b'{"model": "a"}', "missing_required_parameter", "messages"),
        (b'{"model": "a", "messages": "hi"}', "invalid_type", "messages"),
        (b'{"model": "a", "messages": {}}', "invalid_type", "messages"),
        (b'{"model": "a", "messages": []}', "invalid_value", "messages"),
        (b'{"model": "a", "messages": ["hi"]}', "invalid_type", "messages[0]"),
        (b'{"model": "a", "messages": [{}], "stream": "true"}', "invalid_type", "stream"),
        (b'{"model": "a", "messages": [{}], "stream": 1}', "invalid_type", "stream"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_refused(body: bytes, code: str, param: str | None) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        _read(body, limit=1_000_000)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


def test_the_refusal_quotes_nothing_of_the_prompt() -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        _read(b'{"model": "a", "messages": "my secret"}')
    assert caught.value.message == "Invalid type for 'messages': Input should be a valid array, but got a string."


def test_a_body_over_the_limit_is_told_the_limit() -> None:
    with pytest.raises(errors.BodyTooLarge, match="1,000 bytes") as caught:
        _read(b" " * 1001)
    assert caught.value.status == 413


def test_a_compressed_body_is_refused_as_such() -> None:
    with pytest.raises(errors.UnsupportedBody, match="Content-Encoding"):
        _read(b"\x1f\x8b", {"content-encoding": "gzip"})
