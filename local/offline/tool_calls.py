"""Which tools the canned answer calls, and with which arguments."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.offline.instance import instance_of
from local.offline.tokens import text_of


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


def calls_for(body: Mapping[str, Any], seed: str) -> tuple[ToolCall, ...]:
    """The calls with which a chat request is answered; none where it is answered with text.

    `auto` calls every function that the last user message names, and none after a tool's result. `required` calls
    those, or else the first function that was not called since the user spoke; so an agent's loop comes to its end.
    """
    chosen = _chosen(body)
    if body.get("parallel_tool_calls") is False:
        chosen = chosen[:1]
    return tuple(_call(function, f"{seed}/{index}") for index, function in enumerate(chosen))


def is_forced_by_name(body: Mapping[str, Any]) -> bool:
    """Whether `tool_choice` names one function: the service then finishes with `stop`, not `tool_calls`."""
    choice = body.get("tool_choice")
    return isinstance(choice, Mapping) and choice.get("type") == "function"


def function_names(body: Mapping[str, Any]) -> list[str]:
    """The names of the functions among the request's tools."""
    return [function["name"] for function in _functions(body)]


def _functions(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [tool["function"] for tool in body.get("tools") or [] if tool["type"] == "function"]


def _chosen(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    mode, names = _mode(body)
    offered = [function for function in _functions(body) if function["name"] in names]
    if mode == "none" or (mode == "auto" and body["messages"][-1]["role"] == "tool"):
        return []
    if is_forced_by_name(body):
        return offered
    text, called = _since_user(body["messages"])
    fresh = [function for function in offered if function["name"] not in called]
    named = [function for function in fresh if re.search(rf"(?<!\w){re.escape(function['name'])}(?!\w)", text)]
    return named if mode == "auto" or named else (fresh or offered)[:1]


def _mode(body: Mapping[str, Any]) -> tuple[str, list[str]]:
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, str):
        return choice, function_names(body)
    if is_forced_by_name(body):
        return "required", [choice["function"]["name"]]
    allowed = choice.get("allowed_tools") or {}
    tools = allowed.get("tools") or []
    return allowed.get("mode", "auto"), [tool["function"]["name"] for tool in tools if tool["type"] == "function"]


def _since_user(messages: list[Mapping[str, Any]]) -> tuple[str, set[str]]:
    """The last user message's text, and the names of the functions called after it."""
    called: set[str] = set()
    for message in reversed(messages):
        if message["role"] == "user":
            return text_of(message.get("content")), called
        called |= {call["function"]["name"] for call in message.get("tool_calls") or [] if "function" in call}
    return "", called


def _call(function: Mapping[str, Any], seed: str) -> ToolCall:
    arguments = instance_of(function.get("parameters") or {"type": "object"}, function["name"])
    digest = hashlib.sha256(f"{seed}/{function['name']}".encode()).hexdigest()
    return ToolCall(f"call_{digest[:24]}", function["name"], json.dumps(arguments, ensure_ascii=False))
