"""How tasks ask models: what a client writes stands in the user's message, marked as data, and never in ours. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core import json_schema
from core.task_calls import body

_MARK_BYTES = 8


@dataclass(frozen=True, slots=True)
class Model:
    """What a task asks, and how much it can read and may write."""

    name: str
    output_tokens: int
    """The most that one answer may have."""
    context_tokens: int
    """The most that a call takes in, output included; where that is not known, a cautious guess."""


def quoted(label: str, text: str) -> str:
    """A text as data: between two lines that cannot be in it, since nobody knows them before."""
    mark = f"=={secrets.token_hex(_MARK_BYTES)}=="
    return f"{label}, which is all that stands between the two lines {mark}:\n{mark}\n{text}\n{mark}"


def message(role: str, content: str) -> Mapping[str, str]:
    return {"role": role, "content": content}


def chat(
    model: Model,
    messages: Sequence[Mapping[str, str]],
    *,
    schema: json_schema.Schema | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> bytes:
    """A chat completion's body."""
    fields: dict[str, Any] = {
        **(parameters or {}),
        "model": model.name,
        "messages": messages,
        "max_completion_tokens": model.output_tokens,
    }
    if schema is not None:
        fields["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": schema, "strict": json_schema.is_strict(schema)},
        }
    return body(fields)
