"""The most that a request can use, known before it is sent: so much is set aside for it from its app's budget. Pure.

A bound is never too low, whatever a client writes, if the model's service keeps to these:

- A token of text stands for at least one byte of it, as in every byte-level BPE (https://github.com/openai/tiktoken),
  so a body has no more tokens of text than bytes. What a chat's template puts around a message is shorter than the JSON
  around it: `{"role":"","content":""},` are 25 bytes, for four tokens at OpenAI
  (https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken). What it puts around them all is in
  `_TEMPLATE_TOKENS`.
- One turn of a model takes in no more than its context, and puts out no more than its maximum: what is longer is
  refused.
- `max_completion_tokens` or `max_tokens` bounds one answer, and `max_output_tokens` one turn of a response, reasoning
  included; `max_tool_calls` bounds the calls of upstream's own tools
  (https://platform.openai.com/docs/api-reference/responses/create).

What cannot be read from a request, such as the size of an image behind a URL, is bounded by the settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from core import content, forms, hosted_tools
from core.body import Body
from core.content import Content
from core.endpoints import Endpoint
from core.http import Request
from core.settings import LimitSettings
from core.usage import Usage

_TEMPLATE_TOKENS = 500
"""What a chat's template adds for all messages together: some 100 tokens for the open models that say most."""

_ASCII = bytes(range(128))
_EXPONENT = re.compile(rb"[0-9][eE][-+0-9]")
_EXPONENT_BYTES = 22
"""By so much a number can get longer that was written with an exponent: JavaScript writes 1e20 with all its zeros."""
_ESCAPE_BYTES = 2
"""By so much a byte beyond ASCII can get longer: the two bytes of an é become the six of an escape."""

_TURNS_BESIDE_TOOLS = 2
"""The last turn, and the one whose call of a tool is one too many and `will be ignored`."""

_PARTIAL_IMAGE_TOKENS = 100
"""https://platform.openai.com/docs/guides/image-generation#partial-images-cost"""

_GPT_IMAGE_1 = re.compile(r"gpt-image-1(-mini)?(-\d{4}-\d{2}-\d{2})?")
_GPT_IMAGE_1_TOKENS: Mapping[str, int] = {"low": 408, "medium": 1584}
_GPT_IMAGE_1_MOST_TOKENS = 6240
"""For one image of the dearest size (https://platform.openai.com/docs/guides/image-generation#cost-and-latency)."""

_SEARCHING_MODEL = re.compile(r"search-(preview|api)")
"""In the names of the models that search the web for every answer (`gpt-4o-search-preview`, `gpt-5-search-api`)."""

_LISTENING_TOKENS_PER_SECOND = 20
"""Ten are counted for a second of sound (https://platform.openai.com/docs/guides/realtime-costs); as many again for
where a long recording is cut into pieces that overlap, and for as many words as nobody says in a second.
"""
_TRANSCRIPT_TOKENS = 2000
"""As much may be written down of a recording however short: the maximum of gpt-4o-transcribe."""


_NOTHING = Usage()


