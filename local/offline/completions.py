"""Completions, the older sort: a prompt goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Final

from local.offline import canned
from local.offline.call import Call, chunk_events, document
from local.offline.catalog import CREATED
from local.offline.checks import Range, check_model, check_ranges, check_stop, check_types
from local.offline.embeddings import token_lists
from local.offline.refusal import Refusal
from local.offline.script import Reply
from local.offline.shelf import Json

_RANGES: Final = {
    "temperature": Range("decimal", 0, 2),
    "top_p": Range("decimal", 0, 1),
    "presence_penalty": Range("decimal", -2, 2),
    "frequency_penalty": Range("decimal", -2, 2),
    "n": Range("integer", 1, 128),
    "best_of": Range("integer", 1, 20),
    "max_tokens": Range("integer", 0),
    "logprobs": Range("integer", 0, 5),
    "seed": Range("integer"),
}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "stream": (bool,),
    "echo": (bool,),
    "stop": (str, list),
    "stream_options": (dict,),
    "suffix": (str,),
    "user": (str,),
}
_USUAL_MAX_TOKENS: Final = 16


@dataclass(frozen=True, slots=True)
class _Choice:
    """One continuation: what of the prompt is echoed, and the tokens after it."""

    echoed: tuple[str, ...]
    tokens: tuple[str, ...]
    finish_reason: str


def create(call: Call) -> Reply:
    """POST /v1/completions, plain or as events."""
    body = call.body
    _check(body)
    prompts = token_lists(body.get("prompt") or "<|endoftext|>", "prompt")
    answers = [_answer(body, "".join(prompt), call.behaviour.big_kb) for prompt in prompts]
    choices = [
        _Choice(tuple(prompt) if body.get("echo") else (), choice.tokens, choice.finish_reason)
        for prompt, answer in zip(prompts, answers, strict=True)
        for choice in answer.choices
    ]
    read = sum(len(prompt) for prompt in prompts)
    usage = None if call.behaviour.nousage else _usage(read, sum(len(choice.tokens) for choice in choices))
    head = {
        "id": f"cmpl-{canned.request_hash(body)[:29]}", "object": "text_completion", "created": CREATED,
        "model": body["model"], "system_fingerprint": "fp_offline0",
    }  # fmt: skip
    if body.get("stream"):
        return chunk_events(_chunks(head, choices, body, usage, answers[0].tokens_a_chunk))
    whole = [_entry(index, choice, body) for index, choice in enumerate(choices)]
    return document({**head, "choices": whole, **({"usage": usage} if usage else {})})


def _check(body: Mapping[str, Any]) -> None:
    check_model(body.get("model"))
    check_types(body, _TYPES)
    check_ranges(body, _RANGES)
    check_stop(body.get("stop"))
    if body.get("stream_options") and not body.get("stream"):
        raise Refusal(400, "'stream_options' is allowed only with 'stream'.", param="stream_options")
    if (body.get("best_of") or 20) < (body.get("n") or 1):
        raise Refusal(400, "'best_of' must not be less than 'n'.", param="best_of")
    if body.get("stream") and (body.get("best_of") or 1) > (body.get("n") or 1):
        raise Refusal(400, "'best_of' cannot be streamed.", param="best_of")


def _answer(body: Mapping[str, Any], prompt: str, big_kb: int) -> canned.Answer:
    chat = {
        "model": body["model"], "messages": [{"role": "user", "content": prompt}], "n": body.get("n"),
        "stop": body.get("stop"),
    }  # fmt: skip
    limit = body.get("max_tokens")
    if limit is None and not big_kb:
        limit = _USUAL_MAX_TOKENS
    answer = canned.answer(chat, big_kb=big_kb)
    if limit is None:
        return answer
    return canned.shortened(answer, limit)


def _usage(read: int, produced: int) -> Json:
    return {"prompt_tokens": read, "completion_tokens": produced, "total_tokens": read + produced}


def _entry(index: int, choice: _Choice, body: Mapping[str, Any]) -> Json:
    tokens = (*choice.echoed, *choice.tokens)
    return _part(index, tokens, _logprobs(tokens, 0, 0, body.get("logprobs")), choice.finish_reason)


def _part(index: int, tokens: tuple[str, ...], logprobs: Json | None, finish_reason: str | None) -> Json:
    return {"text": "".join(tokens), "index": index, "logprobs": logprobs, "finish_reason": finish_reason}


def _chunks(
    head: Json, choices: list[_Choice], body: Mapping[str, Any], usage: Json | None, tokens_a_chunk: int
) -> Iterator[Json]:
    counts = bool((body.get("stream_options") or {}).get("include_usage")) and usage is not None
    extra: Json = {"usage": None} if counts else {}
    streams = [_parts(index, choice, body, tokens_a_chunk) for index, choice in enumerate(choices)]
    for part in filter(None, chain.from_iterable(zip_longest(*streams))):
        yield {**head, "choices": [part], **extra}
    if counts:
        yield {**head, "choices": [], "usage": usage}


def _parts(index: int, choice: _Choice, body: Mapping[str, Any], tokens_a_chunk: int) -> Iterator[Json]:
    """The entries of `choices` that one continuation is streamed in: the echo is one, and the reason comes last."""
    cuts = range(0, len(choice.tokens), tokens_a_chunk)
    pieces = [choice.echoed, *(choice.tokens[cut : cut + tokens_a_chunk] for cut in cuts)]
    place = offset = 0
    for piece in filter(None, pieces):
        yield _part(index, piece, _logprobs(piece, place, offset, body.get("logprobs")), None)
        place += len(piece)
        offset += len("".join(piece))
    yield _part(index, (), None, choice.finish_reason)


def _logprobs(tokens: tuple[str, ...], place: int, offset: int, top: int | None) -> Json | None:
    """The older shape of log probabilities; `place` and `offset` are those of the first token, in tokens and text."""
    found = canned.logprobs(tokens, place, top)
    if found is None:
        return None
    rows = found["content"]
    return {
        "tokens": list(tokens),
        "token_logprobs": [row["logprob"] for row in rows],
        "top_logprobs": [{one["token"]: one["logprob"] for one in row["top_logprobs"]} for row in rows],
        "text_offset": [offset + len("".join(tokens[:index])) for index in range(len(tokens))],
    }
