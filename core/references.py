"""What a request refers to: the ids of stored objects in its body. Pure: whose they are is not asked here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jiter

from core import errors
from core.kinds import Kind


class Reference(NamedTuple):
    """An id, and where it stands: as OpenAI names parameters, such as `input[0].file_id`."""

    kind: Kind
    id: str
    param: str


_KINDS: Mapping[str, Kind] = {
    "previous_response_id": Kind.RESPONSE,
    "response_id": Kind.RESPONSE,
    "conversation": Kind.CONVERSATION,
    "conversation_id": Kind.CONVERSATION,
    "file_id": Kind.FILE,
    "file_ids": Kind.FILE,
    "input_file_id": Kind.FILE,
    "vector_store_id": Kind.VECTOR_STORE,
    "vector_store_ids": Kind.VECTOR_STORE,
    "container": Kind.CONTAINER,
    "container_id": Kind.CONTAINER,
}
"""The keys whose values are ids, wherever they stand, but for what `_OPAQUE` holds."""

_OPAQUE = frozenset({"metadata", "attributes", "parameters", "schema", "filters"})
"""Keys whose values are the client's own data, which upstream does not look into."""

_OPERATORS_OWN = frozenset({"connector_id", "tunnel_id"})
"""Keys that reach into what the operator has connected to the account, such as a mailbox."""

_INLINE: Mapping[str, str] = {
    "apply_patch_call": "operation",
    "apply_patch_call_output": "status",
    "code_interpreter_call": "code",
    "compaction": "encrypted_content",
    "computer_call": "action",
    "computer_call_output": "output",
    "custom_tool_call": "input",
    "custom_tool_call_output": "output",
    "file_search_call": "queries",
    "function_call": "arguments",
    "function_call_output": "output",
    "image_generation_call": "result",
    "local_shell_call": "action",
    "local_shell_call_output": "output",
    "mcp_approval_request": "arguments",
    "mcp_call": "arguments",
    "mcp_list_tools": "tools",
    "message": "content",
    "reasoning": "encrypted_content",
    "shell_call": "action",
    "shell_call_output": "output",
    "web_search_call": "action",
}
"""The types of items that a request may hold whole, each with what it then has. Of any other item upstream fetches what
it has stored under its id.
"""

_MOST_REFERENCES = 500
_WORD = re.compile(r"[^\[\].]+")
_ITEM_LISTS = frozenset({"input", "items"})
_MAY_REFER = re.compile(
    rb'"(?:' + "|".join([*_KINDS, *_OPERATORS_OWN, "audio", "voice", *_ITEM_LISTS]).encode() + rb')"'
)
_MAY_HIDE = b"\\u"
"""A key can be written with escapes. (As another branch of the pattern it would make the search ten times as long.)"""


def in_json(body: bytes) -> list[Reference]:
    """The references in a JSON object.

    Raises:
        InvalidRequest: a key stands twice in one object, so that upstream might read another value than was checked
            here; the request uses what belongs to the operator; or it refers to too many objects.
    """
    if _MAY_REFER.search(body) is None and _MAY_HIDE not in body:  # most bodies refer to nothing
        return []
    try:
        value = jiter.from_json(body, cache_mode="keys", catch_duplicate_keys=True)
    except ValueError as error:
        raise errors.InvalidRequest(f"The request body is not valid JSON: {error}.", code="invalid_json") from None
    return _bounded(_walk(value, ""))


def _bounded(references: Iterable[Reference]) -> list[Reference]:
    """Each one once. They are looked up one by one, so there may not be any number of them."""
    found = list(dict.fromkeys(references))
    if len(found) > _MOST_REFERENCES:
        raise errors.InvalidRequest(
            f"The request refers to more than {_MOST_REFERENCES} stored objects.",
            param=found[-1].param,
            code="invalid_value",
        )
    return found


def in_form(fields: Mapping[str, list[str]]) -> list[Reference]:
    """The references in a form's fields.

    Raises:
        InvalidRequest: there are too many.
    """
    return _bounded(
        Reference(_KINDS[word], value, name)
        for name, values in fields.items()
        for word in _WORD.findall(name)  # a[b], a[0] and a.b are ways to write what lies in what
        if word in _KINDS
        for value in values
    )


def _walk(value: Any, place: str) -> Iterator[Reference]:
    if isinstance(value, list):
        for number, element in enumerate(value):
            yield from _walk(element, f"{place}[{number}]")
    elif isinstance(value, dict):
        for key, inner in value.items():
            param = f"{place}.{key}" if place else key
            if key in _OPERATORS_OWN or (key == "voice" and isinstance(inner, dict)):
                raise errors.InvalidRequest(
                    f"'{param}' is not available through this service: it belongs to the operator's own account.",
                    param=param,
                    code="unsupported_parameter",
                )
            yield from _ids(key, inner, param, value)
            if key not in _OPAQUE:
                yield from _walk(inner, param)


def _ids(key: str, value: Any, param: str, parent: Mapping[str, Any]) -> Iterator[Reference]:
    """The ids that the value of one key is."""
    if key in _ITEM_LISTS and isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, dict) and isinstance(item.get("id"), str) and _is_looked_up(item):
                yield Reference(Kind.ITEM, item["id"], f"{param}[{number}].id")
    elif key == "audio" and isinstance(value, dict) and isinstance(value.get("id"), str):
        yield Reference(Kind.AUDIO, value["id"], f"{param}.id")
    elif key in _KINDS:
        kind = _KINDS[key]
        if isinstance(value, str):
            # A container's file goes with the container that is named beside it.
            with_container = value.startswith("cfile_") and isinstance(parent.get("container_id"), str)
            if not (key == "file_id" and with_container):
                yield Reference(kind, value, param)
        elif isinstance(value, list):
            yield from (Reference(kind, one, f"{param}[{n}]") for n, one in enumerate(value) if isinstance(one, str))
        elif isinstance(value, dict) and isinstance(value.get("id"), str):
            yield Reference(kind, value["id"], f"{param}.id")


def _is_looked_up(item: Mapping[str, Any]) -> bool:
    """Whether upstream fetches what it has stored under an item's id, rather than take the item as it stands here."""
    kind = item.get("type") or ("message" if item.get("role") else None)
    return not isinstance(kind, str) or item.get(_INLINE.get(kind, ""), None) is None
