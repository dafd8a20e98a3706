"""What a JSON body gives a model to read, beside its text: images, files, tools. Pure.

Read so that it is never too little, whoever reads the body upstream. A key can be written with escapes. Of two that
are the same in one object, one reader takes the first and another the last, so that is refused. A server written in Go
takes `N` for `n`, and so for every key, so case makes no difference (https://pkg.go.dev/encoding/json#Unmarshal).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jiter

from core import errors, hosted_tools

_FIELDS = frozenset(
    {
        "best_of",
        "echo",
        "image",
        "images",
        "input",
        "instructions",
        "mask",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "max_tool_calls",
        "messages",
        "model",
        "n",
        "partial_images",
        "prompt",
        "quality",
        "query",
        "service_tier",
        "stream",
        "stream_options",
    }
)
"""Fields of the outermost object on which it depends what a call costs."""

_OPTIONS = frozenset({"context_management", "memory_limit", "multi_agent", "prediction", "web_search_options"})
"""The same, but seldom there."""

_WHOLE_CONTEXT_KINDS = frozenset({"file", "input_file", "item_reference"})
_WHOLE_CONTEXT_KEYS = frozenset({"chat_template", "encrypted_content", "file_data", "file_url"})
_REWRITTEN = frozenset({"arguments", "functions", "response_format", "tools"})
"""Keys of what upstream may read, and write out anew for the model."""
_APART = frozenset({"functions", "response_format", "tool_choice", "tools"})
"""Fields of the outermost object that are no part of the input."""
_KNOWN = _FIELDS | _OPTIONS | _REWRITTEN
_ORDINARY_KEYS = frozenset(
    {"call_id", "content", "id", "messages", "model", "name", "output", "role", "status", "text"}
)
_ORDINARY_KINDS = frozenset({"function", "input_text", "message", "output_text", "text"})
"""What most objects are made of, and what most are."""
_TEXT_KEYS = _ORDINARY_KEYS | {
    *("max_completion_tokens", "max_output_tokens", "max_tokens", "n", "seed", "stream", "temperature", "top_p"),
    *("description", "properties", "required", "stream_options", "strict", "user"),
}
"""Keys that tell of nothing but text, for all that their own names say."""
_OPAQUE = frozenset({"metadata", "attributes", "parameters", "schema", "filters", "input_schema"})
"""Keys whose values are data or schemas: nothing in them is an image or a file."""
_PICTURED = re.compile("image|screenshot")
_FETCHED = re.compile("video|^(?!image|input_image|server).*_url$")
"""Names of what is of unknown size: films, and what upstream fetches from elsewhere, but for images."""

_FEW_PIECES = 10_000
"""A body of more is first searched for what could be more than text: to parse it makes as many objects."""
_QUOTED_FIELDS = tuple(f'"{name}"'.encode() for name in sorted(_FIELDS))
_MARKS = (
    *(f'"{name}"'.encode() for name in sorted(_WHOLE_CONTEXT_KINDS | _WHOLE_CONTEXT_KEYS | _REWRITTEN | _OPTIONS)),
    b'"compaction_trigger"',
    b'"format"',
    b'_url"',
    b"image_",
    b'image"',
    b'images"',
    b"screenshot",
    b'video"',
    b"video_",
)
"""What may be more than text, in lower case."""
_ESCAPED_LETTER = re.compile(rb"\\u(?:00[4-7]|017f|212a)")
_OTHER_CASES = ("\u017f".encode(), "\u212a".encode())
"""The two letters beyond ASCII that are the other case of one of ours, of s and of k."""


@dataclass(slots=True)
class Content:
    """What was found."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """The outermost object, its names in lower case; empty where nothing in it is of interest."""
    images: int = 0
    image_bytes: int = 0
    """So many of the body's bytes are images, and no text."""
    is_whole: bool = True
    """Whether all that the model reads is in the body; otherwise some of it is elsewhere, or compressed."""
    is_rewritten: bool = False
    """Whether upstream may write some of it out anew before the model reads it."""
    compacts: bool = False
    """Whether the model may be made to sum up its input on the way."""
    brings_tools: bool = False
    """Whether an item of the input has tools with it that upstream runs."""


