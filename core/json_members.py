"""Where the members of a JSON object lie in its bytes, found without making Python objects of it. Pure.

In valid JSON a name between two quotation marks without backslashes, and a colon after it, is a key: inside a string
the marks would have backslashes before them. Open is only in which object it is a key. That is told by the brackets
before it, or by those after it, whichever are fewer: most keys that are looked for stand near one end of a large body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(rb"(" + _STRING + rb")(\s*:\s*)?|[{}\[\]]", re.DOTALL)
"""A string, with the colon that makes it a key, or a bracket: all that has to be seen to know where one is."""
_WHOLE_STRING = re.compile(_STRING, re.DOTALL)
_A_KEY = 2
"""The last group in a token that is a key."""
_COLON = re.compile(rb"\s*:\s*")
_FLAT_VALUE = re.compile(_STRING + rb"|[^\s,\]}]*", re.DOTALL)
_ESCAPED_LETTERS = (b"\\u005", b"\\u006", b"\\u007")
"""How an escape begins that stands for `_` or a letter: a key may be written so that it does not look like itself."""
_FEW = 8
"""So many keys are looked at one by one; if there are more, everything is read once."""


class Member(NamedTuple):
    """A key and its value."""

    name: str
    start: int
    """Where the key's first quotation mark is."""
    value: int
    """Where the value begins."""
    end: int
    """Where the value has ended."""


def find(text: bytes, names: Collection[str]) -> list[Member]:
    """The members of the outermost object that have one of these names, each time that they are there, in their order.

    `text` is valid JSON, and the names have only letters and `_` in them. Of text that is no JSON, what is found has no
    meaning, but it lies within.
    """
    if has_escaped_letters(text):
        return list(_read(text, names))
    keys: list[Member] = []
    for name in names:
        for key in _keys(text, name):
            if len(keys) == _FEW:
                return list(_read(text, names))
            keys.append(key)
    keys.sort(key=lambda key: key.start)
    return [key._replace(end=_value_end(text, key.value)) for key in keys if _depth(text, key.start) == 1]


def has_escaped_letters(text: bytes) -> bool:
    """Whether a name in it may be written with escapes."""
    return b"\\" in text and b"\\u00" in text and any(escape in text for escape in _ESCAPED_LETTERS)


def _keys(text: bytes, name: str) -> Iterator[Member]:
    """The keys of that name in objects of any depth, their values' ends not yet known."""
    quoted = f'"{name}"'.encode()
    at = text.find(quoted)
    while at >= 0:
        colon = _COLON.match(text, at + len(quoted))
        if colon and text[at - 1 : at] != b"\\":
            yield Member(name, at, colon.end(), colon.end())
        at = text.find(quoted, at + len(quoted))


def _depth(text: bytes, place: int) -> int:
    """In how many objects and arrays the key at `place` is."""
    if place <= len(text) // 2:
        return _opened(text[:place])
    return -_opened(text[place:])


def _opened(text: bytes) -> int:
    """How many more brackets are opened than closed, outside of strings."""
    rest = _WHOLE_STRING.sub(b"", text)
    return rest.count(b"{") + rest.count(b"[") - rest.count(b"}") - rest.count(b"]")


def _step(token: re.Match[bytes]) -> int:
    """What a token adds to the depth."""
    if token.lastindex is not None:
        return 0
    return 1 if token[0] in b"{[" else -1


def _value_end(text: bytes, start: int) -> int:
    if text[start : start + 1] not in (b"{", b"["):
        flat = _FLAT_VALUE.match(text, start)
        return flat.end() if flat else start
    depth = 0
    for token in _TOKEN.finditer(text, start):
        depth += _step(token)
        if not depth:
            return token.end()
    return len(text)


def _read(text: bytes, names: Collection[str]) -> Iterator[Member]:
    """The same members, found by reading everything from the beginning."""
    wanted = {f'"{name}"'.encode(): name for name in names}
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += _step(token)
        if depth == 1 and token.lastindex == _A_KEY and (name := _name(token[1], wanted)) is not None:
            yield Member(name, token.start(), token.end(), _value_end(text, token.end()))


def _name(key: bytes, wanted: dict[bytes, str]) -> str | None:
    if b"\\" not in key:
        return wanted.get(key)
    try:
        return wanted.get(f'"{json.loads(key)}"'.encode("utf-8", "surrogatepass"))
    except ValueError:  # no JSON
        return None
