"""Another model's name in a body, and nothing else."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from core import json_members
from core.body_edit import with_fields, with_model, with_stream_usage

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


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", b'{"a":1,"b":{"c":"\xc3\xbc"}}'),
        (b" {\n} ", b' {"a":1,"b":{"c":"\xc3\xbc"}\n} '),
        (b'\n{ "x": 1.0 }', b'\n{"a":1,"b":{"c":"\xc3\xbc"}, "x": 1.0 }'),
        (b'{"x":{"a":2,"b":[]}}', b'{"a":1,"b":{"c":"\xc3\xbc"},"x":{"a":2,"b":[]}}'),
        (b'{"a" : {"a":[2,"}"]} ,"x":0}', b'{"b":{"c":"\xc3\xbc"},"a" : 1 ,"x":0}'),
        (b'{"b":null,"a":-1e5}', b'{"b":{"c":"\xc3\xbc"},"a":1}'),
        (b'{"a":[],"b":{},"a":true,"a":"\\\\"}', b'{"a":1,"b":{"c":"\xc3\xbc"},"a":1,"a":1}'),
        (rb'{"\u0061":[{}],"b":"\"a\":2"}', b'{"\\u0061":1,"b":{"c":"\xc3\xbc"}}'),
        (rb'{"x\"a":2,"b":[3]}', b'{"a":1,"x\\"a":2,"b":{"c":"\xc3\xbc"}}'),
    ],
)
def test_fields(body: bytes, expected: bytes) -> None:
    fields = {"a": 1, "b": {"c": "ü"}}
    assert with_fields(body, fields) == expected
    assert json.loads(expected) == {**json.loads(body), **fields}
    assert with_fields(body, {}) == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', b'{"stream_options":{"include_usage":true},"model":"a"}'),
        (b'{"stream_options":null}', b'{"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{},"x":1}', b'{"stream_options":{"include_usage":true},"x":1}'),
        (
            b'{"stream_options": {"include_obfuscation": false, "x": {"include_usage": false}}}',
            b'{"stream_options": {"include_usage":true,"include_obfuscation": false, "x": {"include_usage": false}}}',
        ),
        (b'{"stream_options":{"include_usage":false}}', b'{"stream_options":{"include_usage":true}}'),
        (
            b'{"stream_options":{"include_usage":null},"stream_options":null,"x":{"stream_options":1}}',
            b'{"stream_options":{"include_usage":true},"stream_options":{"include_usage":true},"x":{"stream_options":1}}',
        ),
        (b'{"stream_options":"x"}', b'{"stream_options":"x"}'),
        (b'{"stream_options":[{}]}', b'{"stream_options":[{}]}'),
    ],
)
def test_asking_for_the_usage_of_a_stream(body: bytes, expected: bytes) -> None:
    assert with_stream_usage(body) == expected


_NAMES = ("a", "b_c", "model", "é", 'q"', "\\", "a:", "{", "")


def _anything(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(8 if depth else 5)
    if kind < 3:
        return chance.choice((None, True, 0, -1.5e300, "", "a", '"a":1', "\\", '\\"', "[{", "}]", "é\n漢", '","a":"'))
    if kind < 5:
        return chance.choice(_NAMES)
    if kind == 5:
        return [_anything(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(_NAMES): _anything(chance, depth - 1) for _ in range(chance.randrange(5))}


def _written(chance: random.Random, value: dict[str, Any]) -> bytes:
    """JSON as anybody might write it, with keys more than once."""
    separators = chance.choice(((",", ":"), (", ", ": "), (" , ", "\t:\r\n")))
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5, separators=separators, indent=chance.choice((None, 1)))
    if chance.random() < 0.3:
        text = text.replace('"model"', chance.choice(('"mo\\u0064el"', '"\\u006dodel"', '"model" ')))
    if chance.random() < 0.3 and value:
        text = text[: text.rindex("}")] + "," + text[text.index("{") + 1 :]
    return chance.choice(("", " ", "\n\t")).join(("", text, "")).encode()


@pytest.mark.parametrize("seed", range(300))
def test_any_object(seed: int) -> None:
    chance = random.Random(seed)
    body = _written(chance, {chance.choice(_NAMES): _anything(chance, 4) for _ in range(chance.randrange(6))})
    pairs: list[tuple[str, Any]] = json.loads(body, object_pairs_hook=_Pairs)
    fields = {
        name: _anything(chance, 2) for name in chance.sample(("a", "b_c", "model", "new"), chance.randrange(1, 5))
    }
    there = {name for name, _ in pairs}
    edited = [(name, fields.get(name, value)) for name, value in pairs]
    missing = [(name, value) for name, value in fields.items() if name not in there]
    found = json.loads(with_fields(body, fields), object_pairs_hook=_Pairs)
    assert _plain(found) == _plain(_Pairs([*missing, *edited]))
    # Where something is found does not hang on which way it was looked for.
    for member in json_members.find(body, list(fields)):
        assert json.loads(body[member.start : member.value].rstrip(b": \t\r\n")) == member.name
        assert json.loads(body[member.value : member.end], object_pairs_hook=_Pairs) in [
            value for name, value in pairs if name == member.name
        ]


class _Pairs(list[tuple[str, Any]]):
    """An object, with keys that are there more than once."""


def _plain(value: Any) -> Any:
    """Objects as lists of pairs, also where they were dicts."""
    if isinstance(value, dict):
        return {"pairs": [(name, _plain(one)) for name, one in value.items()]}
    if isinstance(value, _Pairs):
        return {"pairs": [(name, _plain(one)) for name, one in value]}
    return [_plain(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("count", [1, 5, 5000])
def test_a_key_among_many_of_its_name(place: str, count: int) -> None:
    nested = b'"x":[' + b",".join([b'{"model":"n"}'] * count) + b"]"
    other = b'"y":"' + b"model" * 100 + b'"'
    members = {"first": [b'"model":"a"', nested, other], "middle": [nested, b'"model":"a"', other]}
    body = b"{" + b",".join(members.get(place, [nested, other, b'"model":"a"'])) + b"}"
    assert with_model(body, _JSON, "NEW") == body.replace(b'"model":"a"', b'"model":"NEW"')


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
