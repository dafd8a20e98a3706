"""Names that Firestore allows (https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields)."""

from __future__ import annotations

import re

from local.firestore.refusal import Refusal

_LONGEST_BYTES = 1500
_LONGEST_NAME_BYTES = 6 * 1024
_RESERVED = re.compile(r"__.*__", re.DOTALL)
_DOCUMENTS = re.compile(r"(projects/[^/]+/databases/[^/]+)/documents(?:/(.*))?", re.DOTALL)
_PATH_SEGMENT = re.compile(r"`((?:[^`\\]|\\.)+)`|([A-Za-z_][A-Za-z_0-9]*)", re.DOTALL)


def check_document(name: str, database: str) -> None:
    """
    Raises:
        Refusal: it names no document of this database.
    """
    if len(segments(name, database)) % 2 or not segments(name, database):
        raise _bad(f'Document name "{name}" lacks a collection or a document.')


def segments(name: str, database: str) -> list[str]:
    """The ids in a name: of collections and documents by turns, none for the root."""
    match = _DOCUMENTS.fullmatch(name)
    if match is None or match[1] != database or len(name.encode()) > _LONGEST_NAME_BYTES:
        raise _bad(f'"{name}" is no name in {database}.')
    ids = match[2].split("/") if match[2] else []
    for segment in ids:
        if not segment or segment in (".", "..") or _RESERVED.fullmatch(segment) or _is_long(segment):
            raise _bad(f'Resource id "{segment}" is invalid.')
    return ids


def database_of(name: str) -> str:
    match = _DOCUMENTS.fullmatch(name)
    if match is None:
        raise _bad(f'"{name}" is no name in a database.')
    return match[1]


def check_field(name: str) -> None:
    if not name or _RESERVED.fullmatch(name) or _is_long(name):
        raise _bad(f'Field name "{name}" is invalid.')


def field_path(text: str) -> list[str]:
    """The names in a path such as ``counters.`req-1` ``."""
    names, position = [], 0
    while match := _PATH_SEGMENT.match(text, position):
        names.append(match[2] or re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL))
        position = match.end()
        if position == len(text):
            return names
        if text[position] != ".":
            break
        position += 1
    raise _bad(f'Invalid property path "{text}".')


def _is_long(text: str) -> bool:
    return len(text.encode()) > _LONGEST_BYTES


def _bad(message: str) -> Refusal:
    return Refusal("INVALID_ARGUMENT", message)
