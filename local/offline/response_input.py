"""The items of the Responses API: as they are kept, and as the chat messages by which `canned` answers them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from local.offline.account import Account
from local.offline.response_rules import item_type
from local.offline.shelf import Json, new_id

_PREFIXES: Final = {"message": "msg_", "function_call": "fc_", "function_call_output": "fco_", "reasoning": "rs_"}
_PARTS: Final = {
    "input_text": "text", "output_text": "text", "summary_text": "text", "input_image": "image_url",
    "input_audio": "input_audio", "input_file": "file", "refusal": "refusal",
}  # fmt: skip


def input_items(given: str | list[Json] | None, account: Account) -> list[Json]:
    """The items of a request's input with ids, references resolved; Refusal 404 where one leads nowhere."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_item(one, account) for one in given or []]


def _item(item: Json, account: Account) -> Json:
    kind = item_type(item)
    if kind == "item_reference":
        return account.item(item["id"])
    kept = {**item, "type": kind, "id": item.get("id") or new_id(_PREFIXES.get(kind, "item_"))}
    if kind != "message":
        return {**kept, "status": "completed"} if kind.startswith("function_call") else kept
    return {**kept, "status": "completed", "content": _content(item["role"], item["content"])}


def _content(role: str, content: str | list[Json]) -> list[Json]:
    if isinstance(content, str):
        return [output_text(content) if role == "assistant" else {"type": "input_text", "text": content}]
    return [_part(part) for part in content]


def _part(part: Json) -> Json:
    if part["type"] == "input_image":
        return {"detail": "auto", "file_id": None, "image_url": None, **part}
    if part["type"] == "output_text":
        return {**output_text(""), **part}
    return part


def output_text(text: str) -> Json:
    """The part of a message in which a model writes."""
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def as_chat(body: Mapping[str, Any], items: Iterable[Json]) -> Json:
    """The chat request that asks the same: instructions, then the items."""
    instructions = body.get("instructions")
    system = [{"role": "system", "content": instructions}] if instructions else []
    messages = [message for item in items if (message := _message(item)) is not None]
    chat: Json = {
        "model": body["model"],
        "messages": system + messages or [{"role": "user", "content": ""}],
        "tools": [_tool(tool) for tool in body.get("tools") or []],
        "tool_choice": _choice(body.get("tool_choice")),
        "parallel_tool_calls": body.get("parallel_tool_calls"),
        "response_format": _format((body.get("text") or {}).get("format")),
        "max_completion_tokens": body.get("max_output_tokens"),
    }
    return {name: value for name, value in chat.items() if value}


def _message(item: Mapping[str, Any]) -> Json | None:
    match item["type"]:
        case "message":
            parts = [{**part, "type": _PARTS.get(part["type"], part["type"])} for part in item["content"]]
            return {"role": item["role"], "content": parts}
        case "function_call":
            called = {"name": item["name"], "arguments": item["arguments"]}
            calls = [{"id": item["call_id"], "type": "function", "function": called}]
            return {"role": "assistant", "content": None, "tool_calls": calls}
        case "function_call_output":
            output = item["output"]
            text = output if isinstance(output, str) else "\n".join(part.get("text", "") for part in output)
            return {"role": "tool", "tool_call_id": item["call_id"], "content": text}
    return None  # reasoning, and what hosted tools did: nothing that is repeated in an answer


def _tool(tool: Mapping[str, Any]) -> Json:
    if tool["type"] != "function":
        return {"type": tool["type"], tool["type"]: tool}
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice["name"]}}
    if choice.get("type") == "allowed_tools":
        tools = [_tool(tool) for tool in choice.get("tools") or []]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": tools}}
    return "auto"  # a hosted tool: none of them is ever called here


def _format(wanted: Mapping[str, Any] | None) -> Json | None:
    if not wanted or wanted["type"] == "text":
        return None
    if wanted["type"] == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": dict(wanted)}
