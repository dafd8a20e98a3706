"""The conversations that `converse` keeps, each one app's and, where it was begun for one, one user's.

A conversation is a head, and an item for each of its turns: a message and its answer. Turns are numbered from 1 by who
comes first, so that of two at the same time neither is lost. A turn is written before it is looked whether the
conversation is still there; whoever deletes one first says so in the head. So no turn outlives its conversation.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core import errors
from core.ports import App, Key, Store, Value

_SECONDS_PER_DAY = 86_400
_LONGEST_REQUEST_SECONDS = 900
"""So long after a conversation was deleted, a message to it may still be answered."""
MOST_TURNS = 2_000
_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Turn:
    """A message and its answer."""

    number: int
    message: str
    output: str
    finish_reason: str
    at: int
    """When it was answered, in seconds since the epoch, UTC."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One that is there, or that is to begin."""

    id: str
    user: str | None
    system: str | None
    born: str
    """Tells it from one of the same name that was deleted before."""
    created_at: int
    turns: int
    """The number of its last turn, as far as is known."""
    expires_at: int
    updated_at: int


class Conversations:
    """All of them."""

    def __init__(self, store: Store, *, days: int, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            days: so long after its last turn a conversation is kept.
        """
        self._store = store
        self._seconds = days * _SECONDS_PER_DAY
        self._clock = clock

    async def find(self, app: App, conversation_id: str, user: str | None) -> Conversation | None:
        """The app's conversation with that user; None where there is none by that name.

        Raises:
            NotFound: it is another user's.
            StoreError: the store cannot be asked.
        """
        head = await self._store.get(_key(app, conversation_id))
        if head is None or head["born"] is None:
            return None
        if head["user"] != user:
            raise not_found(conversation_id)
        return await self._counted(app, _conversation(conversation_id, head))

    def begin(self, conversation_id: str | None, user: str | None, system: str | None) -> Conversation:
        """A new one, of which nothing is kept yet."""
        now = int(self._clock())
        name = conversation_id or f"conv_{secrets.token_hex(12)}"
        return Conversation(name, user, system, secrets.token_hex(8), now, 0, now + self._seconds, now)

    async def all_of(self, app: App, user: str | None) -> Sequence[Conversation]:
        """The app's conversations with that user, the latest first; their number of turns may lag behind."""
        found = [
            _conversation(name, head)
            async for name, head in self._store.list(_partition(app))
            if head["born"] is not None and head["user"] == user
        ]
        return sorted(found, key=lambda one: (-one.updated_at, one.id))

    async def turns(self, app: App, conversation: Conversation, *, before: int, limit: int) -> Sequence[Turn]:
        """The last turns before a number, in their order. Those that have expired are not there."""
        numbers = range(before - 1, max(0, before - 1 - limit), -1)
        found: list[Turn] = []
        for at in range(0, len(numbers), _AT_ONCE):
            some = numbers[at : at + _AT_ONCE]
            keys = [_turn_key(app, conversation.id, conversation.born, number) for number in some]
            values = await asyncio.gather(*map(self._store.get, keys))
            found += [Turn(number, **value) for number, value in zip(some, values, strict=True) if value is not None]
        return found[::-1]

    async def keep(
        self, app: App, conversation: Conversation, *, message: str, output: str, finish_reason: str
    ) -> Turn | None:
        """Add a turn; None where the conversation was deleted, or begun for another user, since it was found.

        Raises:
            StoreError: it is not known to be kept.
        """
        now = int(self._clock())
        expires_at = now + self._seconds
        head = await self._head_for(app, conversation, expires_at)
        if head is None:
            return None
        number = conversation.turns + 1
        value = {"message": message, "output": output, "finish_reason": finish_reason, "at": now}
        while not await self._store.put(
            _turn_key(app, conversation.id, head["born"], number), value, if_absent=True, expires_at=expires_at
        ):
            number += 1
        there = await self._store.get(_key(app, conversation.id))
        if there is None or there["born"] != head["born"]:
            await self._store.delete(_turn_key(app, conversation.id, head["born"], number))
            return None
        changed = {**head, "turns": number, "updated_at": now, "expires_at": expires_at, "system": conversation.system}
        await self._store.put(_key(app, conversation.id), changed, expires_at=expires_at)
        return Turn(number, message, output, finish_reason, now)

    async def delete(self, app: App, conversation: Conversation) -> None:
        """Delete it with all its turns. Broken off, it can be done again.

        Raises:
            StoreError: some of it may still be there.
        """
        until = int(self._clock()) + _LONGEST_REQUEST_SECONDS
        gone: Value = {"born": None, "user": conversation.user}
        await self._store.put(_key(app, conversation.id), gone, expires_at=until)
        last = (await self._counted(app, conversation)).turns
        keys = [_turn_key(app, conversation.id, conversation.born, number) for number in range(1, last + 1)]
        for at in range(0, len(keys), _AT_ONCE):
            await asyncio.gather(*(self._store.delete(key) for key in keys[at : at + _AT_ONCE]))

    async def _head_for(self, app: App, conversation: Conversation, expires_at: int) -> Value | None:
        """The head to which a turn can be added, made where it is new; None where there is none any more."""
        key = _key(app, conversation.id)
        mine: dict[str, Any] = {
            "user": conversation.user,
            "system": conversation.system,
            "born": conversation.born,
            "created_at": conversation.created_at,
            "turns": 0,
            "updated_at": conversation.updated_at,
            "expires_at": expires_at,
        }
        is_new = conversation.turns == 0
        if is_new and await self._store.put(key, mine, if_absent=True, expires_at=expires_at):
            return mine
        there = await self._store.get(key)
        if is_new and there is not None and there["born"] is None:  # begun anew after an older one was deleted
            await self._store.put(key, mine, expires_at=expires_at)
            return mine
        if there is None or there["user"] != conversation.user:
            return None
        # Of two that begin it at once, the second joins the first.
        return there if is_new or there["born"] == conversation.born else None

    async def _counted(self, app: App, conversation: Conversation) -> Conversation:
        """With the number of its turns as it is now: of two that were written at once, the head may know one."""
        number = conversation.turns
        while await self._store.get(_turn_key(app, conversation.id, conversation.born, number + 1)) is not None:
            number += 1
        return replace(conversation, turns=number)


def not_found(conversation_id: str) -> errors.NotFound:
    return errors.NotFound(f"There is no conversation with the id '{conversation_id}'.", param="conversation_id")


def _conversation(name: str, head: Value) -> Conversation:
    return Conversation(
        name,
        head["user"],
        head["system"],
        head["born"],
        head["created_at"],
        head["turns"],
        head["expires_at"],
        head["updated_at"],
    )


def _partition(app: App) -> str:
    return f"apps/{app.id}/conversations"


def _key(app: App, conversation_id: str) -> Key:
    return Key(_partition(app), conversation_id)


def _turn_key(app: App, conversation_id: str, born: str, number: int) -> Key:
    return Key(f"apps/{app.id}/turns", f"{conversation_id}/{born}/{number:05}")
