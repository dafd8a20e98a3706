"""The kinds of objects that OpenAI stores in an account, which here all apps share."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """A kind of stored object. Its value names the place of its records in the store."""

    RESPONSE = "responses"
    ITEM = "items"
    """A part of a stored response or conversation, such as a message or the model's reasoning."""
    CONVERSATION = "conversations"
    CHAT_COMPLETION = "chat_completions"
    AUDIO = "audio"
    """Speech that a chat completion answered with, and that a later one may refer to."""
    FILE = "files"
    UPLOAD = "uploads"
    VECTOR_STORE = "vector_stores"
    CONTAINER = "containers"

    @property
    def noun(self) -> str:
        """What a message calls one of them."""
        return self.value.removesuffix("s").replace("_", " ")