class Bound(NamedTuple):
    """The most that a request can use, as far as it does not depend on which model answers it."""

    input_tokens: int | None = 0
    """What one turn takes in; None: as much as the model's context holds."""
    contexts: int | None = 1
    """Into so many contexts one turn's input has to fit; None: into no certain number."""
    turns: int = 1
    """So often the input is taken in, and paid."""
    answers: int = 0
    """So many can be put out in each turn."""
    answer_tokens: int | None = None
    """What each of them can have; None: as much as the model can put out."""
    more_output_tokens: int = 0
    """What is put out beside the answers, and not held to the model's maximum."""
    images: int = 0
    image_tokens: int = 0
    """What each of the images has that are made."""
    image_quality: str | None = None
    partial_images: int = 0
    """Before each image, so many sketches of it."""
    searches_as_model: int = 0
    """So often the web is searched by a model that always does."""
    other: Usage = _NOTHING
    """What is paid by another measure than tokens."""
    edits: Mapping[str, object] = MappingProxyType({})
    """The fields that have to be written into the JSON body for all this to hold."""
    unbounded: str | None = None
    """The parameter for which nothing of this holds: what it costs cannot be known before."""

    def usage(self, *, context_tokens: int | None, output_tokens: int | None, model: str | None = None) -> Usage | None:
        """The most that one model can use.

        Args:
            context_tokens: the most that it takes in; None where that is not known.
            output_tokens: the most that it puts out.
            model: its name at upstream.

        Returns:
            The sum of all tokens, whatever kinds they are of; None if there is no telling.
        """
        searches = self.searches_as_model if model and _SEARCHING_MODEL.search(model) else 0
        context = None if self.contexts is None or context_tokens is None else self.contexts * context_tokens
        taken_in = _least(None if searches else self.input_tokens, context)
        answer = _least(self.answer_tokens, output_tokens) if self.answers else 0
        if self.unbounded or taken_in is None or answer is None:
            return None
        drawn = self._drawn_tokens(model) if self.images else 0
        return self.other._replace(
            input_tokens=taken_in * self.turns,
            output_tokens=answer * self.answers * self.turns + self.more_output_tokens + drawn,
            images=self.images,
            web_searches=self.other.web_searches + searches,
        )

    def _drawn_tokens(self, model: str | None) -> int:
        each = self.image_tokens
        if model and _GPT_IMAGE_1.fullmatch(model):
            each = min(each, _GPT_IMAGE_1_TOKENS.get(self.image_quality or "", _GPT_IMAGE_1_MOST_TOKENS))
        return self.images * (each + self.partial_images * _PARTIAL_IMAGE_TOKENS)


def of(
    endpoint: Endpoint, asked: Body, request: Request, limits: LimitSettings, *, output_cap: int | None = None
) -> Bound | None:
    """What `request` can use at most; None where the endpoint costs nothing.

    Args:
        asked: what was read of its body.
        output_cap: the most tokens that one answer may have: a request that asks for more, or does not say, is held to
            it by `edits`.

    Raises:
        InvalidRequest: the body can be read in two ways.
    """
    make = _BOUNDS.get(endpoint.name)
    if make is None:
        return None
    found = content.read(request.body) if asked.fields is None else content.Content()
    return make(_Asked(asked, request, found, limits, output_cap))


class _Asked(NamedTuple):
    body: Body
    request: Request
    content: Content
    limits: LimitSettings
    output_cap: int | None

    def fields(self) -> Mapping[str, Any]:
        """The JSON body's own, whatever is in them."""
        return self.content.fields or content.parse(self.request.body)

    def text_tokens(self) -> int:
        """What the JSON body has of text and images."""
        shown = self.content.images * self.limits.image_tokens
        return len(self.request.body) - self.content.image_bytes + shown

    def prompt_tokens(self) -> int | None:
        """What a model is given to read; None where not all of it is in the body."""
        if not self.content.is_whole or self.body.references:
            return None
        rewriting = _rewriting(self.request.body) if self.content.is_rewritten else 0
        return self.text_tokens() + rewriting + _TEMPLATE_TOKENS

    def other(self, **amounts: int) -> Usage:
        """What is paid by another measure than tokens, and at which service tier."""
        tier = self.body.call.service_tier
        return Usage(**amounts, service_tier=tier) if tier is not None or any(amounts.values()) else _NOTHING


def _rewriting(body: bytes) -> int:
    """By so many bytes JSON gets longer at most, where upstream reads it and writes it out for the model: with a blank
    after each comma and colon, with other numbers, and with escapes.
    """
    blanks = body.count(b",") + body.count(b":")
    numbers = len(_EXPONENT.findall(body)) * _EXPONENT_BYTES
    return blanks + numbers + len(body.translate(None, _ASCII)) * _ESCAPE_BYTES


