"""Responses that upstream makes while nobody waits: what each has reserved, until it is known what it has used.

A client asks for one with `background`, and comes back for it. Until it has seen the end of it, the reservation stands.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from typing import Any, NamedTuple

from pydantic_core import from_json

from core import logs
from core.endpoints import Endpoint
from core.ledger import Reservation
from core.model import Model
from core.ports import App, Key, Store, StoreError
from core.price import Price
from core.route import Target
from core.settlements import Settlements
from core.usage import Usage
from core.windows import Windows

_KEPT_SECONDS = 31 * 86_400
"""As long as OpenAI keeps a response: https://platform.openai.com/docs/guides/your-data"""
_AT_WORK = ("queued", "in_progress")
_CREATE = "responses.create"
_SHOW = ("responses.retrieve", "responses.cancel")


class End(Enum):
    """What became of a response whose usage upstream does not tell."""

    FAILED = auto()
    """It costs nothing."""
    STOPPED = auto()
    """It is paid by the time that it can have been at work."""
    UNKNOWN = auto()
    """All that was reserved is paid."""


class Ended(NamedTuple):
    """A response in the background that an answer shows at its end."""

    id: str
    end: End


class _Record(Model):
    shard: int
    at: int
    model: str
    id: str | None
    tokens: int
    nano_usd: int
    upstream: str
    target_model: str | None
    most: dict[str, Any]


class _Kept(NamedTuple):
    reservation: Reservation
    target: Target
    most: Usage


class Background:
    """The reservations of responses that are still being made. What the store refuses is logged, and stays reserved."""

    def __init__(
        self,
        store: Store,
        settlements: Settlements,
        price: Callable[[Target], Price | None],
        *,
        output_tokens_per_second: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._settlements = settlements
        self._price = price
        self._output_tokens_per_second = output_tokens_per_second
        self._clock = clock

    async def keep(self, reservation: Reservation, target: Target, response_id: str, most: Usage) -> None:
        """Put a reservation by until the response is seen at its end.

        Args:
            most: the most that the response can use.
        """
        record = _Record(
            shard=reservation.shard,
            at=reservation.windows.at,
            model=reservation.model,
            id=reservation.id,
            tokens=reservation.tokens,
            nano_usd=reservation.nano_usd,
            upstream=target.upstream,
            target_model=target.model,
            most={name: value for name in Usage._fields if (value := getattr(most, name))},
        )
        expires_at = reservation.windows.at + _KEPT_SECONDS
        key = _key(reservation.app, response_id)
        await self._insist(
            self._store.put(key, record.model_dump(), expires_at=expires_at), reservation.app, response_id
        )

    async def settle(self, app: App, response_id: str, usage: Usage | None, end: End = End.UNKNOWN) -> None:
        """Settle a response that was put by, if it was, for the usage that upstream told, or by how it ended."""
        await self._insist(self._settle(app, response_id, usage, end), app, response_id)

    async def _settle(self, app: App, response_id: str, usage: Usage | None, end: End) -> None:
        kept = await self._find(app, response_id)
        if kept is None:
            return
        # What is reserved is settled once, however often that is tried. What is not is settled by whoever forgets it.
        is_reserved = kept.reservation.id is not None
        if is_reserved or await self._store.delete(_key(app, response_id)):
            await self._pay(kept, usage, end)
        if is_reserved:
            await self._store.delete(_key(app, response_id))

    async def _pay(self, kept: _Kept, usage: Usage | None, end: End) -> None:
        reservation, price = kept.reservation, self._price(kept.target)
        if usage is not None:
            nano_usd = 0 if price is None else price.cost_nano_usd(usage)
        elif end is End.FAILED:
            await self._settlements.cancel(reservation)
            return
        else:
            usage = kept.most if end is End.UNKNOWN else self._stopped(kept)
            nano_usd = 0 if price is None else min(price.most_nano_usd(usage), reservation.nano_usd)
        await self._settlements.settle(reservation, usage, nano_usd)

    def _stopped(self, kept: _Kept) -> Usage:
        seconds = max(0, int(self._clock()) - kept.reservation.windows.at) + 1
        return kept.most.with_output(min(kept.most.output_tokens, seconds * self._output_tokens_per_second))

    async def _find(self, app: App, response_id: str) -> _Kept | None:
        value = await self._store.get(_key(app, response_id))
        if value is None:
            return None
        record = _Record.model_validate(value)
        reservation = Reservation(
            app,
            record.shard,
            Windows(record.at),
            _CREATE,
            record.model,
            id=record.id,
            tokens=record.tokens,
            nano_usd=record.nano_usd,
        )
        return _Kept(reservation, Target(record.upstream, record.target_model), Usage(**record.most))

    async def _insist(self, work: Coroutine[Any, Any, object], app: App, response_id: str) -> None:
        """Do it even where the caller is cancelled meanwhile."""
        try:
            await asyncio.shield(asyncio.ensure_future(work))
        except StoreError as error:
            logs.write(logging.ERROR, "background_not_settled", app=app.id, response=response_id, error=str(error))


def begun(endpoint: Endpoint, content: bytes) -> str | None:
    """The id of a response that an answer says to be still in the making; None where there is none."""
    if endpoint.name != _CREATE:
        return None
    answer = _read(content)
    return answer["id"] if answer and answer.get("status") in _AT_WORK else None


def ended(endpoint: Endpoint, content: bytes) -> Ended | None:
    """What an answer shows at its end of what was made in the background; None where it does not."""
    if endpoint.name not in _SHOW:
        return None
    answer = _read(content)
    if not answer or answer.get("status") in _AT_WORK:
        return None
    return Ended(answer["id"], End.FAILED if answer.get("status") == "failed" else End.STOPPED)


def _read(content: bytes) -> dict[str, Any]:
    """A response in the background; empty where it is another one."""
    if b'"background"' not in content:
        return {}
    answer = from_json(content, cache_strings="keys")
    is_one = isinstance(answer, dict) and isinstance(answer.get("id"), str) and answer.get("background") is True
    return answer if is_one else {}


def _key(app: App, response_id: str) -> Key:
    return Key(f"apps/{app.id}/background", response_id)
