"""The canned answer to a chat request: the same request always gets the same one, and it says that it is canned.

`answer` decides what is said; `completion` and `chunks` put it into the two shapes of OpenAI's API.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Any, Final

from local.offline.catalog import CREATED
from local.offline.instance import instance_of
from local.offline.tokens import attachments_of, count_prompt, split_tokens, text_of
from local.offline.tool_calls import ToolCall, calls_for, is_forced_by_name

_INTRODUCTION: Final = "This is a canned answer from Trefoil's offline upstream; no model was asked."
_FLOURISH: Final = "(naïve café — 漢字 🍀)"
_QUOTED_CHARACTERS: Final = 300  # of the user's text: an answer to a long document is still short
_TOKENS_A_CHUNK_WHEN_BIG: Final = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the `n` answers: the tokens of its text, or the tool calls in its place."""

    tokens: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str

    @property
    def completion_tokens(self) -> int:
        """What the choice adds to `usage.completion_tokens`."""
        return len(self.tokens) + sum(_call_tokens(call) for call in self.tool_calls)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: what the two shapes have in common."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    tokens_a_chunk: int
    top_logprobs: int | None  # None: no logprobs were asked for
    usage_in_stream: bool
    nousage: bool


def answer(body: Mapping[str, Any], *, big_kb: int = 0, nousage: bool = False) -> Answer:
    """The answer to a request that chat_rules.check has passed; with `big_kb` its text is at least so long."""
    seed = request_hash(body)
    return Answer(
        id=f"chatcmpl-{seed[:29]}",
        model=body["model"],
        choices=tuple(_choice(body, index, seed, big_kb) for index in range(body.get("n") or 1)),
        prompt_tokens=count_prompt(body),
        tokens_a_chunk=_TOKENS_A_CHUNK_WHEN_BIG if big_kb else 1,
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
        usage_in_stream=bool((body.get("stream_options") or {}).get("include_usage")) and not nousage,
        nousage=nousage,
    )


def shortened(whole: Answer, limit: int) -> Answer:
    """The same answer with no more than `limit` tokens in each of its texts."""
    choices = [
        choice if len(choice.tokens) <= limit else replace(choice, tokens=choice.tokens[:limit], finish_reason="length")
        for choice in whole.choices
    ]
    return replace(whole, choices=tuple(choices))


def request_hash(body: Mapping[str, Any]) -> str:
    """A hash of what is asked, not of how it is delivered: streamed and plain, a request has the same one."""
    asked = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def completion(whole: Answer) -> dict[str, Any]:
    """The `chat.completion` object."""
    choices = [_message_choice(whole, index, choice) for index, choice in enumerate(whole.choices)]
    return {**_envelope(whole, "chat.completion", choices), **({} if whole.nousage else {"usage": _usage(whole)})}


def chunks(whole: Answer) -> Iterator[dict[str, Any]]:
    """The `chat.completion.chunk` objects in order; several choices take turns, as the service's do."""
    usage: dict[str, Any] = {"usage": None} if whole.usage_in_stream else {}
    streams = [_deltas(whole, index, choice) for index, choice in enumerate(whole.choices)]
    for choice in filter(None, chain.from_iterable(zip_longest(*streams))):
        yield {**_envelope(whole, "chat.completion.chunk", [choice]), **usage}
    if whole.usage_in_stream:
        yield {**_envelope(whole, "chat.completion.chunk", []), "usage": _usage(whole)}


def _choice(body: Mapping[str, Any], index: int, seed: str, big_kb: int) -> Choice:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if calls := calls_for(body, f"{seed}/{index}"):
        reason = "stop" if is_forced_by_name(body) else "tool_calls"
        kept = _cut_calls(calls, limit)
        return Choice((), kept, reason if kept == calls else "length")
    text = _before_stop(_text(body, index, big_kb), body.get("stop"))
    tokens = tuple(split_tokens(text))
    if limit is not None and limit < len(tokens):
        return Choice(tokens[:limit], (), "length")
    return Choice(tokens, (), "stop")


def _cut_calls(calls: tuple[ToolCall, ...], limit: int | None) -> tuple[ToolCall, ...]:
    """The calls as far as the limit reaches: the arguments of the last one may be half of a JSON text."""
    if limit is None:
        return calls
    kept: list[ToolCall] = []
    for call in calls:
        room = limit - sum(_call_tokens(one) for one in kept) - len(split_tokens(call.name))
        if room < 0:
            break
        kept.append(ToolCall(call.id, call.name, "".join(split_tokens(call.arguments)[:room])))
    return tuple(kept)


