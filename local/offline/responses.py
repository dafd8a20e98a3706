"""Responses: made, streamed, stored, gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.offline.account import Account, StoredResponse
from local.offline.call import Call, document, numbered_events
from local.offline.checks import whole_number
from local.offline.refusal import Refusal
from local.offline.response_events import events
from local.offline.response_input import input_items
from local.offline.response_output import count_input, respond
from local.offline.response_rules import check, conversation_id
from local.offline.script import Reply
from local.offline.shelf import Json, page


def create(call: Call) -> Reply:
    """POST /v1/responses, plain, as events, or in the background."""
    body, account = call.body, call.account
    check(body, account)
    items = input_items(body.get("input"), account)
    context = [*_before(body, account), *items]
    final, tokens_a_chunk = respond(body, context, big_kb=call.behaviour.big_kb, nousage=call.behaviour.nousage)
    status = "queued" if body.get("background") else final["status"]
    stored = StoredResponse(final, status, items, tokens_a_chunk)
    if final["store"]:
        account.responses.put(final["id"], stored)
    if (conversation := conversation_id(body)) is not None:
        _append(account, conversation, [*items, *final["output"]])
    if not body.get("stream"):
        return document(_shown(stored))
    stored.status = final["status"]
    options = body.get("stream_options") or {}
    return _streamed(stored, obfuscates=options.get("include_obfuscation") is not False)


def retrieve(call: Call) -> Reply:
    """GET /v1/responses/{response_id}: one in the background is complete now; also as events once more."""
    stored = call.account.responses.get(call.names["response_id"])
    if stored.status == "queued":
        stored.status = stored.final["status"]
    if not call.flag("stream"):
        return document(_shown(stored))
    obfuscates = call.query.get("include_obfuscation") != "false"
    after = call.query.get("starting_after")
    return _streamed(
        stored, obfuscates=obfuscates, after=-1 if after is None else whole_number("starting_after", after)
    )


def delete(call: Call) -> Reply:
    """DELETE /v1/responses/{response_id}."""
    call.account.responses.take(call.names["response_id"])
    return document({"id": call.names["response_id"], "object": "response", "deleted": True})


def cancel(call: Call) -> Reply:
    """POST /v1/responses/{response_id}/cancel: only one in the background, and only until it is complete."""
    stored = call.account.responses.get(call.names["response_id"])
    if not stored.final["background"]:
        raise Refusal(400, "Only responses created with background=true can be cancelled.")
    if stored.status not in ("queued", "cancelled"):
        raise Refusal(400, "Cannot cancel a completed response.")
    stored.status = "cancelled"
    return document(_shown(stored))


def list_input_items(call: Call) -> Reply:
    """GET /v1/responses/{response_id}/input_items."""
    return document(page(call.account.responses.get(call.names["response_id"]).input_items, call.query))


def count_input_tokens(call: Call) -> Reply:
    """POST /v1/responses/input_tokens."""
    asked = call.optional_body
    body = {**asked, "model": asked.get("model") or "offline", "input": asked.get("input") or []}
    check(body, call.account)
    context = [*_before(body, call.account), *input_items(body.get("input"), call.account)]
    return document({"object": "response.input_tokens", "input_tokens": count_input(body, context)})


def _before(body: Mapping[str, Any], account: Account) -> list[Json]:
    """The items of the conversation, or of the responses that this one goes on with."""
    if (conversation := conversation_id(body)) is not None:
        return account.conversations.get(conversation).items.values()
    before: list[Json] = []
    previous = body.get("previous_response_id")
    while previous is not None and (stored := account.responses.find(previous)) is not None:
        before = [*stored.input_items, *stored.final["output"], *before]
        previous = stored.final["previous_response_id"]
    return before


def _append(account: Account, conversation: str, items: list[Json]) -> None:
    shelf = account.conversations.get(conversation).items
    for item in items:
        shelf.put(item["id"], item)


def _shown(stored: StoredResponse) -> Json:
    """The response as far as it is."""
    if stored.status == stored.final["status"]:
        return stored.final
    undone: Json = {"output": [], "usage": None, "completed_at": None, "incomplete_details": None}
    return {**stored.final, **undone, "status": stored.status}


def _streamed(stored: StoredResponse, *, obfuscates: bool, after: int = -1) -> Reply:
    whole = events(stored.final, tokens_a_chunk=stored.tokens_a_chunk, obfuscates=obfuscates)
    return numbered_events(whole, after=after)
