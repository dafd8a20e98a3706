"""Forms: the small fields of a multipart/form-data body (RFC 7578), read without copying the files beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from core import errors

MEDIA_TYPE = "multipart/form-data"

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb';\s*name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILENAME = re.compile(rb";\s*filename\*?=", re.IGNORECASE)
_LONGEST_HEAD_BYTES = 8192
_LONGEST_FIELD_BYTES = 64 * 1024


def boundary(content_type: str) -> bytes | None:
    """What parts a form's fields; None where this is no form's content type."""
    if not content_type.strip().lower().startswith(MEDIA_TYPE):
        return None
    found = _BOUNDARY.search(content_type)
    return (found[1] or found[2]).encode("latin-1", "replace") if found else None


def read_fields(body: bytes, content_type: str) -> Mapping[str, list[str]]:
    """The values of the fields that are no files, by name. A field longer than 64 KiB counts as a file.

    Raises:
        InvalidRequest: the body is no such form.
    """
    delimiter = boundary(content_type)
    if delimiter is None:
        raise errors.InvalidRequest(
            "The form has no boundary in its Content-Type: send multipart/form-data as your HTTP library writes it.",
            code="invalid_form",
        )
    fields: dict[str, list[str]] = {}
    for start, end, head in _parts(body, delimiter):
        name = _NAME.search(head)
        if name is None:
            raise _malformed()
        if _FILENAME.search(head) is None and end - start <= _LONGEST_FIELD_BYTES:
            fields.setdefault(name[1].decode("utf-8", "replace"), []).append(body[start:end].decode("utf-8", "replace"))
    return fields


def _parts(body: bytes, separator: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Where each part's content begins and ends, and its headers."""
    delimiter = b"\r\n--" + separator
    at = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    if at == 1:
        raise _malformed()
    at += len(delimiter) - 2
    while not body.startswith(b"--", at):
        start = body.find(b"\r\n\r\n", at, at + _LONGEST_HEAD_BYTES)
        end = body.find(delimiter, start + 2)
        if start < 0 or end < 0:
            raise _malformed()
        yield start + 4, max(start + 4, end), body[at:start]
        at = end + len(delimiter)


def _malformed() -> errors.InvalidRequest:
    return errors.InvalidRequest("The request body is not a whole multipart/form-data form.", code="invalid_form")
