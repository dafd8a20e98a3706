"""What the organisation has stored. There is one for all keys, as where a wrapper shares its operator's account."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from local.offline.refusal import Refusal
from local.offline.shelf import Json, Shelf


@dataclass
class StoredChat:
    """A chat completion with `store`, and the messages that it answered."""

    completion: Json
    messages: list[Json]


@dataclass
class StoredResponse:
    """A response as it will be when it is complete; until then its status says how far it is."""

    final: Json
    status: str
    input_items: list[Json]
    tokens_a_chunk: int


@dataclass
class Conversation:
    """A conversation's description, and its items, oldest first."""

    described: Json
    items: Shelf[Json] = field(default_factory=lambda: Shelf("Item with id '{}' not found."))


@dataclass
class StoredFile:
    """A file's description and its bytes; inside containers too."""

    described: Json
    content: bytes


@dataclass
class Upload:
    """An upload, and its parts by id."""

    described: Json
    mime_type: str
    file_expires_after_seconds: int | None
    parts: Shelf[bytes] = field(default_factory=lambda: Shelf("Upload part '{}' not found.", "part_ids"))


@dataclass
class VectorStore:
    """A vector store, the files in it, and the batches in which they came: each batch's file ids."""

    described: Json
    files: Shelf[Json] = field(default_factory=lambda: Shelf("No file found with id '{}' in vector store."))
    batches: Shelf[Json] = field(default_factory=lambda: Shelf("No file batch found with id '{}'."))
    batch_files: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Container:
    """A container and the files in it."""

    described: Json
    files: Shelf[StoredFile] = field(default_factory=lambda: Shelf("Container file with id '{}' not found."))


@dataclass
class Account:
    """All shelves."""

    chats: Shelf[StoredChat] = field(default_factory=lambda: Shelf("Chat completion with id '{}' not found."))
    responses: Shelf[StoredResponse] = field(default_factory=lambda: Shelf("Response with id '{}' not found."))
    conversations: Shelf[Conversation] = field(default_factory=lambda: Shelf("Conversation with id '{}' not found."))
    files: Shelf[StoredFile] = field(default_factory=lambda: Shelf("No such File object: {}", "id"))
    uploads: Shelf[Upload] = field(default_factory=lambda: Shelf("No such Upload object: {}"))
    batches: Shelf[Json] = field(default_factory=lambda: Shelf("No batch found with id '{}'."))
    vector_stores: Shelf[VectorStore] = field(default_factory=lambda: Shelf("Vector store with id '{}' not found."))
    containers: Shelf[Container] = field(default_factory=lambda: Shelf("Container with id '{}' not found."))

    def ids(self) -> dict[str, list[str]]:
        """The ids of what is stored, by the name of the shelf, oldest first."""
        return {shelf.name: getattr(self, shelf.name).keys() for shelf in fields(self)}

    def item(self, key: str) -> Json:
        """An item that a stored response took or gave, or that is in a conversation; Refusal 404 if there is none."""
        for stored in self.responses.values():
            for item in (*stored.input_items, *stored.final["output"]):
                if item["id"] == key:
                    return dict(item)
        for conversation in self.conversations.values():
            if (found := conversation.items.find(key)) is not None:
                return dict(found)
        raise Refusal(404, f"Item with id '{key}' not found.{_NOT_STORED}", param="input")


_NOT_STORED: Final = (
    " Items are not persisted when `store` is set to false."
    " Try again with `store` set to true, or remove this item from your input."
)
