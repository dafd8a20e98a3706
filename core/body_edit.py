"""Another model's name in a request's body, with every other byte as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_JSON_TOKEN = re.compile(rb"(" + _STRING + rb")(\s*:)?|[{}\[\]]", re.DOTALL)
"""A string, with the colon that makes it a key, or a bracket: all that has to be seen to know where one is."""
_MODEL = re.compile(rb'"model"\s*:\s*(' + _STRING + rb")", re.DOTALL)
_ESCAPED_LETTER = re.compile(rb"\\u006[4-6c-f]", re.IGNORECASE)
"""One that could stand in `model`."""
_FORM_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


def with_model(body: bytes, content_type: str, model: str) -> bytes:
    """`body`, a JSON object or a form that names a model, with `model` instead.

    Where it names one more than once, each is replaced, so that no reader finds another.
    """
    if is_form(content_type):
        return _replaced(body, _form_spans(body, content_type), model.encode())
    return _replaced(body, _json_spans(body), json.dumps(model, ensure_ascii=False).encode())


def is_form(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def _replaced(body: bytes, spans: Iterator[tuple[int, int]], value: bytes) -> bytes:
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


def _form_spans(body: bytes, content_type: str) -> Iterator[tuple[int, int]]:
    """Where the values of the fields named `model` lie."""
    boundary = _FORM_BOUNDARY.search(content_type)
    if boundary is None:
        return
    delimiter = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1")
    # The first delimiter may be the body's beginning.
    start = len(delimiter) - 2 if body.startswith(delimiter[2:]) else _after(body, delimiter, 0)
    while start >= 0:
        head_end = body.find(b"\r\n\r\n", start)
        end = body.find(delimiter, start)
        if 0 <= head_end <= end - 4 and _field_name(body[start:head_end]) == b"model":
            yield head_end + 4, end
        start = _after(body, delimiter, start)


def _after(body: bytes, delimiter: bytes, start: int) -> int:
    at = body.find(delimiter, start)
    return at + len(delimiter) if at >= 0 else -1


def _field_name(head: bytes) -> bytes | None:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            parameters = {found[1].lower(): found[2] or found[3] for found in _PARAMETER.finditer(value)}
            return parameters.get(b"name")
    return None
