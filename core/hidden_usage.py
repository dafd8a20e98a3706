"""A stream of chunks as it would be if its usage had not been asked for. Pure.

A client that did not ask for it gets one chunk fewer, and no `usage` in the others; every other byte is upstream's.
https://platform.openai.com/docs/api-reference/chat/create#chat-create-stream_options
"""

from __future__ import annotations

import re

from core import events, json_members

_KEY = b'"usage"'
_KEYS = ("choices", "usage")
_USUAL = re.compile(rb',"usage":null((?:,[^{}\[\]\r\n]*)?\}\n*)\Z')
"""No bracket follows but the last one of the line, so it is the outermost object's."""
_NO_CHOICES = re.compile(rb"\[\s*\]")
_BLANKS = b" \t\r\n"


def hide(passed: bytes) -> bytes:
    """Whole events of a chat's or a completion's stream, without the usage; empty if that was all there was.

    Only a chunk's own `usage` goes, not one deeper in it, which upstream sends unasked.
    """
    if _KEY not in passed:
        return passed
    if (without := _without_null(passed)) is not None:
        return without
    kept = []
    for event, end in events.pieces(passed):
        without = _without_usage(event) if _KEY in event else event
        if without is not None:
            kept += [without, end]
    return b"".join(kept)


def _without_usage(event: bytes) -> bytes | None:
    """One event; None if it has been sent for its usage only."""
    if (without := _without_null(event)) is not None:
        return without
    data = events.data(event)
    members = json_members.find(data, _KEYS)
    usages = [member for member in members if member.name == "usage"]
    choices = [member for member in members if member.name == "choices"]
    is_told = any(data[usage.value : usage.end] != b"null" for usage in usages)
    if is_told and choices and all(_NO_CHOICES.fullmatch(data, one.value, one.end) for one in choices):
        return None
    for usage in reversed(usages):
        data = _cut(data, usage.start, usage.end)
    return events.with_data(event, data) if usages else event


def _without_null(event: bytes) -> bytes | None:
    """One event of one line, in which the usage is null, as in most; None where it is another one."""
    usual = _USUAL.search(event)
    if usual is None or event.count(_KEY) > 1 or b"\r" in event or event.find(b"\n", 0, usual.start()) >= 0:
        return None
    return event[: usual.start()] + usual[1]


def _cut(data: bytes, start: int, end: int) -> bytes:
    """`data` without the member of an object that lies there, and without the comma that it needs no more."""
    before, after = data[:start].rstrip(_BLANKS), data[end:].lstrip(_BLANKS)
    if before.endswith(b","):
        return before[:-1] + data[end:]
    if after.startswith(b","):
        return data[:start] + after[1:].lstrip(_BLANKS)
    return data[:start] + data[end:]
