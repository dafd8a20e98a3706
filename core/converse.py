"""One message of a conversation and the model's answer, after as much of what was said before as the model can read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from core import errors, logs, text_parts
from core.bill import Planned
from core.conversations import MOST_TURNS, Conversation, Conversations, Turn
from core.ports import App, StoreError
from core.task_calls import Calls, Result, plan
from core.task_input import Converse
from core.task_prompts import Model, chat, message

_SYSTEM = "You are a helpful assistant. Answer the user's last message, in the user's language."
_LONGEST_MESSAGE_BYTES = 128 * 1024
_LONGEST_KEPT_BYTES = 192 * 1024
"""A turn is one item of the store, and the least that one can have in a cloud's store is 400 KB."""
_FETCHED_AT_ONCE = 20
_MOST_TURNS_SHOWN = 100
_AROUND_TURN_BYTES = 100
_TEMPLATE_TOKENS = 700
"""Kept free in the model's context for what its service adds to a chat: see `core.bounds`."""


@dataclass(frozen=True, slots=True)
class Conversing:
    """A job."""

    model: Model
    app: App
    asked: Converse
    conversation: Conversation
    conversations: Conversations
    earlier: Sequence[Turn]
    """What the model is shown of it."""

    @classmethod
    async def of(cls, model: Model, app: App, asked: Converse, conversations: Conversations) -> Conversing:
        """
        Raises:
            NotFound: the conversation is another user's.
            InvalidRequest: the message is too long, or the conversation has too many.
            StoreError: the store cannot be asked.
        """
        if text_parts.encoded_bytes(asked.message) > _LONGEST_MESSAGE_BYTES:
            raise errors.InvalidRequest(
                f"Invalid 'message': it has more than {_LONGEST_MESSAGE_BYTES:,} bytes.",
                param="message",
                code="invalid_value",
            )
        found = None
        if asked.conversation_id is not None:
            found = await conversations.find(app, asked.conversation_id, asked.user)
        one = found or conversations.begin(asked.conversation_id, asked.user, asked.system)
        if one.turns >= MOST_TURNS:
            raise errors.InvalidRequest(
                f"This conversation has {MOST_TURNS:,} turns, and cannot have more: begin a new one.",
                param="conversation_id",
                code="conversation_full",
            )
        job = cls(model, app, asked, one, conversations, ())
        room = model.context_tokens - model.output_tokens - _TEMPLATE_TOKENS - len(job.content())
        return cls(model, app, asked, one, conversations, await _last_turns(conversations, app, one, room))

    @property
    def _system(self) -> str | None:
        """The app's own, as it was given last."""
        return self.conversation.system if self.asked.system is None else self.asked.system

    def content(self) -> bytes:
        messages = [message("system", _SYSTEM)]
        if self._system:
            messages.append(message("system", self._system))
        for turn in self.earlier:
            messages += [message("user", turn.message), message("assistant", turn.output)]
        return chat(self.model, [*messages, message("user", self.asked.message)])

    def planned(self) -> Sequence[Planned]:
        return [plan(self.content())]

    async def run(self, calls: Calls) -> Result:
        said = await calls.chat(self.content(), shows=True)
        turn = await self._keep(said.text, said.finish_reason)
        more = {
            "conversation_id": self.conversation.id,
            "turn": None if turn is None else turn.number,
            "turns_shown": len(self.earlier),
        }
        return Result(said.text, said.finish_reason, more)

    async def _keep(self, text: str, finish_reason: str) -> Turn | None:
        """A store that fails takes nothing from the client: the answer was paid for."""
        try:
            return await self.conversations.keep(
                self.app,
                replace(self.conversation, system=self._system),
                message=self.asked.message,
                output=text_parts.cut(text, _LONGEST_KEPT_BYTES),
                finish_reason=finish_reason,
            )
        except StoreError as error:
            logs.write(logging.ERROR, "turn_not_kept", app=self.app.id, error=str(error))
            return None


async def _last_turns(conversations: Conversations, app: App, one: Conversation, room_bytes: int) -> Sequence[Turn]:
    """As many of the last turns as there is room for."""
    shown: list[Turn] = []
    before = one.turns + 1
    while len(shown) < _MOST_TURNS_SHOWN:
        fetched = await conversations.turns(app, one, before=before, limit=_FETCHED_AT_ONCE)
        for turn in reversed(fetched):
            room_bytes -= text_parts.encoded_bytes(turn.message + turn.output) + _AROUND_TURN_BYTES
            if room_bytes < 0 or len(shown) == _MOST_TURNS_SHOWN:
                return shown[::-1]
            shown.append(turn)
        if not fetched:
            break
        before = fetched[0].number
    return shown[::-1]
