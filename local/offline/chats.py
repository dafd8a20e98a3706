"""Chat completions, and the stored ones among them."""

from __future__ import annotations

from dataclasses import replace

from local.offline import canned, chat_rules
from local.offline.account import StoredChat
from local.offline.call import Call, chunk_events, deleted, document
from local.offline.checks import metadata_in
from local.offline.script import Reply
from local.offline.shelf import Json, matching, new_id, page

_ECHOED = (
    "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "tools", "tool_choice", "response_format",
)  # fmt: skip


def create(call: Call) -> Reply:
    """POST /v1/chat/completions, plain or as events."""
    body = call.body
    chat_rules.check(body)
    for file in _files_in(body["messages"]):
        call.account.files.get(file)
    whole = canned.answer(body, big_kb=call.behaviour.big_kb, nousage=call.behaviour.nousage)
    if body.get("store"):
        whole = replace(whole, id=new_id("chatcmpl-"))
        call.account.chats.put(whole.id, _stored(body, whole))
    if not body.get("stream"):
        return document(canned.completion(whole))
    return chunk_events(canned.chunks(whole))


def _files_in(messages: list[Json]) -> list[str]:
    """The ids of the stored files that are attached to messages."""
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    files = [part["file"].get("file_id") for part in parts if isinstance(part.get("file"), dict)]
    return [file for file in files if isinstance(file, str)]


def _stored(body: Json, whole: canned.Answer) -> StoredChat:
    echoed = {name: body.get(name) for name in _ECHOED}
    completion = {**canned.completion(whole), **echoed, "metadata": metadata_in(body)}
    messages = [
        {"name": None, **message, "id": f"{whole.id}-{index}"} for index, message in enumerate(body["messages"])
    ]
    return StoredChat(completion, [_listed(message) for message in messages])


def _listed(message: Json) -> Json:
    """A message as GET …/messages shows it: text in `content`, parts in `content_parts`."""
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    return {**message, "content": None if parts else content, "content_parts": parts}


def list_stored(call: Call) -> Reply:
    """GET /v1/chat/completions, by model and metadata."""
    wanted, model = call.nested_query("metadata"), call.query.get("model")
    chats = [stored.completion for stored in call.account.chats.values()]
    chats = matching(chats, lambda chat: chat["model"] == model, wanted=model)
    chats = matching(chats, lambda chat: wanted.items() <= chat["metadata"].items(), wanted=wanted)
    return document(page(chats, call.query, order="asc"))


def retrieve(call: Call) -> Reply:
    """GET /v1/chat/completions/{completion_id}."""
    return document(call.account.chats.get(call.names["completion_id"]).completion)


def update(call: Call) -> Reply:
    """POST /v1/chat/completions/{completion_id}: new metadata."""
    stored = call.account.chats.get(call.names["completion_id"])
    stored.completion["metadata"] = metadata_in(call.body)
    return document(stored.completion)


def delete(call: Call) -> Reply:
    """DELETE /v1/chat/completions/{completion_id}."""
    call.account.chats.take(call.names["completion_id"])
    return deleted("chat.completion.deleted", call.names["completion_id"])


def list_messages(call: Call) -> Reply:
    """GET /v1/chat/completions/{completion_id}/messages."""
    return document(page(call.account.chats.get(call.names["completion_id"]).messages, call.query, order="asc"))
