"""Another model's name in a request's body, with every other byte as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from core import forms

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_JSON_TOKEN = re.compile(rb"(" + _STRING + rb")(\s*:)?|[{}\[\]]", re.DOTALL)
"""A string, with the colon that makes it a key, or a bracket: all that has to be seen to know where one is."""
_MODEL = re.compile(rb'"model"\s*:\s*(' + _STRING + rb")", re.DOTALL)
_ESCAPED_LETTER = re.compile(rb"\\u006[4-6c-f]", re.IGNORECASE)
"""One that could stand in `model`."""


def with_model(body: bytes, content_type: str, model: str) -> bytes:
    """`body`, a JSON object or a form that names a model, with `model` instead.

    Where it names one more than once, each is replaced, so that no reader finds another.
    """
    if forms.is_form(content_type):
        named = (part for part in forms.parts(body, content_type) if part.name == "model")
        return _replaced(body, ((part.start, part.end) for part in named), model.encode())
    return _replaced(body, _json_spans(body), json.dumps(model, ensure_ascii=False).encode())


def _replaced(body: bytes, spans: Iterable[tuple[int, int]], value: bytes) -> bytes:
    pieces, copied = [], 0
    for start, end in spans:
        pieces += [body[copied:start], value]
        copied = end
    return b"".join([*pieces, body[copied:]])


def _json_spans(body: bytes) -> Iterator[tuple[int, int]]:
    """Where the values of the outermost object's `model` lie. `body` is valid JSON, has one, and they are strings."""
    if body.count(b'"model"') == 1 and not _ESCAPED_LETTER.search(body):
        # No other key can be it, so nothing has to be known of what is around it.
        only = _MODEL.search(body)
        if only is not None:
            yield only.span(1)
            return
    depth, key = 0, b""
    for token in _JSON_TOKEN.finditer(body):
        text, colon = token.groups()
        if text is None:
            depth += 1 if token[0] in b"{[" else -1
        elif depth != 1:
            continue
        elif colon:
            key = text
        elif _is_model(key):
            yield token.span(1)


def _is_model(key: bytes) -> bool:
    return key == b'"model"' or (b"\\" in key and json.loads(key) == "model")
