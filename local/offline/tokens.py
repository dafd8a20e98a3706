"""Counting tokens without a tokenizer: up to four characters of one word, with the space before it, are one token.

No token is shorter than a byte, so the bytes of a text bound its tokens here as they do with a real BPE tokenizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_TOKEN: Final = re.compile(r" ?\S{1,4}|\s+")
_MESSAGE_OVERHEAD: Final = 3  # as the service's: each message, and the answer's beginning, is framed
_PART_TOKENS: Final = 85  # an image at low detail costs this on gpt-4o; the other attachments are given the same


def split_tokens(text: str) -> list[str]:
    """The tokens of a text; joined they are the text again."""
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """How many tokens a text has."""
    return len(split_tokens(text))


def text_of(content: object) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return ""


def attachments_of(content: object) -> list[str]:
    """The types of a message's parts that are not text: image_url, input_audio, file."""
    parts = content if isinstance(content, list) else []
    return [part["type"] for part in parts if part["type"] not in ("text", "refusal")]


def count_prompt(body: Mapping[str, Any]) -> int:
    """The tokens of a chat request: its messages, and the JSON of its tools and its response format."""
    framed = sum(_count_message(message) for message in body["messages"]) + _MESSAGE_OVERHEAD
    return framed + sum(_count_json(body[name]) for name in ("tools", "response_format") if body.get(name))


def _count_message(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    called = _count_json(message["tool_calls"]) if message.get("tool_calls") else 0
    attached = _PART_TOKENS * len(attachments_of(content))
    return _MESSAGE_OVERHEAD + count_tokens(text_of(content)) + attached + called


def _count_json(value: Mapping[str, Any] | Sequence[Any]) -> int:
    return count_tokens(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