def _chat(asked: _Asked) -> Bound:
    call, fields = asked.body.call, asked.content.fields
    tools = hosted_tools.read(fields.get("tools"))
    searches = fields.get("web_search_options") is not None
    answers = call.n or 1
    # Which of the two an upstream heeds is its own affair.
    named = {"max_tokens": call.max_tokens, "max_completion_tokens": call.max_completion_tokens}
    answer, edits = _capped(named, "max_completion_tokens", asked.output_cap)
    return Bound(
        input_tokens=None if searches or tools.are_told_more else asked.prompt_tokens(),
        answers=answers,
        answer_tokens=answer,
        # What was predicted and did not come is paid as if it had come.
        more_output_tokens=len(asked.request.body) * answers if fields.get("prediction") is not None else 0,
        searches_as_model=answers,
        other=asked.other(web_searches=answers if searches else 0),
        edits=edits,
        unbounded=tools.unbounded or ("tools" if tools.loop else None),
    )


def _completion(asked: _Asked) -> Bound:
    call, fields = asked.body.call, asked.fields()
    prompts = _prompts(fields.get("prompt"))
    answers = prompts * max(call.n or 1, call.best_of or 1)
    answer, edits = _capped({"max_tokens": call.max_tokens or None}, "max_tokens", asked.output_cap)
    if call.max_tokens == 0:
        answer, edits = 0, {}
    return Bound(
        input_tokens=asked.prompt_tokens(),
        contexts=prompts,
        answers=answers,
        answer_tokens=answer,
        more_output_tokens=len(asked.request.body) * answers if fields.get("echo") else 0,
        other=asked.other(),
        edits=edits,
    )


def _prompts(prompt: Any) -> int:
    """How many are completed: a list of numbers is one."""
    if not isinstance(prompt, list) or all(isinstance(token, int) for token in prompt):
        return 1
    return len(prompt)


def _response(asked: _Asked) -> Bound:
    call, fields = asked.body.call, asked.content.fields
    tools = hosted_tools.read(fields.get("tools"))
    answer, edits = _capped({"max_output_tokens": call.max_output_tokens}, "max_output_tokens", asked.output_cap)
    calls, turns = 0, 1
    if tools.loop:
        calls = asked.limits.tool_calls if call.max_tool_calls is None else call.max_tool_calls
        turns = calls + _TURNS_BESIDE_TOOLS
        if call.max_tool_calls is None:
            edits = {**edits, "max_tool_calls": calls}
    return Bound(
        input_tokens=None if tools.are_told_more else asked.prompt_tokens(),
        # Each turn may be followed by one that sums up.
        turns=turns * 2 if asked.content.compacts else turns,
        answers=1,
        answer_tokens=answer,
        other=asked.other(
            web_searches=calls if tools.search_the_web else 0,
            file_searches=calls if tools.search_files else 0,
            # One more than there are calls: it is started before it is known whether there will be one.
            containers=tools.new_container_units * (calls + 1) + tools.container_units,
        ),
        edits=edits,
        unbounded=tools.unbounded or _beyond_bounds(asked),
    )


def _beyond_bounds(asked: _Asked) -> str | None:
    """What makes a response cost what cannot be known, but for its own tools."""
    fields = asked.content.fields
    if isinstance(fields.get("prompt"), dict):
        return "prompt"  # a stored one brings a model and tools of its own
    if fields.get("multi_agent") is not None:
        return "multi_agent"
    return "input" if asked.content.brings_tools else None


def _compaction(asked: _Asked) -> Bound:
    return Bound(input_tokens=asked.prompt_tokens(), answers=1, other=asked.other(), unbounded=_beyond_bounds(asked))


def _conversation(asked: _Asked) -> Bound | None:
    """Free in itself. But a later response would run the tools that lie in its items, and nobody would know."""
    return Bound(unbounded="items") if asked.content.brings_tools else None


def _embedding(asked: _Asked) -> Bound:
    # Each input fills a context of its own. The marks around one are fewer than its own quotation marks and comma.
    fetched = not asked.content.is_whole or bool(asked.body.references)
    return Bound(
        input_tokens=asked.text_tokens(), contexts=None, other=asked.other(), unbounded="input" if fetched else None
    )


