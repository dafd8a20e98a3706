"""The part of JSON Schema that outputs are held to."""

from __future__ import annotations

from typing import Any

import pytest

from core.json_schema import SchemaError, check, is_strict, problem
from local.offline.instance import instance_of

_LINE = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "price": {"type": "number", "exclusiveMinimum": 0}},
    "required": ["name", "price"],
    "additionalProperties": False,
}
_INVOICE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "number": {"type": "string", "pattern": "^[0-9]+$", "maxLength": 10},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1, "maxItems": 3},
        "currency": {"enum": ["EUR", "CHF"]},
        "note": {"type": ["string", "null"]},
        "paid": {"anyOf": [{"type": "boolean"}, {"type": "string", "format": "date"}]},
        "count": {"type": "integer", "multipleOf": 5, "minimum": 5, "maximum": 20},
        "kind": {"const": "invoice"},
    },
    "required": ["number", "lines"],
    "additionalProperties": False,
    "$defs": {"line": _LINE},
}
_GOOD = {"number": "7", "lines": [{"name": "umbrella", "price": 1.5}]}
_TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"inner": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["inner"],
}


@pytest.mark.parametrize(
    "more",
    [{}, {"currency": "EUR"}, {"note": None}, {"paid": False}, {"paid": "x"}, {"count": 10.0}, {"kind": "invoice"}],
)
def test_what_fits(more: dict[str, Any]) -> None:
    check(_INVOICE)
    assert problem(_INVOICE, {**_GOOD, **more}) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "it is no object"),
        ({"number": "7"}, "lines: it is missing"),
        ({**_GOOD, "number": 7}, "number: it is no string"),
        ({**_GOOD, "number": "7" * 11}, "number: it has more than 10 characters"),
        ({**_GOOD, "lines": []}, "lines: it has less than 1 items"),
        ({**_GOOD, "lines": [_GOOD["lines"][0]] * 4}, "lines: it has more than 3 items"),
        ({**_GOOD, "lines": [{"name": "", "price": 1}]}, "lines[0].name: it has less than 1 characters"),
        ({**_GOOD, "lines": [{"name": "x", "price": 0}]}, "lines[0].price: it is too small"),
        ({**_GOOD, "lines": [{"name": "x", "price": True}]}, "lines[0].price: it is no number"),
        ({**_GOOD, "lines": [{"name": "x", "price": 1, "tax": 1}]}, "lines[0].tax: it must not be there"),
        ({**_GOOD, "currency": "USD"}, "currency: it is none of the values that it can be"),
        ({**_GOOD, "note": 1}, "note: it is no string or null"),
        ({**_GOOD, "paid": 1}, "paid: it fits none of anyOf"),
        ({**_GOOD, "count": 7}, "count: it is no multiple of 5"),
        ({**_GOOD, "count": 25}, "count: it is too large"),
        ({**_GOOD, "count": 5.5}, "count: it is no integer"),
        ({**_GOOD, "kind": "bill"}, "kind: it is not the value that it has to be"),
    ],
)
def test_what_does_not_fit(value: object, expected: str) -> None:
    assert problem(_INVOICE, value) == expected


def test_items_that_have_to_differ() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    check(schema)
    assert problem(schema, {"a": [1, True, "1", [1], {"a": 1}]}) is None
    assert problem(schema, {"a": [{"a": 1, "b": 2}, {"b": 2, "a": 1}]}) == "a: two of its items are the same"
    assert problem(schema, {"a": [*range(1001)]}) == "a: it has more than 1,000 items"


def test_schemas_that_refer_to_themselves() -> None:
    check(_TREE)
    assert problem(_TREE, {"inner": {"inner": None}}) is None
    assert problem(_TREE, {"inner": {"inner": 1}}) == "inner: it fits none of anyOf"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ([], "the schema of an object"),
        ({"type": "string"}, "the schema of an object"),
        ({"properties": {}}, "the schema of an object"),
        ({"type": "object", "properties": []}, "properties: it has to be an object"),
        ({"type": "object", "properties": {"a": 1}}, "properties.a: it has to be an object"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "properties.a.type: it has to be one of"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "properties.a.not: this keyword is not supported"),
        ({"type": "object", "patternProperties": {}}, "patternProperties: this keyword is not supported"),
        ({"type": "object", "required": [1]}, "required: it has to be a list of names"),
        ({"type": "object", "properties": {"a": {"enum": []}}}, "properties.a.enum: it has to be a list"),
        ({"type": "object", "properties": {"a": {"minLength": -1}}}, "minLength: it has to be a whole number"),
        ({"type": "object", "properties": {"a": {"minimum": "1"}}}, "minimum: it has to be a number"),
        ({"type": "object", "properties": {"a": {"multipleOf": 0}}}, "multipleOf: it has to be more than 0"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "$ref: it leads to no schema"),
        ({"type": "object", "properties": {"a": {"$ref": "https://example.com/s"}}}, "$ref: it leads to no schema"),
        ({"type": "object", "properties": {"a": {"anyOf": {}}}}, "anyOf: it has to be a list"),
        ({"type": "object", "properties": {"a": {"enum": [*range(1001)]}}}, "enum: it has more than 1,000 values"),
        ({"type": "object", "description": "x" * 100_000}, "it has more than 100,000 bytes"),
    ],
)
def test_what_is_no_schema(schema: object, expected: str) -> None:
    with pytest.raises(SchemaError, match=expected.replace("$", r"\$")):
        check(schema)


def test_schemas_too_deep_or_too_large() -> None:
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(100):
        deep = {"type": "object", "properties": {"a": deep}}
    wide = {"type": "object", "properties": {f"a{number}": {} for number in range(5000)}}
    for schema in (deep, wide):
        with pytest.raises(SchemaError, match="too deep or too large"):
            check(schema)


def test_a_schema_that_could_take_for_ever_is_given_up() -> None:
    hostile: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"anyOf": [{"$ref": "#/$defs/x"}] * 10}},
        "$defs": {"x": {"anyOf": [{"$ref": "#/$defs/x"}] * 10}},
    }
    check(hostile)
    assert problem(hostile, {"a": 1}) is not None


def test_strict() -> None:
    assert is_strict(_LINE)
    assert not is_strict(_INVOICE)
    assert is_strict({**_LINE, "properties": {"name": {"type": "string"}, "price": _LINE}})
    assert not is_strict({**_LINE, "properties": {"name": {"type": "object"}, "price": _LINE}})
    assert not is_strict({**_LINE, "additionalProperties": True})


def test_what_the_offline_upstream_makes_fits() -> None:
    for schema in (_INVOICE, _LINE):
        check(schema)
        assert problem(schema, instance_of(schema)) is None
