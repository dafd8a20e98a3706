"""Aligned text for people: tables and lists of named values. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

_NOTHING = "-"


def table(columns: Mapping[str, str], rows: Sequence[Mapping[str, object]]) -> str:
    """Rows under headings, numbers at the right.

    Args:
        columns: the heading of each field that is shown.
    """
    shown = [[cell(row.get(name)) for name in columns] for row in rows]
    is_number = [
        all(isinstance(row.get(name), int | None) or name.endswith("_usd") for row in rows) for name in columns
    ]
    lines = [[*columns.values()], *shown]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in lines
    )


def named(values: Mapping[str, object]) -> str:
    """One value a line, behind its name."""
    width = max(map(len, values))
    return "\n".join(f"{name.ljust(width)}  {cell(value)}" for name, value in values.items())


def cell(value: object) -> str:
    """A value as text that cannot play tricks on a terminal: a model's name is whatever a client wrote."""
    if value is None or value in ("", []):
        return _NOTHING
    if isinstance(value, list):
        return " ".join(map(cell, value))
    if isinstance(value, int):
        return f"{value:,}"
    return "".join(character if character.isprintable() else "?" for character in str(value))


def day(at: int | None) -> str | None:
    """A moment's day, UTC."""
    return None if at is None else time.strftime("%Y-%m-%d", time.gmtime(at))


def minute(at: int | None) -> str | None:
    """A moment's day and minute, UTC."""
    return None if at is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))