_PLAIN = Content()


def read(body: bytes) -> Content:
    """What is in a JSON object.

    Raises:
        InvalidRequest: a key stands twice in one object, or a field's name is not written as OpenAI writes it.
    """
    if len(body) > _FEW_PIECES and _pieces(body) > _FEW_PIECES and _is_plain(body):
        return _PLAIN
    outermost = parse(body)
    content = Content(fields=outermost)
    for key in outermost:
        if key not in _KNOWN and (name := key.casefold()) in _KNOWN:
            raise errors.InvalidRequest(f"Unknown parameter: '{key}'. Did you mean '{name}'?", param=key)
    content.is_rewritten = not _REWRITTEN.isdisjoint(outermost)
    content.compacts = outermost.get("context_management") is not None
    _look_into(content, {key: value for key, value in outermost.items() if key not in _APART})
    return content


def parse(body: bytes) -> Mapping[str, Any]:
    """A JSON object; an empty body is an empty one.

    Raises:
        InvalidRequest: it is none, or a key stands twice in one object.
    """
    try:
        value: Mapping[str, Any] = jiter.from_json(body or b"{}", cache_mode="keys", catch_duplicate_keys=True)
    except ValueError as error:
        raise errors.InvalidRequest(f"The request body is not valid JSON: {error}.", code="invalid_json") from None
    return value


def _pieces(body: bytes) -> int:
    return body.count(b"{") + body.count(b"[") + body.count(b'",')


def _is_plain(body: bytes) -> bool:
    """Whether the body is nothing but text and fields, each written once and as OpenAI writes it."""
    lower = body.lower()
    if any(mark in lower for mark in _MARKS) or any(letter in body for letter in _OTHER_CASES):
        return False
    if b"\\u" in lower and _ESCAPED_LETTER.search(lower):
        return False
    for name in _QUOTED_FIELDS:
        first = lower.find(name)
        if first >= 0 and (not body.startswith(name, first) or lower.find(name, first + 1) >= 0):
            return False
    return True


def _look_into(content: Content, item: Mapping[str, Any]) -> None:
    """Take in what stands in an object."""
    images, is_image = 0, False
    for key, value in item.items():
        if key in _ORDINARY_KEYS and isinstance(value, str):
            continue  # which most are
        name = key.casefold()
        if value is None or name in _OPAQUE:
            continue
        if name == "type" and isinstance(value, str):
            is_image |= _take_kind(content, value.casefold())
        elif name not in _TEXT_KEYS:
            images += _take_member(content, name, value)
        if isinstance(value, dict):
            _look_into(content, value)
        elif isinstance(value, list):
            _look_through(content, value)
    content.images += max(images, int(is_image))


def _look_through(content: Content, elements: list[Any]) -> None:
    for element in elements:
        if isinstance(element, dict):
            _look_into(content, element)
        elif isinstance(element, list):
            _look_through(content, element)


def _take_kind(content: Content, kind: str) -> bool:
    """Take in what an object says it is: whether that is an image."""
    if kind in _ORDINARY_KINDS:
        return False
    content.is_whole &= not (kind in _WHOLE_CONTEXT_KINDS or _FETCHED.search(kind))
    content.compacts |= kind == "compaction_trigger"
    return _PICTURED.search(kind) is not None


def _take_member(content: Content, name: str, value: Any) -> int:
    """Take in a member of an object that is not quite ordinary: how many images stand in it, not in what is in it."""
    content.is_whole &= not (name in _WHOLE_CONTEXT_KEYS or _FETCHED.search(name))
    content.is_rewritten |= name in ("arguments", "format")
    if name == "tools" and isinstance(value, list):
        content.brings_tools |= any(not hosted_tools.LOCAL.issuperset(hosted_tools.types(tool)) for tool in value)
    if not value or not _PICTURED.search(name):
        return 0
    if isinstance(value, list):
        return sum(isinstance(element, str) for element in value)
    url = value.get("url") if isinstance(value, dict) else value
    if isinstance(url, str) and url.startswith("data:image/"):
        content.image_bytes += len(url)
    return int(isinstance(value, str | dict))
