"""JSON Schema, as far as models are held to it: whether a schema is such a one, and where a value does not fit. Pure.

These are the keywords of OpenAI's structured outputs and the few that come with them, as the draft of 2020-12 has them
(https://platform.openai.com/docs/guides/structured-outputs#supported-schemas). A keyword that would go unchecked is
refused, but for `pattern` and `format`, which are for the model to read: to match a client's `pattern` here would let
the client keep this process busy without an end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import to_json

Schema = Mapping[str, Any]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_NOTES = frozenset(
    {
        "$comment", "$id", "$schema", "default", "deprecated", "description", "examples", "format", "pattern",
        "readOnly", "title", "writeOnly",
    }
)  # fmt: skip
"""What says something to readers, and is not checked."""
_COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_LISTS_OF_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf"})
_SCHEMAS_BY_NAME = frozenset({"properties", "$defs", "definitions"})
_SCHEMAS = frozenset({"items", "additionalProperties"})
_OTHERS = frozenset({"type", "enum", "const", "required", "uniqueItems", "$ref"})

_LARGEST_BYTES = 100_000
_MOST_VALUES = 1_000
"""In one `enum`: OpenAI takes no more in a whole schema."""
_MOST_COMPARED = 1_000
"""So many items of a list are compared with each other."""
_DEEPEST = 30
_MOST_SCHEMAS = 2_000
_MOST_STEPS = 200_000
"""Schemas that refer to themselves can make a small value take very many steps."""


class SchemaError(ValueError):
    """What is wrong with a schema; the text says where."""


def check(schema: object) -> None:
    """
    Raises:
        SchemaError: it is no schema of an object, or has what is not checked here.
    """
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise SchemaError('it has to be the schema of an object: write "type": "object" in it')
    if len(to_json(schema)) > _LARGEST_BYTES:
        raise SchemaError(f"it has more than {_LARGEST_BYTES:,} bytes")
    budget = [_MOST_SCHEMAS]
    _check(schema, schema, "", 0, budget)


def problem(schema: Schema, value: object) -> str | None:
    """The first thing in which a value does not fit a checked schema, such as `total: it is no number`; or None."""
    return next(_Reader(schema).problems(schema, value, "", 0), None)


def is_strict(schema: object) -> bool:
    """Whether OpenAI's strict mode takes it: in each object, all is required, and nothing else may be there.

    https://platform.openai.com/docs/guides/structured-outputs#additionalproperties-false-must-always-be-set-in-objects
    """
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if {"oneOf", "allOf", "uniqueItems", "minProperties", "maxProperties"} & set(schema):
        return False
    if "properties" in schema or schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
    inner: list[Any] = [schema.get(name) for name in (*_LISTS_OF_SCHEMAS, "items")]
    for name in _SCHEMAS_BY_NAME:
        inner += schema.get(name, {}).values()
    return all(map(is_strict, inner))


def _check(root: Schema, schema: object, path: str, depth: int, budget: list[int]) -> None:
    budget[0] -= 1
    if depth > _DEEPEST or budget[0] < 0:
        raise SchemaError("it is too deep or too large")
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise SchemaError(f"{path or 'it'}: it has to be an object")
    for keyword, value in schema.items():
        place = f"{path}.{keyword}" if path else keyword
        if keyword in _SCHEMAS:
            _check(root, value, place, depth + 1, budget)
        elif keyword in _LISTS_OF_SCHEMAS:
            for number, one in enumerate(_list(value, place)):
                _check(root, one, f"{place}[{number}]", depth + 1, budget)
        elif keyword in _SCHEMAS_BY_NAME:
            if not isinstance(value, dict):
                raise SchemaError(f"{place}: it has to be an object")
            for name, one in value.items():
                _check(root, one, f"{place}.{name}", depth + 1, budget)
        elif keyword not in _NOTES:
            _check_plain(root, keyword, value, place)


def _check_plain(root: Schema, keyword: str, value: object, place: str) -> None:
    if keyword not in _OTHERS | _COUNTS | _NUMBERS:
        raise SchemaError(f"{place}: this keyword is not supported")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if keyword in _COUNTS and not (is_number and isinstance(value, int) and value >= 0):
        raise SchemaError(f"{place}: it has to be a whole number")
    if keyword in _NUMBERS and not is_number:
        raise SchemaError(f"{place}: it has to be a number")
    if keyword == "multipleOf" and not (isinstance(value, int | float) and value > 0):
        raise SchemaError(f"{place}: it has to be more than 0")
    if keyword == "type":
        kinds = value if isinstance(value, list) else [value]
        if not kinds or any(not isinstance(kind, str) or kind not in _TYPES for kind in kinds):
            raise SchemaError(f"{place}: it has to be one of {', '.join(_TYPES)}, or a list of them")
    if keyword == "enum" and len(_list(value, place)) > _MOST_VALUES:
        raise SchemaError(f"{place}: it has more than {_MOST_VALUES:,} values")
    if keyword == "required" and any(not isinstance(name, str) for name in _list(value, place, may_be_empty=True)):
        raise SchemaError(f"{place}: it has to be a list of names")
    if keyword == "uniqueItems" and not isinstance(value, bool):
        raise SchemaError(f"{place}: it has to be true or false")
    if keyword == "$ref" and not (isinstance(value, str) and isinstance(_resolve(root, value), dict | bool)):
        raise SchemaError(f"{place}: it leads to no schema in this one")


def _list(value: object, place: str, *, may_be_empty: bool = False) -> list[Any]:
    if not isinstance(value, list) or not (value or may_be_empty):
        raise SchemaError(f"{place}: it has to be a list")
    return value


def _resolve(root: Schema, ref: str) -> object:
    """What a reference leads to, such as `#` or `#/$defs/line`; None where it leads nowhere."""
    if ref != "#" and not ref.startswith(("#/$defs/", "#/definitions/")):
        return None
    found: Any = root
    for step in ref.split("/")[1:]:
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


class _Reader:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._steps = 0

    def problems(self, schema: object, value: object, path: str, depth: int) -> Iterator[str]:
        self._steps += 1
        if depth > 4 * _DEEPEST or self._steps > _MOST_STEPS:
            yield f"{path or 'the value'}: it is too deep or too large"
            return
        if schema is False:
            yield _at(path, "it must not be there")
        if not isinstance(schema, dict):
            return
        if "$ref" in schema:
            yield from self.problems(_resolve(self._root, schema["$ref"]), value, path, depth + 1)
        yield from _plain_problems(schema, value, path)
        yield from self._combined(schema, value, path, depth)
        if isinstance(value, dict):
            yield from self._in_object(schema, value, path, depth)
        if isinstance(value, list) and "items" in schema:
            for number, item in enumerate(value):
                yield from self.problems(schema["items"], item, f"{path}[{number}]", depth + 1)

    def _combined(self, schema: Schema, value: object, path: str, depth: int) -> Iterator[str]:
        for one in schema.get("allOf", ()):
            yield from self.problems(one, value, path, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                fitting = sum(self._fits(one, value, path, depth) for one in schema[keyword])
                if fitting == 0 or (keyword == "oneOf" and fitting > 1):
                    yield _at(path, f"it fits {'none' if fitting == 0 else 'several'} of {keyword}")

    def _fits(self, schema: object, value: object, path: str, depth: int) -> bool:
        return next(self.problems(schema, value, path, depth + 1), None) is None

    def _in_object(self, schema: Schema, value: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield _at(_member(path, name), "it is missing")
        for name, item in value.items():
            inner = properties.get(name, schema.get("additionalProperties", True))
            yield from self.problems(inner, item, _member(path, name), depth + 1)


def _plain_problems(schema: Schema, value: object, path: str) -> Iterator[str]:
    kinds = schema.get("type")
    if kinds is not None:
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if not any(_is_a(kind, value) for kind in kinds):
            yield _at(path, f"it is no {' or '.join(kinds)}")
            return
    if "const" in schema and not _same(value, schema["const"]):
        yield _at(path, "it is not the value that it has to be")
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        yield _at(path, "it is none of the values that it can be")
    if isinstance(value, str):
        yield from _size_problems(schema, len(value), "Length", path)
    elif isinstance(value, list):
        yield from _size_problems(schema, len(value), "Items", path)
        if schema.get("uniqueItems"):
            yield from _repetitions(value, path)
    elif isinstance(value, dict):
        yield from _size_problems(schema, len(value), "Properties", path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_problems(schema, value, path)


def _repetitions(items: list[Any], path: str) -> Iterator[str]:
    if len(items) > _MOST_COMPARED:
        yield _at(path, f"it has more than {_MOST_COMPARED:,} items")
    elif any(_same(one, other) for number, one in enumerate(items) for other in items[:number]):
        yield _at(path, "two of its items are the same")


def _size_problems(schema: Schema, size: int, what: str, path: str) -> Iterator[str]:
    if size < schema.get(f"min{what}", 0):
        yield _at(path, f"it has less than {schema[f'min{what}']} {_UNITS[what]}")
    if size > schema.get(f"max{what}", size):
        yield _at(path, f"it has more than {schema[f'max{what}']} {_UNITS[what]}")


_UNITS = {"Length": "characters", "Items": "items", "Properties": "properties"}


def _number_problems(schema: Schema, value: float, path: str) -> Iterator[str]:
    if value < schema.get("minimum", value) or value <= schema.get("exclusiveMinimum", -math.inf):
        yield _at(path, "it is too small")
    if value > schema.get("maximum", value) or value >= schema.get("exclusiveMaximum", math.inf):
        yield _at(path, "it is too large")
    step = schema.get("multipleOf")
    if step is not None and abs(value / step - round(value / step)) > 1e-9:
        yield _at(path, f"it is no multiple of {step}")


def _is_a(kind: str, value: object) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _same(one: object, other: object) -> bool:
    """JSON's equality: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    return one == other


def _member(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _at(path: str, what: str) -> str:
    return f"{path}: {what}" if path else what
