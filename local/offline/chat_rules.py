"""What OpenAI refuses in a chat request, with the type, code and parameter it names; the wording is ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from local.offline.catalog import is_reasoning
from local.offline.checks import (
    Range,
    check_model,
    check_named,
    check_one_of,
    check_ranges,
    check_stop,
    check_type,
    check_types,
    missing,
    wrong_type,
)
from local.offline.refusal import Refusal
from local.offline.tokens import text_of
from local.offline.tool_calls import function_names, is_forced_by_name

_RANGES: Final = {
    "temperature": Range("decimal", 0, 2),
    "top_p": Range("decimal", 0, 1),
    "presence_penalty": Range("decimal", -2, 2),
    "frequency_penalty": Range("decimal", -2, 2),
    "n": Range("integer", 1, 128),
    "max_tokens": Range("integer", 1),
    "max_completion_tokens": Range("integer", 1),
    "top_logprobs": Range("integer", 0, 20),
    "seed": Range("integer"),
}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "stream": (bool,),
    "logprobs": (bool,),
    "parallel_tool_calls": (bool,),
    "stop": (str, list),
    "stream_options": (dict,),
    "response_format": (dict,),
    "tools": (list,),
    "tool_choice": (str, dict),
    "metadata": (dict,),
    "user": (str,),
}
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_PARTS: Final = ("text", "image_url", "input_audio", "file", "refusal")
_TOOL_TYPES: Final = ("function", "custom")
_FORMATS: Final = ("text", "json_object", "json_schema")


def check(body: Mapping[str, Any]) -> None:
    """Refusal where the service would answer 400 or 404. What it does not know, it lets pass, as null for absent."""
    check_model(body.get("model"))
    _check_messages(body.get("messages"))
    check_types(body, _TYPES)
    check_ranges(body, _RANGES)
    check_stop(body.get("stop"))
    _check_tools(body)
    _check_format(body)
    _check_together(body)


def _check_messages(messages: object) -> None:
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list):
        raise wrong_type("messages", messages, "an array of objects")
    if not messages:
        raise Refusal(400, "'messages' is empty; it needs at least one.", param="messages", code="empty_array")
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message)
    _check_tool_order(messages)


def _check_message(at: str, message: object) -> None:
    if not isinstance(message, dict):
        raise wrong_type(at, message, "an object")
    if message.get("role") is None:
        raise missing(f"{at}.role")
    check_one_of(f"{at}.role", message["role"], _ROLES)
    content = message.get("content")
    if content is None and message["role"] != "assistant":
        raise wrong_type(f"{at}.content", content, "a string or an array of objects")
    if isinstance(content, list):
        for index, part in enumerate(content):
            _check_part(f"{at}.content[{index}]", part)
    elif not isinstance(content, str | None):
        raise wrong_type(f"{at}.content", content, "a string or an array of objects")
    if message["role"] == "tool":
        check_type(f"{at}.tool_call_id", message.get("tool_call_id"), (str,))
    calls = message.get("tool_calls") or []
    check_type(f"{at}.tool_calls", calls, (list,))
    for index, call in enumerate(calls):
        _check_call(f"{at}.tool_calls[{index}]", call)


def _check_call(at: str, call: object) -> None:
    if not isinstance(call, dict):
        raise wrong_type(at, call, "an object")
    check_type(f"{at}.id", call.get("id"), (str,))
    kind = call.get("type", "function")
    check_one_of(f"{at}.type", kind, _TOOL_TYPES)
    check_named(f"{at}.{kind}", call.get(kind))


def _check_part(at: str, part: object) -> None:
    if not isinstance(part, dict):
        raise wrong_type(at, part, "an object")
    if part.get("type") is None:
        raise missing(f"{at}.type")
    check_one_of(f"{at}.type", part["type"], _PARTS)
    if part["type"] not in part:
        raise missing(f"{at}.{part['type']}")
    if part["type"] == "text" and not isinstance(part["text"], str):
        raise wrong_type(f"{at}.text", part["text"], "a string")


def _check_tool_order(messages: list[dict[str, Any]]) -> None:
    """Each call of an assistant message is answered by a tool message before anything else is said."""
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        at = f"messages.[{index}].role"
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise Refusal(400, "A message with role 'tool' must answer a call of the message before.", param=at)
            open_calls.discard(message["tool_call_id"])
        elif open_calls:
            raise Refusal(400, f"These tool calls were not answered: {sorted(open_calls)}", param=at)
        else:
            open_calls = {call["id"] for call in message.get("tool_calls") or []}
    if open_calls:
        raise Refusal(400, f"These tool calls were not answered: {sorted(open_calls)}", param="messages")


def _check_tools(body: Mapping[str, Any]) -> None:
    for index, tool in enumerate(body.get("tools") or []):
        _check_tool(f"tools[{index}]", tool)
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not body.get("tools"):
        raise Refusal(400, "'tool_choice' is allowed only with 'tools'.", param="tool_choice")
    if isinstance(choice, str):
        check_one_of("tool_choice", choice, ("none", "auto", "required"))
    elif is_forced_by_name(body):
        named = choice.get("function")
        if not isinstance(named, dict) or named.get("name") not in function_names(body):
            raise Refusal(400, "'tool_choice' names a function that is not in 'tools'.", param="tool_choice")
    else:
        check_one_of("tool_choice.type", choice.get("type"), ("function", "allowed_tools", "custom"))
        _check_allowed(choice.get("allowed_tools") or {})


def _check_allowed(allowed: object) -> None:
    at = "tool_choice.allowed_tools"
    if not isinstance(allowed, dict):
        raise wrong_type(at, allowed, "an object")
    check_one_of(f"{at}.mode", allowed.get("mode", "auto"), ("auto", "required"))
    tools = allowed.get("tools") or []
    check_type(f"{at}.tools", tools, (list,))
    for index, tool in enumerate(tools):
        _check_tool(f"{at}.tools[{index}]", tool)


def _check_tool(at: str, tool: object) -> None:
    if not isinstance(tool, dict):
        raise wrong_type(at, tool, "an object")
    if tool.get("type") is None:
        raise missing(f"{at}.type")
    check_one_of(f"{at}.type", tool["type"], _TOOL_TYPES)
    check_named(f"{at}.{tool['type']}", tool.get(tool["type"]))


def _check_format(body: Mapping[str, Any]) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    if wanted.get("type") is None:
        raise missing("response_format.type")
    check_one_of("response_format.type", wanted["type"], _FORMATS)
    if wanted["type"] == "json_schema":
        check_named("response_format.json_schema", wanted.get("json_schema"))
    said = " ".join(text_of(message.get("content")) for message in body["messages"]).lower()
    if wanted["type"] == "json_object" and "json" not in said:
        raise Refusal(400, "'messages' must contain the word 'json' for 'json_object'.", param="messages")


def _check_together(body: Mapping[str, Any]) -> None:
    """Parameters that need or exclude one another."""
    if body.get("stream_options") and not body.get("stream"):
        raise Refusal(400, "'stream_options' is allowed only with 'stream'.", param="stream_options")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise Refusal(400, "'top_logprobs' is allowed only with 'logprobs'.", param="top_logprobs")
    if not is_reasoning(body["model"]):
        return
    if body.get("max_tokens") is not None:
        message = "'max_tokens' is not supported with this model; use 'max_completion_tokens'."
        raise Refusal(400, message, param="max_tokens", code="unsupported_parameter")
    if body.get("temperature", 1) not in (None, 1):
        message = "'temperature' is not supported with this model, except 1."
        raise Refusal(400, message, param="temperature", code="unsupported_value")
