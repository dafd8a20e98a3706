"""What a body must be, JSON or form, and what is said of one that is not."""

from __future__ import annotations

import json

import pytest

from core import body, endpoints, errors
from core.http import Request
from core.schemas import Call

_MESSAGES = [{"role": "user", "content": "hi"}]


def _read(
    content: bytes, headers: dict[str, str] | None = None, limit: int = 1000, path: str = "/v1/chat/completions"
) -> Call:
    request = Request("POST", path, headers=headers or {}, body=content)
    return body.read(endpoints.find("POST", path).endpoint, request, limit_bytes=limit).call


@pytest.mark.parametrize(
    ("stream", "expected"), [({}, None), ({"stream": None}, None), ({"stream": True}, True), ({"stream": False}, False)]
)
def test_what_is_understood(stream: dict[str, object], expected: bool | None) -> None:
    content = {"model": "gpt-4o", "messages": _MESSAGES, "brand_new_parameter": {"a": 1}, **stream}
    call = _read(json.dumps(content).encode())
    assert (call.model, call.stream) == ("gpt-4o", expected)


@pytest.mark.parametrize(
    ("content", "code", "param"),
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
        (b'{"model": "a", "messages": [{}], "stream_options": true}', "invalid_type", "stream_options"),
        (
            b'{"model": "a", "messages": [{}], "stream_options": {"include_usage": 1}}',
            "invalid_type",
            "stream_options.include_usage",
        ),
        (b'{"model": "a", "messages": [{}], "service_tier": 1}', "invalid_type", "service_tier"),
        (b'{"model": "a", "messages": [{}], "n": 0}', "invalid_value", "n"),
        (b'{"model": "a", "messages": [{}], "n": 129}', "invalid_value", "n"),
        (b'{"model": "a", "messages": [{}], "max_tokens": 10000001}', "invalid_value", "max_tokens"),
        (b'{"model": "a", "messages": [{}], "max_completion_tokens": -1}', "invalid_value", "max_completion_tokens"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_refused(content: bytes, code: str, param: str | None) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        _read(content, limit=1_000_000)
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


_FORM = (
    b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"RIFF\r\n--b\r\n\x00\r\n"
    b'--b0\r\ncontent-disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
    b"--b0--\r\n"
)
_TRANSCRIPTIONS = "/v1/audio/transcriptions"
_FORM_TYPE = {"content-type": "multipart/form-data; boundary=b0"}


def test_a_form_is_read_as_far_as_needed() -> None:
    call = _read(_FORM, _FORM_TYPE, path=_TRANSCRIPTIONS)
    assert (call.model, call.stream) == ("whisper-1", True)


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (_FORM, "application/json", 415, "unsupported_content"),
        (_FORM, "", 415, "unsupported_content"),
        (_FORM, "multipart/form-data", 400, "invalid_form"),
        (_FORM, "multipart/form-data; boundary=other", 400, "invalid_form"),
        (_FORM[:-6], _FORM_TYPE["content-type"], 400, "invalid_form"),
        (b"", _FORM_TYPE["content-type"], 400, "invalid_form"),
        (b"--b0", _FORM_TYPE["content-type"], 400, "invalid_form"),
        (b"--b0\r\n\r\n\r\n--b0--", _FORM_TYPE["content-type"], 400, "invalid_form"),
        (
            _FORM.replace(b"\r\n\r\nwhisper-1", b"\r\nbroken\r\n\r\nwhisper-1"),
            _FORM_TYPE["content-type"],
            400,
            "invalid_form",
        ),
        (b"preamble\r\n" + _FORM, _FORM_TYPE["content-type"], 400, "invalid_form"),
        (_FORM, "multipart/form-data; boundary=b0; boundary=b1", 400, "invalid_form"),
        (_FORM, "multipart/form-data; boundary=b1, multipart/form-data; boundary=b0", 400, "invalid_form"),
        (_FORM, "multipart/form-data; boundary=b0; x=y", 400, "invalid_form"),
        (_FORM, "multipart/form-datax; boundary=b0", 415, "unsupported_content"),
        (_FORM, "multipart/form-data; boundary=b\xff", 400, "invalid_form"),
        (_FORM.replace(b"true", b"perhaps"), _FORM_TYPE["content-type"], 400, "invalid_type"),
    ],
)
def test_a_form_is_refused(content: bytes, content_type: str, status: int, code: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        _read(content, {"content-type": content_type}, path=_TRANSCRIPTIONS)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_what_is_asked_for_in_passing() -> None:
    content = {"model": "a", "messages": _MESSAGES, "service_tier": "flex", "stream_options": {"include_usage": True}}
    call = _read(json.dumps(content).encode())
    assert call.service_tier == "flex"
    assert call.stream_options is not None
    assert call.stream_options.include_usage is True
    call = _read(json.dumps({**content, "service_tier": None, "stream_options": None}).encode())
    assert (call.service_tier, call.stream_options) == (None, None)


def test_a_forms_fields_are_kept() -> None:
    request = Request("POST", _TRANSCRIPTIONS, headers=_FORM_TYPE, body=_FORM)
    endpoint = endpoints.find("POST", _TRANSCRIPTIONS).endpoint
    found = body.read(endpoint, request, limit_bytes=1000)
    assert found.fields == {"model": ["whisper-1"], "stream": ["true"]}


def test_where_a_form_or_json_will_do() -> None:
    assert _read(b'{"model": "gpt-image-1"}', path="/v1/images/edits").model == "gpt-image-1"
    assert (
        _read(_FORM, {"content-type": 'Multipart/Form-Data; boundary="b0"'}, path="/v1/images/edits").model
        == "whisper-1"
    )


def test_a_name_may_mean_different_things_to_different_endpoints() -> None:
    assert (
        _read(b'{"background": "transparent", "prompt": "x"}', path="/v1/images/generations").background
        == "transparent"
    )
    assert _read(b'{"background": true, "input": "x"}', path="/v1/responses").background is True


def test_where_every_field_is_optional_so_is_the_body() -> None:
    assert _read(b"", path="/v1/conversations") == Call()


def test_where_no_body_is_read_none_is_looked_at() -> None:
    request = Request("GET", "/v1/models", body=b"not json")
    assert body.read(endpoints.find("GET", "/v1/models").endpoint, request, limit_bytes=10).call == Call()


def _part(*headers: bytes, value: bytes = b"file-1") -> bytes:
    return b"--b0\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + value + b"\r\n--b0--\r\n"


def _references(content: bytes) -> list[str]:
    request = Request("POST", "/v1/containers/c/files", headers=_FORM_TYPE, body=content)
    found = body.read(endpoints.find("POST", request.path).endpoint, request, limit_bytes=1000)
    return [reference.id for reference in found.references]


@pytest.mark.parametrize(
    "content",
    [
        _part(b'Content-Disposition: form-data; name="file_id"'),
        _part(b"content-disposition:form-data;name=file_id"),  # as .NET writes it
        _part(b'X-A: a; filename=b; name="foo"', b'Content-Disposition: form-data; name="file_id"'),
        _part(b'Content-Disposition: form-data; name="file_ids[0]"'),
        _part(b'Content-Disposition: form-data; name="x[file_id]"'),
    ],
)
def test_a_reference_in_a_form_is_seen_however_it_is_written(content: bytes) -> None:
    assert _references(content) == ["file-1"]


@pytest.mark.parametrize(
    "headers",
    [
        [b'Content-Disposition: form-data; name="foo"; name="file_id"'],
        [b"Content-Disposition: form-data; name=\"file_id\"; name*=utf-8''foo"],
        [b'Content-Disposition: form-data; name="foo"', b'Content-Disposition: form-data; name="file_id"'],
        [b'Content-Disposition: form-data; name="file\\_id"'],
        [b'Content-Disposition: form-data; filename="\\"; name="file_id"'],
        [b'Content-Disposition: form-data;\r\n name="file_id"'],
        [b'Content-Disposition : form-data; name="file_id"'],
        [b"Content-Disposition: form-data"],
        [b'Content-Disposition: attachment; name="file_id"'],
        [],
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(headers: list[bytes]) -> None:
    with pytest.raises(errors.InvalidRequest):
        _references(_part(*headers))


def test_a_form_as_net_writes_it() -> None:
    content = _FORM.replace(b'name="file"; filename="a.wav"', b"name=file; filename=a.wav; filename*=utf-8''a.wav")
    content = content.replace(b'name="model"', b"name=model")
    call = _read(content, {"content-type": 'multipart/form-data; boundary="b0"'}, path=_TRANSCRIPTIONS)
    assert call.model == "whisper-1"


def test_a_form_where_json_is_wanted() -> None:
    with pytest.raises(errors.UnsupportedBody):
        _read(b"{}", _FORM_TYPE)
