"""A response as the events in which it is streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from local.offline.shelf import Json
from local.offline.tokens import split_tokens

_EMPTY: Final[dict[str, Json]] = {
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "reasoning": {"summary": []},
}
_PADDED_CHARACTERS: Final = 16  # each delta is filled up, so that the length of an event does not give its text away


def events(final: Json, *, tokens_a_chunk: int, obfuscates: bool) -> Iterator[Json]:
    """All events of a response in their order, but for the `sequence_number`."""
    start = {**final, "status": "in_progress", "completed_at": None, "incomplete_details": None}
    start |= {"output": [], "usage": None}
    if final["background"]:
        start["status"] = "queued"
    yield {"type": "response.created", "response": start}
    if final["background"]:
        yield {"type": "response.queued", "response": start}
    yield {"type": "response.in_progress", "response": {**start, "status": "in_progress"}}
    for index, item in enumerate(final["output"]):
        for event in _item_events(item, tokens_a_chunk):
            placed = {**event, "output_index": index}
            if obfuscates and "delta" in placed:
                placed["obfuscation"] = "x" * max(0, _PADDED_CHARACTERS - len(placed["delta"]))
            yield placed
    yield {"type": f"response.{final['status']}", "response": final}


def _item_events(item: Json, tokens_a_chunk: int) -> Iterator[Json]:
    """The events of one item of the output."""
    kind = item["type"]
    status = {} if kind == "reasoning" else {"status": "in_progress"}
    yield {"type": "response.output_item.added", "item": {**item, **_EMPTY[kind], **status}}
    inner = {"message": _message, "function_call": _function_call, "reasoning": _reasoning}[kind]
    for event in inner(item, tokens_a_chunk):
        yield {**event, "item_id": item["id"]}
    yield {"type": "response.output_item.done", "item": item}


def _message(item: Json, tokens_a_chunk: int) -> Iterator[Json]:
    for index, part in enumerate(item["content"]):
        place = {"content_index": index}
        empty = {**part, "text": "", "logprobs": []}
        yield {"type": "response.content_part.added", **place, "part": empty}
        for start, delta in _deltas(part["text"], tokens_a_chunk):
            logprobs = [_streamed(one) for one in part["logprobs"][start : start + tokens_a_chunk]]
            yield {"type": "response.output_text.delta", **place, "delta": delta, "logprobs": logprobs}
        logprobs = [_streamed(one) for one in part["logprobs"]]
        yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": logprobs}
        yield {"type": "response.content_part.done", **place, "part": part}


def _function_call(item: Json, tokens_a_chunk: int) -> Iterator[Json]:
    for _, delta in _deltas(item["arguments"], tokens_a_chunk):
        yield {"type": "response.function_call_arguments.delta", "delta": delta}
    whole = {"arguments": item["arguments"], "name": item["name"]}
    yield {"type": "response.function_call_arguments.done", **whole}


def _reasoning(item: Json, tokens_a_chunk: int) -> Iterator[Json]:
    for index, part in enumerate(item["summary"]):
        place = {"summary_index": index}
        yield {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}}
        for _, delta in _deltas(part["text"], tokens_a_chunk):
            yield {"type": "response.reasoning_summary_text.delta", **place, "delta": delta}
        yield {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **place, "part": part}


def _deltas(text: str, tokens_a_chunk: int) -> Iterator[tuple[int, str]]:
    tokens = split_tokens(text)
    for start in range(0, len(tokens), tokens_a_chunk):
        yield start, "".join(tokens[start : start + tokens_a_chunk])


def _streamed(logprob: Json) -> Json:
    """A log probability as events have it: without the bytes."""
    others = [{"token": one["token"], "logprob": one["logprob"]} for one in logprob["top_logprobs"]]
    return {"token": logprob["token"], "logprob": logprob["logprob"], "top_logprobs": others}
