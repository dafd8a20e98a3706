"""What an answer says that the call used. Pure.

The numbers are upstream's word. One that can be no count, such as a negative one, counts as not said; a whole report is
worth nothing if that goes for what was read or what was produced, for then nobody knows what to charge.

https://platform.openai.com/docs/api-reference/chat/object#chat-object-usage
https://platform.openai.com/docs/api-reference/responses/object#responses-object-usage
https://platform.openai.com/docs/api-reference/audio/json-object
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic_core import ValidationError

from core.endpoints import Endpoint
from core.model import Model, left_out
from core.schemas import Item
from core.usage import Usage

_FREE = frozenset({"moderations.create", "responses.input_tokens.count"})
_LARGEST_COUNT = 1_000_000_000
"""What is above it is no count of anything in one call."""
_DEFAULT_TIERS = frozenset({"auto", "default", "standard"})
_LONGEST_TIER = 32

# The same count under the names that OpenAI's own endpoints, and other services' compatible ones, have for it.
_READ = ("prompt_tokens", "input_tokens")
_PRODUCED = ("completion_tokens", "output_tokens")
_READ_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_PRODUCED_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_CACHED = ("cached_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens")
_WRITTEN = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
_TOLD_BESIDE_DETAILS = (*_CACHED, *_WRITTEN, "cached_tokens_details")
_AUDIO = ("audio_tokens", "cached_audio_tokens")
_IMAGE = ("image_tokens", "cached_image_tokens")


class _Entry(Model):
    """Of an item that a response's model made, or of a tool that it could use, what tells what that cost."""

    type: Any = None
    status: Any = None
    action: Any = None
    container_id: Any = None
    environment: Any = None
    container: Any = None


class _Answer(Model):
    """What is read of an answer. The rest makes no Python objects."""

    usage: Any = None
    tool_usage: Any = None
    service_tier: Any = None
    duration: Any = None
    output: list[Annotated[_Entry, left_out]] | Any = None
    tools: list[Annotated[_Entry, left_out]] | Any = None


_Answer.prepare()


class _Wrapped(_Answer):
    """An answer with images in it, or an event that may have an answer in it."""

    data: list[Annotated[Item, left_out]] | Any = None
    response: _Answer | Any = None


def in_answer(endpoint: Endpoint, content: bytes) -> Usage | None:
    """What a whole answer with a success status reports; None where it reports nothing that can be relied on.

    An answer with images and without a report used as many `images`. Whether its model is paid by the image, and not by
    tokens that upstream kept to itself, is for the caller to know.
    """
    if endpoint.name in _FREE:
        return Usage()
    gives_images = _gives_images(endpoint)
    try:
        answer = (_Wrapped if gives_images else _Answer).model_validate_json(content)
    except ValidationError:  # speech, subtitles, or nothing of upstream's making
        return None
    if answer.usage is not None:
        return _reported(answer, gives_images=gives_images)
    if isinstance(answer, _Wrapped):
        return Usage(images=len(answer.data)) if isinstance(answer.data, list) else None
    return _listened(answer.duration) if endpoint.name.startswith("audio.") else None


def in_event(endpoint: Endpoint, data: bytes) -> Usage | None:
    """What one event of a stream reports, by its data."""
    try:
        event = _Wrapped.model_validate_json(data)
    except ValidationError:
        return None
    answer = event.response if isinstance(event.response, _Answer) else event
    return _reported(answer, gives_images=_gives_images(endpoint))


def _gives_images(endpoint: Endpoint) -> bool:
    return endpoint.name.startswith("images.")


def _reported(answer: _Answer, *, gives_images: bool) -> Usage | None:
    usage = answer.usage
    if not isinstance(usage, dict):
        return None
    if usage.get("type") == "duration":
        return _listened(usage.get("seconds"))
    counted = _tokens(usage)
    if counted is None:
        return None
    if gives_images and not _within(usage, _PRODUCED_DETAILS):
        counted = counted._replace(output_image_tokens=counted.output_tokens)
    if answer.output is not None or answer.tool_usage is not None:
        counted = _with_tools(counted, answer)
    tier = _tier(answer.service_tier)
    return counted._replace(service_tier=tier) if tier else counted


