"""Checks of a request's values that many endpoints share: each is silent, or raises the Refusal that OpenAI sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from local.offline.catalog import is_known
from local.offline.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Range:
    """What a number may be; the bounds belong to it."""

    kind: str  # "integer" or "decimal", as in the error's code
    low: float | None = None
    high: float | None = None


_NAMES: Final = {
    bool: "a boolean", str: "a string", list: "an array", dict: "an object", int: "an integer", float: "a decimal",
    type(None): "null",
}  # fmt: skip


def missing(param: str) -> Refusal:
    """The refusal of a request without this parameter."""
    return Refusal(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def wrong_type(param: str, value: object, wanted: str) -> Refusal:
    """The refusal of a value of another type."""
    message = f"Invalid type for '{param}': expected {wanted}, but got {_NAMES[type(value)]} instead."
    return Refusal(400, message, param=param, code="invalid_type")


def check_type(param: str, value: object, types: tuple[type, ...]) -> None:
    """Refusal unless the value has one of these types."""
    if not isinstance(value, types):
        raise wrong_type(param, value, " or ".join(_NAMES[one] for one in types))


def check_types(body: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]) -> None:
    """The same for each parameter that is there; null is absent."""
    for name, allowed in types.items():
        if body.get(name) is not None:
            check_type(name, body[name], allowed)


def check_range(param: str, value: object, limits: Range) -> None:
    """Refusal unless it is a number of the range's kind and within it."""
    if isinstance(value, bool) or not isinstance(value, int if limits.kind == "integer" else int | float):
        raise wrong_type(param, value, "an integer" if limits.kind == "integer" else "a decimal")
    if limits.low is not None and value < limits.low:
        code = f"{limits.kind}_below_min_value"
        raise Refusal(400, f"'{param}' is {value}; it must be >= {limits.low}.", param=param, code=code)
    if limits.high is not None and value > limits.high:
        code = f"{limits.kind}_above_max_value"
        raise Refusal(400, f"'{param}' is {value}; it must be <= {limits.high}.", param=param, code=code)


def check_ranges(body: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    """The same for each parameter that is there; null is absent."""
    for name, limits in ranges.items():
        if body.get(name) is not None:
            check_range(name, body[name], limits)


def check_one_of(param: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refusal unless the value is one of these."""
    if value not in allowed:
        message = f"'{param}' is {value!r}; supported values are {', '.join(allowed)}."
        raise Refusal(400, message, param=param, code="invalid_value")


def check_stop(stop: object) -> None:
    """Refusal unless it is a text, or up to four."""
    if not isinstance(stop, list):
        return
    if len(stop) > 4:
        raise Refusal(400, "'stop' has more than 4 sequences.", param="stop", code="array_above_max_length")
    for index, sequence in enumerate(stop):
        check_type(f"stop[{index}]", sequence, (str,))


def check_named(at: str, value: object) -> None:
    """Refusal unless it is an object with a name: a function, a schema."""
    if value is None:
        raise missing(at)
    if not isinstance(value, dict):
        raise wrong_type(at, value, "an object")
    if value.get("name") is None:
        raise missing(f"{at}.name")
    check_type(f"{at}.name", value["name"], (str,))


def check_model(model: object) -> None:
    """Refusal unless it is a model that the service has."""
    if model is None or model == "":
        raise Refusal(400, "you must provide a model parameter")
    if not isinstance(model, str):
        raise wrong_type("model", model, "a string")
    if not is_known(model):
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise Refusal(404, message, code="model_not_found")


def whole_number(param: str, text: str) -> int:
    """The number that a query string or a form writes out; Refusal 400 unless it is a whole one, not below zero."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise wrong_type(param, text, "an integer")
    return int(text)


def required_text(body: Mapping[str, Any], name: str) -> str:
    """A parameter that has to be there and to be a string that is not empty."""
    value = body.get(name)
    if value is None or value == "":
        raise missing(name)
    check_type(name, value, (str,))
    return str(value)


def ids_in(body: Mapping[str, Any], name: str) -> list[str]:
    """A list of ids; empty where the parameter is absent."""
    ids = body.get(name) or []
    check_type(name, ids, (list,))
    for index, one in enumerate(ids):
        check_type(f"{name}[{index}]", one, (str,))
    return list(ids)


def metadata_in(body: Mapping[str, Any]) -> dict[str, str]:
    """The request's metadata: up to 16 pairs of texts."""
    metadata = body.get("metadata") or {}
    check_type("metadata", metadata, (dict,))
    if len(metadata) > 16:
        message = "'metadata' has more than 16 pairs."
        raise Refusal(400, message, param="metadata", code="object_above_max_properties")
    for name, value in metadata.items():
        check_type(f"metadata.{name}", value, (str,))
    return dict(metadata)
