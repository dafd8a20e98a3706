"""What OpenAI refuses in a request for a response, with the type, code and parameter it names; the wording is ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from local.offline.account import Account
from local.offline.catalog import is_reasoning
from local.offline.checks import (
    Range,
    check_model,
    check_named,
    check_one_of,
    check_ranges,
    check_type,
    check_types,
    ids_in,
    metadata_in,
    missing,
    wrong_type,
)
from local.offline.refusal import Refusal

_RANGES: Final = {
    "temperature": Range("decimal", 0, 2),
    "top_p": Range("decimal", 0, 1),
    "top_logprobs": Range("integer", 0, 20),
    "max_output_tokens": Range("integer", 16),
    "max_tool_calls": Range("integer", 1),
}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "background": (bool,),
    "conversation": (str, dict),
    "include": (list,),
    "input": (str, list),
    "instructions": (str,),
    "parallel_tool_calls": (bool,),
    "previous_response_id": (str,),
    "prompt": (dict,),
    "reasoning": (dict,),
    "store": (bool,),
    "stream": (bool,),
    "stream_options": (dict,),
    "text": (dict,),
    "tool_choice": (str, dict),
    "tools": (list,),
    "user": (str,),
}
_INCLUDABLE: Final = (
    "code_interpreter_call.outputs", "computer_call_output.output.image_url", "file_search_call.results",
    "message.input_image.image_url", "message.output_text.logprobs", "reasoning.encrypted_content",
    "web_search_call.action.sources", "web_search_call.results",
)  # fmt: skip
_ROLES: Final = ("user", "assistant", "system", "developer")
_PARTS: Final = ("input_text", "input_image", "input_file", "input_audio", "output_text", "refusal", "summary_text")
_FORMATS: Final = ("text", "json_object", "json_schema")
_CHOICES: Final = ("none", "auto", "required")
# What an item of each of these types has to say; items of other types are let pass.
_ITEM_NEEDS: Final = {
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "item_reference": ("id",),
    "message": ("role", "content"),
}


def check(body: Mapping[str, Any], account: Account) -> None:
    """Refusal where the service would answer 400 or 404. What it does not know, it lets pass, as null for absent."""
    check_model(body.get("model"))
    check_types(body, _TYPES)
    check_ranges(body, _RANGES)
    _check_input(body)
    _check_tools(body)
    _check_format((body.get("text") or {}).get("format"))
    _check_together(body)
    metadata_in(body)
    for index, name in enumerate(body.get("include") or []):
        check_one_of(f"include[{index}]", name, _INCLUDABLE)
    _check_objects(body, account)


def _check_input(body: Mapping[str, Any]) -> None:
    """Refusal unless there is an input, and each of its items says what its type needs."""
    given = body.get("input")
    if given is None and not any(body.get(name) for name in ("prompt", "conversation", "previous_response_id")):
        raise missing("input")
    for index, item in enumerate(given if isinstance(given, list) else []):
        check_item(f"input[{index}]", item)


def check_item(at: str, item: object) -> None:
    """Refusal unless the item, at this place in the request, is one."""
    if not isinstance(item, dict):
        raise wrong_type(at, item, "an object")
    kind = item_type(item)
    check_type(f"{at}.type", kind, (str,))
    for name in _ITEM_NEEDS.get(kind, ()):
        if item.get(name) is None:
            raise missing(f"{at}.{name}")
        check_type(f"{at}.{name}", item[name], (str, list) if name in ("content", "output") else (str,))
        for index, part in enumerate(item[name] if isinstance(item[name], list) else []):
            _check_part(f"{at}.{name}[{index}]", part)
    if kind == "message":
        check_one_of(f"{at}.role", item["role"], _ROLES)


def item_type(item: Mapping[str, Any]) -> Any:
    """The type of an input item; a message and a reference may leave it out."""
    return item.get("type") or ("item_reference" if "id" in item and "role" not in item else "message")


def conversation_id(body: Mapping[str, Any]) -> str | None:
    """The id of the conversation that a request goes on with."""
    named = body.get("conversation")
    if isinstance(named, dict):
        check_type("conversation.id", named.get("id"), (str,))
        named = named["id"]
    return named


def _check_part(at: str, part: object) -> None:
    if not isinstance(part, dict):
        raise wrong_type(at, part, "an object")
    if part.get("type") is None:
        raise missing(f"{at}.type")
    check_one_of(f"{at}.type", part["type"], _PARTS)
    if part["type"].endswith("_text"):
        check_type(f"{at}.text", part.get("text"), (str,))


def _check_tools(body: Mapping[str, Any]) -> None:
    for index, tool in enumerate(body.get("tools") or []):
        at = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise wrong_type(at, tool, "an object")
        if tool.get("type") is None:
            raise missing(f"{at}.type")
        check_type(f"{at}.type", tool["type"], (str,))
        if tool["type"] in ("function", "custom"):
            check_named(at, tool)
    choice = body.get("tool_choice")
    if isinstance(choice, str):
        check_one_of("tool_choice", choice, _CHOICES)
    elif isinstance(choice, dict) and choice.get("type") == "function":
        names = [tool.get("name") for tool in body.get("tools") or []]
        if choice.get("name") not in names:
            raise Refusal(400, "'tool_choice' names a function that is not in 'tools'.", param="tool_choice")


def _check_format(wanted: object) -> None:
    if wanted is None:
        return
    if not isinstance(wanted, dict):
        raise wrong_type("text.format", wanted, "an object")
    check_one_of("text.format.type", wanted.get("type"), _FORMATS)
    if wanted["type"] == "json_schema":
        check_named("text.format", wanted)
        if wanted.get("schema") is None:
            raise missing("text.format.schema")


def _check_together(body: Mapping[str, Any]) -> None:
    """Parameters that need or exclude one another."""
    if body.get("previous_response_id") and body.get("conversation"):
        message = "'previous_response_id' and 'conversation' exclude one another."
        raise Refusal(400, message, param="previous_response_id", code="mutually_exclusive_parameters")
    if body.get("background") and body.get("store") is False:
        raise Refusal(400, "'background' needs 'store'.", param="background")
    if body.get("stream_options") and not body.get("stream"):
        raise Refusal(400, "'stream_options' is allowed only with 'stream'.", param="stream_options")
    reasons = is_reasoning(body["model"])
    if reasons and body.get("temperature", 1) not in (None, 1):
        message = "Unsupported parameter: 'temperature' is not supported with this model."
        raise Refusal(400, message, param="temperature", code="unsupported_parameter")
    if body.get("reasoning") and not reasons and not body["model"].startswith("offline"):
        message = "Unsupported parameter: 'reasoning' is not supported with this model."
        raise Refusal(400, message, param="reasoning", code="unsupported_parameter")


def _check_objects(body: Mapping[str, Any], account: Account) -> None:
    """Refusal where the request names a stored object that is not there."""
    previous = body.get("previous_response_id")
    if previous and account.responses.find(previous) is None:
        message = f"Previous response with id '{previous}' not found."
        raise Refusal(400, message, param="previous_response_id", code="previous_response_not_found")
    if (conversation := conversation_id(body)) is not None:
        account.conversations.get(conversation)
    for tool in body.get("tools") or []:
        for vector_store in ids_in(tool, "vector_store_ids"):
            account.vector_stores.get(vector_store)
        _check_container(tool.get("container"), account)
    for file in _files_in(body.get("input")):
        account.files.get(file)


def _check_container(container: object, account: Account) -> None:
    if isinstance(container, str):
        account.containers.get(container)
    elif isinstance(container, dict):
        for file in ids_in(container, "file_ids"):
            account.files.get(file)


def _files_in(given: object) -> list[str]:
    messages = [item for item in given if isinstance(item.get("content"), list)] if isinstance(given, list) else []
    parts = [part for message in messages for part in message["content"]]
    return [part["file_id"] for part in parts if isinstance(part.get("file_id"), str)]