def _image(asked: _Asked) -> Bound:
    call = asked.body.call
    if asked.body.fields is None:
        fields = asked.fields()
        shown = max(asked.content.images, sum(_count(fields.get(name)) for name in ("image", "images", "mask")))
        text_bytes = len(asked.request.body) - asked.content.image_bytes
        quality = fields.get("quality")
    else:
        parts = forms.parts(asked.request.body, asked.request.headers.get("content-type", ""))
        shown = sum(part.is_file or part.name.startswith(("image", "mask")) for part in parts)
        text_bytes = _form_bytes(asked.body)
        qualities = asked.body.fields.get("quality", ())
        quality = qualities[0] if len(qualities) == 1 else None
    images = call.n or 1
    return Bound(
        input_tokens=text_bytes + shown * asked.limits.image_tokens,
        contexts=None,
        # Several images are paid as if each had been asked for alone.
        turns=images,
        images=images,
        image_tokens=asked.limits.image_output_tokens,
        image_quality=quality if isinstance(quality, str) else None,
        partial_images=call.partial_images or 0,
        other=asked.other(),
    )


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list) else int(value is not None)


def _speech(asked: _Asked) -> Bound:
    text = asked.fields().get("input")
    # Counted as the languages do that count most.
    characters = len(text.encode("utf-16-le")) // 2 if isinstance(text, str) else len(asked.request.body)
    return Bound(
        input_tokens=len(asked.request.body),
        contexts=None,
        more_output_tokens=characters * asked.limits.speech_tokens_per_character,
        other=asked.other(characters=characters),
    )


def _transcription(asked: _Asked) -> Bound:
    seconds = -(-len(asked.request.body) // asked.limits.audio_bytes_per_second) + 1
    heard = seconds * _LISTENING_TOKENS_PER_SECOND
    return Bound(
        input_tokens=heard + _form_bytes(asked.body) + _TEMPLATE_TOKENS,
        contexts=None,
        more_output_tokens=heard + _TRANSCRIPT_TOKENS,
        other=asked.other(audio_milliseconds=seconds * 1000),
    )


def _form_bytes(body: Body) -> int:
    """How much text is in a form."""
    return sum(len(name) + len(value.encode()) for name, values in (body.fields or {}).items() for value in values)


def _file_search(asked: _Asked) -> Bound:
    return Bound(other=Usage(file_searches=max(1, _count(asked.fields().get("query")))))


def _container(asked: _Asked) -> Bound:
    return Bound(other=Usage(containers=hosted_tools.units(asked.fields().get("memory_limit"))))


def _capped(
    named: Mapping[str, int | None], otherwise: str, cap: int | None
) -> tuple[int | None, Mapping[str, object]]:
    """The most tokens of an answer, and what has to be written into the request for it.

    Args:
        named: the fields that may say so, with what the request has in them. 0 says nothing.
        otherwise: the field to write where it has none.
    """
    given = {name: tokens for name, tokens in named.items() if tokens}
    if cap is None:
        return max(given.values(), default=None), {}
    if not given:
        return cap, {next((name for name in named if named[name] is not None), otherwise): cap}
    return min(cap, max(given.values())), {name: cap for name, tokens in given.items() if tokens > cap}


def _least(one: int | None, other: int | None) -> int | None:
    """The smaller of two, of which either may not be known."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


_BOUNDS: Mapping[str, Callable[[_Asked], Bound | None]] = {
    "chat.completions.create": _chat,
    "completions.create": _completion,
    "responses.create": _response,
    "responses.compact": _compaction,
    "embeddings.create": _embedding,
    "images.generate": _image,
    "images.edit": _image,
    "images.create_variation": _image,
    "audio.speech.create": _speech,
    "audio.transcriptions.create": _transcription,
    "audio.translations.create": _transcription,
    "conversations.create": _conversation,
    "conversations.items.create": _conversation,
    "vector_stores.search": _file_search,
    "containers.create": _container,
}
