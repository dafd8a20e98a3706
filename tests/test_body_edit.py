"""Another model's name in a body, and nothing else."""

from __future__ import annotations

import json

import pytest

from core.body_edit import with_model

_JSON = "application/json"
_FORM = 'multipart/form-data; boundary="a:b"; charset=utf-8'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', b'{"model":"NEW"}'),
        (b'\n{ "x": 1.0 , "model" \t:\n"a" }\r\n', b'\n{ "x": 1.0 , "model" \t:\n"NEW" }\r\n'),
        (b'{"model":"a","model":"b"}', b'{"model":"NEW","model":"NEW"}'),
        (rb'{"m\u006fdel":"a"}', rb'{"m\u006fdel":"NEW"}'),
        (rb'{"m\u006Fdel":"a","model":"b"}', rb'{"m\u006Fdel":"NEW","model":"NEW"}'),
        (rb'{"x\"model":"a","mode\u006c":"b"}', rb'{"x\"model":"a","mode\u006c":"NEW"}'),
        (rb'{"x":"\\","model":"a"}', rb'{"x":"\\","model":"NEW"}'),
        (rb'{"model":"a\"}\\","x":"\\"}', rb'{"model":"NEW","x":"\\"}'),
        (
            b'{"a":{"model":"x"},"b":["model",{"model":"y"}],"c":"model","model":"a","d":[]}',
            b'{"a":{"model":"x"},"b":["model",{"model":"y"}],"c":"model","model":"NEW","d":[]}',
        ),
        (rb'{"a":"\"model\":\"x\"","model":"a"}', rb'{"a":"\"model\":\"x\"","model":"NEW"}'),
        (b'{"models":"x","model ":"y","Model":"z"}', b'{"models":"x","model ":"y","Model":"z"}'),
        (b'{"x":true,"y":null,"z":-1e5,"model":"\xe6\xbc\xa2"}', b'{"x":true,"y":null,"z":-1e5,"model":"NEW"}'),
    ],
)
def test_json(body: bytes, expected: bytes) -> None:
    assert with_model(body, _JSON, "NEW") == expected
    assert json.loads(expected)


def test_a_name_that_json_has_to_escape() -> None:
    assert json.loads(with_model(b'{"model":"a"}', "", 'q"\\\n漢')) == {"model": 'q"\\\n漢'}


def test_a_large_body_keeps_its_bytes() -> None:
    texts = [{"role": "user", "content": 'a "quoted" \\ text, ' * 100}] * 200
    body = json.dumps({"messages": texts, "model": "a"}).encode()
    assert with_model(body, _JSON, "bb") == body[:-3] + b'bb"}'


_FILE = (
    b"--a:b\r\n"
    b'Content-Disposition: form-data; name="file"; filename="; name=model; \\"model\\".wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\n"
    b'\x00\r\nname="model"\r\n\r\nx\r\n--a:\r\n'
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            _FILE + b'--a:b\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--a:b--\r\n',
            _FILE + b'--a:b\r\nContent-Disposition: form-data; name="model"\r\n\r\nNEW\r\n--a:b--\r\n',
        ),
        (
            b"--a:b\r\ncontent-disposition:form-data;name=model\r\n\r\na\r\n" + _FILE + b"--a:b--",
            b"--a:b\r\ncontent-disposition:form-data;name=model\r\n\r\nNEW\r\n" + _FILE + b"--a:b--",
        ),
        (
            b'--a:b\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--a:b\r\n'
            b'Content-Disposition: form-data; name="model"\r\n\r\nb\r\n--a:b--\r\n',
            b'--a:b\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name="model"\r\n\r\nNEW\r\n--a:b\r\n'
            b'Content-Disposition: form-data; name="model"\r\n\r\nNEW\r\n--a:b--\r\n',
        ),
        (_FILE + b"--a:b--\r\n", _FILE + b"--a:b--\r\n"),
    ],
    ids=["after a file", "before a file", "twice", "none"],
)
def test_forms(body: bytes, expected: bytes) -> None:
    assert with_model(body, _FORM, "NEW") == expected
