"""The models that the offline upstream knows, and how a name tells it to behave: `offline;pace=100;cut=3`."""

from __future__ import annotations

import re
from typing import Final

CREATED: Final = 1_760_000_000  # of every answer and every model: so answers can be compared whole
MODELS: Final = (
    "offline", "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5", "gpt-5-mini", "o4-mini",
    "gpt-3.5-turbo-instruct", "text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002",
    "omni-moderation-latest", "gpt-image-1", "gpt-image-1-mini", "dall-e-2", "dall-e-3", "tts-1", "tts-1-hd",
    "gpt-4o-mini-tts", "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe",
)  # fmt: skip
_SNAPSHOT: Final = re.compile(r"-\d{4}-\d\d-\d\d$")


def split_model(name: str) -> tuple[str, str]:
    """The model proper and the directives behind its first semicolon."""
    model, _, directives = name.partition(";")
    return model, directives


def is_known(name: str) -> bool:
    """Whether the service has this model: one of MODELS, a dated snapshot of one, or anything that begins `offline`."""
    model, _ = split_model(name)
    return model.startswith("offline") or _SNAPSHOT.sub("", model) in MODELS


def is_reasoning(name: str) -> bool:
    """Whether it is one of the models that take `max_completion_tokens` only and no temperature."""
    return name.startswith(("gpt-5", "o4"))


def describe(name: str) -> dict[str, object]:
    """The model object of GET /v1/models."""
    owner = "trefoil" if name.startswith("offline") else "system"
    return {"id": name, "object": "model", "created": CREATED, "owned_by": owner}
