"""Other values for some of a request body's fields, with every other byte as it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic_core import to_json

from core import forms, json_members
from core.json_members import Member

_BRACE = re.compile(rb"\s*\{(\s*\})?")
"""How an object begins, and whether that is all."""

_Edit = tuple[int, int, bytes]
"""What lies between two places is replaced."""


def with_model(body: bytes, content_type: str, model: str) -> bytes:
    """`body`, a JSON object or a form that names a model, with `model` instead.

    Where it names one more than once, each is replaced, so that no reader finds another.
    """
    if forms.is_form(content_type):
        named = (part for part in forms.parts(body, content_type) if part.name == "model")
        return _edited(body, [(part.start, part.end, model.encode()) for part in named])
    fields = {"model": model}
    return _edited(body, _replacements(json_members.find(body, fields), fields))


def with_fields(body: bytes, fields: Mapping[str, object]) -> bytes:
    """`body`, a JSON object, with these fields in it.

    A field that it has already gets the new value in its old place, each time that it is there, so that no reader finds
    another; the rest comes first. The names have only letters and `_` in them.
    """
    members = json_members.find(body, fields)
    there = {member.name for member in members}
    missing = {name: value for name, value in fields.items() if name not in there}
    return _edited(body, [*_insertion(body, missing), *_replacements(members, fields)])


def with_stream_usage(body: bytes) -> bytes:
    """`body`, a JSON object that asks for a stream of chunks, so that it asks for its usage too.

    https://platform.openai.com/docs/api-reference/chat/create#chat-create-stream_options

    What else `stream_options` has is kept. Where it is neither an object nor null, it is left for upstream to refuse.
    """
    wanted = {"include_usage": True}
    members = json_members.find(body, ["stream_options"])
    if not members:
        return _edited(body, _insertion(body, {"stream_options": wanted}))
    edits = []
    for member in members:
        options = body[member.value : member.end]
        if options.startswith(b"{"):
            edits.append((member.value, member.end, with_fields(options, wanted)))
        elif options == b"null":
            edits.append((member.value, member.end, to_json(wanted)))
    return _edited(body, edits)


def _replacements(members: Iterable[Member], fields: Mapping[str, object]) -> Iterator[_Edit]:
    for member in members:
        yield member.value, member.end, to_json(fields[member.name])


def _insertion(body: bytes, fields: Mapping[str, object]) -> Iterator[_Edit]:
    """What puts new fields before all others."""
    brace = _BRACE.match(body)
    if fields and brace is not None:
        is_empty = brace[1] is not None
        place = brace.start(1) if is_empty else brace.end()
        text = to_json(fields)[1:-1]
        yield place, place, text if is_empty else text + b","


def _edited(body: bytes, edits: Iterable[_Edit]) -> bytes:
    """`body` after edits in the order of their places."""
    pieces, copied = [], 0
    for start, end, value in edits:
        pieces += [body[copied:start], value]
        copied = end
    return b"".join([*pieces, body[copied:]])
