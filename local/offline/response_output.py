"""The canned response: what `canned` answers, put into the items of the Responses API."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

from local.offline import canned
from local.offline.catalog import CREATED, is_reasoning
from local.offline.response_input import as_chat, output_text
from local.offline.response_rules import conversation_id
from local.offline.shelf import Json, new_id
from local.offline.tokens import count_prompt

_REASONING_TOKENS: Final = 64
_SUMMARY: Final = "**Thinking offline**\n\nNo model was asked, so there was little to think about."
# The parameters that a response repeats, with what stands there where the request does not say.
_ECHOED: Final[Json] = {
    "background": False, "instructions": None, "max_output_tokens": None, "max_tool_calls": None,
    "parallel_tool_calls": True, "previous_response_id": None, "prompt_cache_key": None, "safety_identifier": None,
    "store": True, "temperature": 1.0, "tool_choice": "auto", "top_logprobs": 0, "top_p": 1.0,
    "truncation": "disabled", "user": None,
}  # fmt: skip


def respond(body: Mapping[str, Any], context: Iterable[Json], *, big_kb: int, nousage: bool) -> tuple[Json, int]:
    """The whole response to a request whose items, with all that went before, are `context`; and its tokens a chunk."""
    chat, limit, thought = as_chat(body, context), body.get("max_output_tokens"), 0
    if is_reasoning(body["model"]):
        thought = min(_REASONING_TOKENS, limit or _REASONING_TOKENS)
    if limit is not None:
        chat["max_completion_tokens"] = limit - thought
    whole = canned.answer(chat, big_kb=big_kb)
    (choice,) = whole.choices
    silent = limit is not None and limit == thought  # all tokens went into thinking
    reason = "length" if silent else choice.finish_reason
    output = [*_reasoning(body, thought), *([] if silent else _items(body, choice))]
    produced = thought + (0 if silent else choice.completion_tokens)
    usage = None if nousage else _usage(whole.prompt_tokens, produced, thought)
    return _response(body, output, reason == "length", usage), whole.tokens_a_chunk


def count_input(body: Mapping[str, Any], context: Iterable[Json]) -> int:
    """The tokens of a request's input, with all that went before."""
    return count_prompt(as_chat(body, context))


def _response(body: Mapping[str, Any], output: list[Json], is_cut: bool, usage: Json | None) -> Json:
    echoed = {name: default if body.get(name) is None else body[name] for name, default in _ECHOED.items()}
    conversation = conversation_id(body)
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if is_cut else "completed",
        "completed_at": None if is_cut else CREATED,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "model": body["model"],
        "output": output,
        **echoed,
        **({"conversation": {"id": conversation}} if conversation else {}),
        "reasoning": {"effort": None, "summary": None, **(body.get("reasoning") or {})},
        "service_tier": "default",
        "text": {"format": {"type": "text"}, "verbosity": "medium", **(body.get("text") or {})},
        "tools": [_tool(tool) for tool in body.get("tools") or []],
        "usage": usage,
        "metadata": body.get("metadata") or {},
    }


def _tool(tool: Json) -> Json:
    return {"description": None, "parameters": {}, "strict": True, **tool} if tool["type"] == "function" else tool


def _reasoning(body: Mapping[str, Any], thought: int) -> list[Json]:
    if not thought:
        return []
    wanted = (body.get("reasoning") or {}).get("summary")
    item: Json = {"id": new_id("rs_"), "type": "reasoning", "summary": []}
    if wanted:
        item["summary"] = [{"type": "summary_text", "text": _SUMMARY}]
    if "reasoning.encrypted_content" in (body.get("include") or []):
        item["encrypted_content"] = base64.b64encode(b"offline " * thought).decode()
    return [item]


def _items(body: Mapping[str, Any], choice: canned.Choice) -> list[Json]:
    cut = choice.finish_reason == "length"
    if not choice.tool_calls:
        part = output_text("".join(choice.tokens))
        if "message.output_text.logprobs" in (body.get("include") or []):
            probable = canned.logprobs(choice.tokens, 0, body.get("top_logprobs") or 0)
            part["logprobs"] = probable["content"] if probable else []
        status = "incomplete" if cut else "completed"
        return [{"id": new_id("msg_"), "type": "message", "status": status, "role": "assistant", "content": [part]}]
    items = [
        {
            "id": new_id("fc_"), "type": "function_call", "status": "completed", "arguments": call.arguments,
            "call_id": call.id, "name": call.name,
        }
        for call in choice.tool_calls
    ]  # fmt: skip
    if cut:
        items[-1]["status"] = "incomplete"
    return items


def _usage(read: int, produced: int, thought: int) -> Json:
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": produced,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + produced,
    }
