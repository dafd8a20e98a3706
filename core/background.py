"""Responses that upstream makes while nobody waits: what each has reserved, until it is known what it has used.

A client asks for one with `background`, and comes back for it. Until it has seen the end of it, the reservation stands.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json

from core.endpoints import Endpoint
from core.ledger import Reservation
from core.ports import App, Key, Store
from core.route import Target
from core.windows import Windows

_KEPT_SECONDS = 31 * 86_400
"""As long as OpenAI keeps a response: https://platform.openai.com/docs/guides/your-data"""
_AT_WORK = ("queued", "in_progress")
_CREATE = "responses.create"
_LATER = ("responses.retrieve", "responses.cancel")


class _Record(BaseModel):
    shard: int
    at: int
    model: str
    id: str | None
    tokens: int
    nano_usd: int
    upstream: str
    target_model: str | None


class Background:
    """The reservations of responses that are still being made."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, reservation: Reservation, target: Target, response_id: str) -> None:
        """Put a reservation by until `find` is asked for it.

        Raises:
            StoreError: it is not put by; it stands in the ledger all the same.
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
        )
        expires_at = reservation.windows.at + _KEPT_SECONDS
        await self._store.put(_key(reservation.app, response_id), record.model_dump(), expires_at=expires_at)

    async def find(self, app: App, response_id: str) -> tuple[Reservation, Target] | None:
        """
        Raises:
            StoreError: the store cannot be asked.
        """
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
        return reservation, Target(record.upstream, record.target_model)

    async def forget(self, app: App, response_id: str) -> bool:
        """Whether it was still put by: of those who ask at the same time, one is told so."""
        return await self._store.delete(_key(app, response_id))


def begun(endpoint: Endpoint, content: bytes) -> str | None:
    """The id of a response that an answer says to be still in the making; None where there is none."""
    if endpoint.name != _CREATE or not _may_be(content):
        return None
    answer = _read(content)
    return answer["id"] if answer.get("background") is True and answer.get("status") in _AT_WORK else None


def ended(endpoint: Endpoint, content: bytes) -> str | None:
    """The id of a response in the background that an answer shows at its end; None where it does not."""
    if endpoint.name not in _LATER or not _may_be(content):
        return None
    answer = _read(content)
    return answer["id"] if answer.get("background") is True and answer.get("status") not in _AT_WORK else None


def _may_be(content: bytes) -> bool:
    return b'"background"' in content


def _read(content: bytes) -> dict[str, Any]:
    answer = from_json(content)
    return answer if isinstance(answer, dict) and isinstance(answer.get("id"), str) else {}


def _key(app: App, response_id: str) -> Key:
    return Key(f"apps/{app.id}/background", response_id)
