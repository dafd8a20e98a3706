"""The prompts that operators write, with places in them for what a client sends. Pure.

A place is `{{name}}`. What fills it is data: it is written as JSON, so that a text stands in quotation marks which it
cannot leave, and it is not read for places again. There is nothing else to it: no conditions, no loops, no filters. (A
template engine would add 80 ms or more to the first task of a process: Jinja's sandbox does.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json

_PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_BRACES = ("{{", "}}")


def places(template: str) -> Sequence[str]:
    """The names of the places in it, each once, in their order.

    Raises:
        ValueError: it has double braces that are no place.
    """
    if any(braces in _PLACE.sub("", template) for braces in _BRACES):
        raise ValueError("write a place as {{name}}, with an input field's name, and no other double braces")
    return list(dict.fromkeys(_PLACE.findall(template)))


def has_places(text: str) -> bool:
    return any(braces in text for braces in _BRACES)


def fill(template: str, values: Mapping[str, Any]) -> str:
    """`template` with each place filled; a value that is not there is null."""
    return _PLACE.sub(lambda place: to_json(values.get(place[1])).decode(), template)