def _call_tokens(call: ToolCall) -> int:
    return len(split_tokens(call.name)) + len(split_tokens(call.arguments))


def _text(body: Mapping[str, Any], index: int, big_kb: int) -> str:
    wanted = body.get("response_format") or {"type": "text"}
    if wanted["type"] == "json_schema":
        schema = wanted["json_schema"]
        return json.dumps(instance_of(schema.get("schema") or {"type": "object"}), ensure_ascii=False)
    count = body.get("n") or 1
    mark = f"(Choice {index + 1} of {count}) " if count > 1 else ""
    filler = _filler(big_kb)
    heard = _heard(body["messages"])
    if wanted["type"] == "json_object":
        return json.dumps({"canned": True, "note": mark + _INTRODUCTION, "heard": heard + filler}, ensure_ascii=False)
    return f"{mark}{_INTRODUCTION} {heard} {_FLOURISH}{filler}"


def _heard(messages: Sequence[Mapping[str, Any]]) -> str:
    """What is repeated: the tools' results that came last, or else the last thing the user said."""
    if messages[-1]["role"] == "tool":
        return f"Your tool answered: {_quoted(text_of(messages[-1].get('content')))}."
    last = next((message for message in reversed(messages) if message["role"] == "user"), None)
    if last is None:
        return "There was no message from a user."
    attached = attachments_of(last.get("content"))
    also = f" With it came {', '.join(attached)}." if attached else ""
    return f"You wrote: {_quoted(text_of(last.get('content')))}.{also}"


def _quoted(text: str) -> str:
    if len(text) > _QUOTED_CHARACTERS:
        return f"“{text[:_QUOTED_CHARACTERS]}…” ({len(text):,} characters in all)"
    return f"“{text}”"


def _filler(kilobytes: int) -> str:
    line = f" {_FLOURISH}"
    return line * -(-kilobytes * 1024 // len(line.encode()))


def _before_stop(text: str, stop: str | Sequence[str] | None) -> str:
    stops = [stop] if isinstance(stop, str) else stop or []
    return text[: min((text.index(one) for one in stops if one and one in text), default=len(text))]


def _envelope(whole: Answer, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": whole.id,
        "object": kind,
        "created": CREATED,
        "model": whole.model,
        "service_tier": "default",
        "system_fingerprint": "fp_offline0",
        "choices": choices,
    }


def _usage(whole: Answer) -> dict[str, Any]:
    produced = sum(choice.completion_tokens for choice in whole.choices)
    return {
        "prompt_tokens": whole.prompt_tokens,
        "completion_tokens": produced,
        "total_tokens": whole.prompt_tokens + produced,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _message_choice(whole: Answer, index: int, choice: Choice) -> dict[str, Any]:
    content = None if choice.tool_calls else "".join(choice.tokens)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    if choice.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.tool_calls
        ]
    probable = logprobs(choice.tokens, 0, whole.top_logprobs)
    return {"index": index, "message": message, "logprobs": probable, "finish_reason": choice.finish_reason}


def _deltas(whole: Answer, index: int, choice: Choice) -> Iterator[dict[str, Any]]:
    """The entries of `choices` that one choice is streamed in: its role, its text or calls, its finish_reason."""

    def entry(delta: dict[str, Any], logprobs: Any = None, finish_reason: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}

    yield entry({"role": "assistant", "content": None if choice.tool_calls else "", "refusal": None})
    for start in range(0, len(choice.tokens), whole.tokens_a_chunk):
        tokens = choice.tokens[start : start + whole.tokens_a_chunk]
        yield entry({"content": "".join(tokens)}, logprobs(tokens, start, whole.top_logprobs))
    for position, call in enumerate(choice.tool_calls):
        named = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield entry({"tool_calls": [{"index": position, **named}]})
        for fragment in split_tokens(call.arguments):
            yield entry({"tool_calls": [{"index": position, "function": {"arguments": fragment}}]})
    yield entry({}, finish_reason=choice.finish_reason)


def logprobs(tokens: Sequence[str], first: int, top: int | None) -> dict[str, Any] | None:
    """Made-up log probabilities; `first` is the place of the first token in the text."""
    if top is None:
        return None
    content = []
    for place, token in enumerate(tokens, first):
        likeliest = -(1 + place % 9) / 100
        others = [_logprob(token + "·" * rank, likeliest - rank) for rank in range(top)]
        content.append({**_logprob(token, likeliest), "top_logprobs": others})
    return {"content": content, "refusal": None}


def _logprob(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": round(logprob, 2), "bytes": list(token.encode())}
