"""Forms: the fields of a multipart/form-data body (RFC 7578), found without copying the files among them.

Read strictly: what could be read in two ways is refused, because upstream might take the other one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from core import errors

MEDIA_TYPE = "multipart/form-data"

_CONTENT_TYPE = re.compile(
    r"""multipart/form-data (?:\s*;\s*charset=(?:"utf-8"|utf-8))?
        \s*;\s*boundary=(?:"([\w'()+\-./:=?]{1,70})"|([\w'()+\-./:=?]{1,70}))
        (?:\s*;\s*charset=(?:"utf-8"|utf-8))? \s*;?\s*""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
_NEEDS_NO_QUOTES = re.compile(r"[\w'+\-.]+", re.ASCII)
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n]*)")
_PARAMETER = rb';[ \t]*([\w*]+)=("(?:[^"\\\r\n]|\\.)*"|[^\s;"]+)[ \t]*'
_DISPOSITION = re.compile(rb"form-data[ \t]*((?:" + _PARAMETER + rb")*)", re.IGNORECASE)
_PARAMETERS = re.compile(_PARAMETER)
_LONGEST_HEAD_BYTES = 8192
_LONGEST_FIELD_BYTES = 1024 * 1024


class Part(NamedTuple):
    """A field, or a file."""

    name: str
    is_file: bool
    start: int
    """Where its content begins in the body."""
    end: int


def is_form(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == MEDIA_TYPE


def boundary(content_type: str) -> str:
    """What stands between a form's parts.

    Raises:
        InvalidRequest: the content type does not say so, or says more than it may.
    """
    found = _CONTENT_TYPE.fullmatch(content_type.strip())
    if found is None:
        raise errors.InvalidRequest(
            f"The form's Content-Type must be '{MEDIA_TYPE}; boundary=...', as HTTP libraries write it.",
            code="invalid_form",
        )
    return found[1] or found[2]


def canonical_type(content_type: str) -> str:
    """The content type as no reader can take it otherwise."""
    separator = boundary(content_type)
    return f"{MEDIA_TYPE}; boundary=" + (separator if _NEEDS_NO_QUOTES.fullmatch(separator) else f'"{separator}"')


def parts(body: bytes, content_type: str) -> Sequence[Part]:
    """A form's parts, in their order.

    Raises:
        InvalidRequest: the body is no such form.
    """
    return list(_parts(body, boundary(content_type).encode()))


def read_fields(body: bytes, content_type: str) -> Mapping[str, list[str]]:
    """The values of the fields that are no files, by name.

    Raises:
        InvalidRequest: the body is no such form, or a field is longer than 1 MiB.
    """
    fields: dict[str, list[str]] = {}
    for part in parts(body, content_type):
        if part.is_file:
            continue
        if part.end - part.start > _LONGEST_FIELD_BYTES:
            raise errors.InvalidRequest(f"The form's field '{part.name[:100]}' is too long.", code="invalid_form")
        fields.setdefault(part.name, []).append(body[part.start : part.end].decode("utf-8", "replace"))
    return fields


def _parts(body: bytes, separator: bytes) -> Iterator[Part]:
    opening, delimiter = b"--" + separator, b"\r\n--" + separator
    if not body.startswith(opening):  # not even by what the standard allows before it, for nobody writes it
        raise _malformed()
    at = len(opening)
    while not body.startswith(b"--", at):
        if not body.startswith(b"\r\n", at):
            raise _malformed()
        head_end = body.find(b"\r\n\r\n", at, at + _LONGEST_HEAD_BYTES)
        start = head_end + 4
        end = body.find(delimiter, head_end + 2)
        if head_end < at + 2 or end < 0:
            raise _malformed()
        name, is_file = _disposition(body[at + 2 : head_end])
        yield Part(name, is_file, start, max(start, end))
        at = end + len(delimiter)


def _disposition(head: bytes) -> tuple[str, bool]:
    """A part's name, and whether it is a file."""
    headers = [_HEADER.fullmatch(line) for line in head.split(b"\r\n")]
    found = [line[2] for line in headers if line and line[1].lower() == b"content-disposition"]
    disposition = _DISPOSITION.fullmatch(found[0]) if len(found) == 1 and all(headers) else None
    if disposition is None:
        raise _malformed()
    given = [(name.lower(), value.strip(b'"')) for name, value in _PARAMETERS.findall(disposition[1])]
    parameters = dict(given)
    name = parameters.get(b"name", b"")
    if len(parameters) < len(given) or not name or not parameters.keys() <= {b"name", b"filename", b"filename*"}:
        raise _malformed()
    if b"\\" in name:  # an escape, to some
        raise _malformed()
    return name.decode("utf-8", "replace"), len(parameters) > 1


def _malformed() -> errors.InvalidRequest:
    return errors.InvalidRequest("The request body is not a whole multipart/form-data form.", code="invalid_form")