def _tokens(usage: Mapping[str, Any]) -> Usage | None:
    """The tokens of a report. None of a kind is more than all of them."""
    read, produced, total = _first(_READ, usage), _first(_PRODUCED, usage), _first(("total_tokens",), usage)
    if read is None or (produced is None and (total is None or any(usage.get(name) is not None for name in _PRODUCED))):
        return None
    # Gemini and Grok leave what was thought out of the one count, but not out of the total.
    produced = max(produced or 0, (total or 0) - read)
    read_parts, produced_parts = _within(usage, _READ_DETAILS), _within(usage, _PRODUCED_DETAILS)
    if not (any(read_parts.values()) or any(produced_parts.values()) or any(map(usage.get, _TOLD_BESIDE_DETAILS))):
        return Usage(input_tokens=read, output_tokens=produced)  # as most calls use no kind of tokens but text
    cached_parts = _within({**usage, **read_parts}, ("cached_tokens_details",))
    cached = _part(_CACHED, read_parts, usage, most=read)
    audio = _part(_AUDIO, read_parts, most=read)
    image = _part(_IMAGE, read_parts, most=read - audio)
    cached_audio = _part(_AUDIO, cached_parts, most=min(audio, cached))
    spoken = _part(_AUDIO, produced_parts, most=produced)
    return Usage(
        input_tokens=read,
        cached_input_tokens=cached,
        cache_write_tokens=_part(_WRITTEN, read_parts, usage, most=read - cached),
        input_audio_tokens=audio,
        cached_audio_tokens=cached_audio,
        input_image_tokens=image,
        cached_image_tokens=_part(_IMAGE, cached_parts, most=min(image, cached - cached_audio)),
        output_tokens=produced,
        reasoning_tokens=_part(("reasoning_tokens",), produced_parts, most=produced),
        output_audio_tokens=spoken,
        output_image_tokens=_part(_IMAGE, produced_parts, most=produced - spoken),
    )


def _with_tools(counted: Usage, answer: _Answer) -> Usage:
    """Together with what the tools cost that a response's model used at upstream."""
    tools = answer.tool_usage if isinstance(answer.tool_usage, dict) else {}
    # The report of the image tool's model stands beside the response's own.
    pictures = _tokens(_within(tools, ("image_gen",))) or Usage()
    searches = _first(("num_requests",), _within(tools, ("web_search",)))
    items = answer.output if isinstance(answer.output, list) else []
    return counted._replace(
        input_tokens=counted.input_tokens + pictures.input_tokens,
        cached_input_tokens=counted.cached_input_tokens + pictures.cached_input_tokens,
        input_image_tokens=counted.input_image_tokens + pictures.input_image_tokens,
        cached_image_tokens=counted.cached_image_tokens + pictures.cached_image_tokens,
        output_tokens=counted.output_tokens + pictures.output_tokens,
        output_image_tokens=counted.output_image_tokens + pictures.output_tokens,
        web_searches=sum(map(_is_web_search, items)) if searches is None else searches,
        file_searches=sum(item.type == "file_search_call" and item.status == "completed" for item in items),
        containers=len(_started_containers(answer, items)),
    )


def _is_web_search(item: _Entry) -> bool:
    """Whether an item is a search that is paid for: opening a page that was found is not.

    https://platform.openai.com/docs/guides/tools-web-search#output-and-citations
    """
    kind = item.action.get("type", "search") if isinstance(item.action, dict) else "search"
    return item.type == "web_search_call" and item.status == "completed" and kind == "search"


def _started_containers(answer: _Answer, items: list[_Entry]) -> set[str]:
    """Where code ran, without the containers that the request named: those were there, and paid for, before."""
    used = [_container(item) for item in items]
    named = [tool.container for tool in answer.tools] if isinstance(answer.tools, list) else []
    return {one for one in used if isinstance(one, str) and one not in named}


def _container(item: _Entry) -> object:
    if item.type == "code_interpreter_call":
        return item.container_id
    return item.environment.get("container_id") if isinstance(item.environment, dict) else None


def _listened(seconds: object) -> Usage | None:
    if _count(seconds) is None or not isinstance(seconds, int | float):
        return None
    return Usage(audio_milliseconds=math.ceil(seconds * 1000))


def _tier(value: object) -> str | None:
    is_tier = isinstance(value, str) and len(value) <= _LONGEST_TIER and value not in _DEFAULT_TIERS
    return str(value) if is_tier else None


def _within(value: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The first object under one of the names, or an empty one."""
    for name in names:
        if isinstance(found := value.get(name), dict):
            return found
    return {}


def _part(names: tuple[str, ...], *places: Mapping[str, Any], most: int) -> int:
    return min(_first(names, *places) or 0, most)


def _first(names: tuple[str, ...], *places: Mapping[str, Any]) -> int | None:
    """The first count under one of the names."""
    for place in places:
        for name in names:
            if name in place and (count := _count(place[name])) is not None:
                return count
    return None


def _count(value: object) -> int | None:
    """A number as a count, rounded up; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST_COUNT:
        return None  # nor is NaN between two numbers
    return math.ceil(value)
