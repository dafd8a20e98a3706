"""Conversations and their items."""

from __future__ import annotations

from typing import Any, Final

from local.offline.account import Conversation
from local.offline.call import Call, deleted, document
from local.offline.catalog import CREATED
from local.offline.checks import check_type, metadata_in, missing
from local.offline.refusal import Refusal
from local.offline.response_input import input_items
from local.offline.response_rules import check_item
from local.offline.script import Reply
from local.offline.shelf import Json, new_id, page

_MOST_ITEMS: Final = 20  # in one request


def create(call: Call) -> Reply:
    """POST /v1/conversations."""
    body = call.optional_body
    described: Json = {
        "id": new_id("conv_"), "object": "conversation", "created_at": CREATED, "metadata": metadata_in(body),
    }  # fmt: skip
    conversation = Conversation(described)
    _add(call, conversation, body.get("items") or [])
    return document(call.account.conversations.put(described["id"], conversation).described)


def retrieve(call: Call) -> Reply:
    """GET /v1/conversations/{conversation_id}."""
    return document(_named(call).described)


def update(call: Call) -> Reply:
    """POST /v1/conversations/{conversation_id}: new metadata."""
    conversation = _named(call)
    conversation.described["metadata"] = metadata_in(call.body)
    return document(conversation.described)


def delete(call: Call) -> Reply:
    """DELETE /v1/conversations/{conversation_id}."""
    call.account.conversations.take(call.names["conversation_id"])
    return deleted("conversation.deleted", call.names["conversation_id"])


def create_items(call: Call) -> Reply:
    """POST /v1/conversations/{conversation_id}/items."""
    conversation, items = _named(call), call.body.get("items")
    if not items:
        raise missing("items")
    added = _add(call, conversation, items)
    return document(page(added, {}, order="asc"))


def list_items(call: Call) -> Reply:
    """GET /v1/conversations/{conversation_id}/items."""
    return document(page(_named(call).items.values(), call.query))


def retrieve_item(call: Call) -> Reply:
    """GET /v1/conversations/{conversation_id}/items/{item_id}."""
    return document(_named(call).items.get(call.names["item_id"]))


def delete_item(call: Call) -> Reply:
    """DELETE /v1/conversations/{conversation_id}/items/{item_id}: gives the conversation back."""
    conversation = _named(call)
    conversation.items.take(call.names["item_id"])
    return document(conversation.described)


def _named(call: Call) -> Conversation:
    return call.account.conversations.get(call.names["conversation_id"])


def _add(call: Call, conversation: Conversation, items: Any) -> list[Json]:
    check_type("items", items, (list,))
    if len(items) > _MOST_ITEMS:
        message = f"'items' has more than {_MOST_ITEMS} items."
        raise Refusal(400, message, param="items", code="array_above_max_length")
    for index, item in enumerate(items):
        check_item(f"items[{index}]", item)
    return [conversation.items.put(item["id"], item) for item in input_items(items, call.account)]
