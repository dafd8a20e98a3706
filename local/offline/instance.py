"""An instance of a JSON Schema, always the same one: for structured outputs and for the arguments of tool calls.

Covers what OpenAI's strict mode allows, except `pattern`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from local.offline.refusal import Refusal

_FORMATS: Final = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "P3D",
    "email": "trefoil@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/trefoil",
}
_FAR: Final = 10**9
_LARGEST: Final = 10**6  # characters or items: what asks for more is a mistake


class _EndlessError(Exception):
    """A `$ref` led back into itself: whoever has another way (an empty array, another `anyOf` branch) takes it."""


def instance_of(schema: object, name: str = "value") -> Any:
    """A value that satisfies the schema; `name` is woven into its strings. Refusal 400 where there is none."""
    try:
        return _Maker(schema).make(schema, name, frozenset())
    except _EndlessError:
        raise _refused("The schema refers to itself without an end.") from None
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError):
        raise _refused("The schema cannot be followed.") from None


class _Maker:
    def __init__(self, root: object) -> None:
        self._root = root

    def make(self, schema: object, name: str, open_refs: frozenset[str]) -> Any:
        if not isinstance(schema, Mapping):
            return _string({}, name)
        if isinstance(ref := schema.get("$ref"), str):
            if ref in open_refs:
                raise _EndlessError
            return self.make(self._resolve(ref), name, open_refs | {ref})
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            return self._first_that_ends(branches, name, open_refs)
        if parts := schema.get("allOf"):
            return self._all_of(parts, name, open_refs)
        return self._typed(schema, name, open_refs)

    def _typed(self, schema: Mapping[str, Any], name: str, open_refs: frozenset[str]) -> Any:
        match _type_of(schema):
            case "object":
                return self._object(schema, open_refs)
            case "array":
                return self._array(schema, name, open_refs)
            case "integer":
                return _integer(schema)
            case "number":
                return _number(schema)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return _string(schema, name)

    def _resolve(self, ref: str) -> object:
        found: Any = self._root
        for step in ref.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                raise _refused(f"The schema has no '{ref}'.")
            found = found[key]
        return found

    def _first_that_ends(self, branches: list[object], name: str, open_refs: frozenset[str]) -> Any:
        for branch in branches:
            try:
                return self.make(branch, name, open_refs)
            except _EndlessError:
                continue
        raise _EndlessError

    def _all_of(self, parts: list[object], name: str, open_refs: frozenset[str]) -> Any:
        values = [self.make(part, name, open_refs) for part in parts]
        if all(isinstance(value, dict) for value in values):
            return {key: item for value in values for key, item in value.items()}
        return values[0]

    def _object(self, schema: Mapping[str, Any], open_refs: frozenset[str]) -> dict[str, Any]:
        required, made = schema.get("required") or [], {}
        for name, inner in (schema.get("properties") or {}).items():
            try:
                made[name] = self.make(inner, name, open_refs)
            except _EndlessError:
                if name in required:
                    raise
        return made

    def _array(self, schema: Mapping[str, Any], name: str, open_refs: frozenset[str]) -> list[Any]:
        fixed = [self.make(inner, name, open_refs) for inner in schema.get("prefixItems") or []]
        least = _size(schema, "minItems", 0)
        size = min(max(least, 1), _size(schema, "maxItems", _LARGEST))
        if "items" not in schema and fixed:
            return fixed
        try:
            return fixed + [self.make(schema.get("items"), name, open_refs) for _ in range(size - len(fixed))]
        except _EndlessError:
            if len(fixed) < least:
                raise
            return fixed


def _refused(message: str) -> Refusal:
    return Refusal(400, message, code="invalid_json_schema")


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _string(schema: Mapping[str, Any], name: str) -> str:
    if known := _FORMATS.get(schema.get("format", "")):
        return known
    text = f"canned {name} 🍀".ljust(_size(schema, "minLength", 0), ".")
    return text[: _size(schema, "maxLength", len(text))]


def _size(schema: Mapping[str, Any], key: str, default: int) -> int:
    size = int(schema.get(key, default))
    if key.startswith("min") and size > _LARGEST:
        raise ValueError(key)
    return size


def _integer(schema: Mapping[str, Any]) -> int:
    low: int = max(math.ceil(schema.get("minimum", -_FAR)), math.floor(schema.get("exclusiveMinimum", -_FAR)) + 1)
    high: int = min(math.floor(schema.get("maximum", _FAR)), math.ceil(schema.get("exclusiveMaximum", _FAR)) - 1)
    step = int(schema.get("multipleOf", 1))
    return math.ceil(min(max(1, low), high) / step) * step


def _number(schema: Mapping[str, Any]) -> float:
    low: float | None = schema.get("minimum", schema.get("exclusiveMinimum"))
    high: float | None = schema.get("maximum", schema.get("exclusiveMaximum"))
    value = 1.5
    if low is not None and high is not None:
        value = (low + high) / 2
    elif low is not None:
        value = max(value, low + 1)
    elif high is not None:
        value = min(value, high - 1)
    step: float | None = schema.get("multipleOf")
    return math.floor(value / step) * step if step else value
