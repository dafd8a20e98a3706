"""JSON read and written quickly is what `json` reads and writes."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import json_text

_DEPTH = 300
"""Pydantic's parser goes 200 deep, its writer 255."""

_TEXT = st.text(st.characters(exclude_categories=()))
"""With halves of surrogate pairs."""
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


def _deep() -> Any:
    value: Any = "half a pair: \ud83c"
    for _ in range(_DEPTH):
        value = {"in": [value]}
    return value


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_JSON)
def test_it_is_equal_to_json(value: Any) -> None:
    text = json.dumps(value)
    assert json.loads(json_text.write(value)) == json.loads(text)
    assert json_text.read(text) == json.loads(text)
    assert json_text.read(json.dumps(value, ensure_ascii=False)) == value


@pytest.mark.parametrize("value", [2**63, 2**64, -(2**200), 1e22, 5e-324, math.inf, "\ud83c", {"\udf40": 1}, "\0é漢🍀"])
def test_what_is_hard_comes_back(value: Any) -> None:
    again = json_text.read(json_text.write({"is": value}))["is"]
    assert (again, type(again)) == (value, type(value))


def test_what_is_deep_comes_back() -> None:
    assert json_text.read(json_text.write(_deep())) == _deep()


def test_what_is_no_number_comes_back() -> None:
    assert math.isnan(json_text.read(json_text.write(math.nan)))


@pytest.mark.parametrize("text", [b"", b"{", b"<html>", b"{} x", b'"\xff"', "{"])
def test_what_is_no_json_is_an_error(text: bytes | str) -> None:
    with pytest.raises(ValueError, match=r"line|char|position"):
        json_text.read(text)


def test_what_is_no_text_is_an_error() -> None:
    with pytest.raises(TypeError):
        json_text.read(1)  # type: ignore[arg-type]


def test_what_json_cannot_say_is_an_error() -> None:
    with pytest.raises(TypeError):
        json_text.write(object())


def test_what_was_read_is_not_kept() -> None:
    """The parser's own memory of short texts would hold on to pieces of prompts, and grow for hours."""
    texts = [json_text.write({f"r/{number:08}": f"text {number}"}) for number in range(3000)]
    tracemalloc.start()
    for text in texts:
        json_text.read(text)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 50_000
