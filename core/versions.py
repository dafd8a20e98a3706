"""Changes of a record, one after the other: of two that begin with the same version, one is made and one refused.

The store has no write that depends on what is there, but one that depends on nothing being there. So whoever wants to
write version 4 of a record first claims that number for a while: nobody else can then.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from core import errors
from core.ports import App, AppKey, Key, Store

_CLAIMED_SECONDS = 60
_WRITTEN_WITHIN_SECONDS = 30
"""A change that took longer is not written: its claim might run out under way."""

_Record = TypeVar("_Record", App, AppKey)


@dataclass(frozen=True, slots=True)
class Turn(Generic[_Record]):
    """The right to write the next version of a record."""

    store: Store
    clock: Callable[[], float]
    key: Key
    record: _Record
    """As it is now."""
    claimed_at: float

    async def write(self, changes: Mapping[str, object]) -> _Record:
        """The record with these changes, in its next version.

        Raises:
            StateConflict: it took too long to come to this.
        """
        if self.clock() - self.claimed_at > _WRITTEN_WITHIN_SECONDS:
            raise errors.StateConflict("The change took too long, and was not made. Please try again.")
        changed = self.record.model_copy(update={**changes, "version": self.record.version + 1})
        await self.store.put(self.key, changed.model_dump())
        return changed


class Versions:
    """Gives turns."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    @asynccontextmanager
    async def turn(
        self, app_id: str, name: str, key: Key, record: _Record, *, expected: int | None
    ) -> AsyncIterator[Turn[_Record]]:
        """The turn at the record under `key`, of the app `app_id`, which was just read as `record`.

        Where the change is refused in the end, somebody else may have the turn at once.

        Args:
            name: names the record among those of its app.
            expected: the version that the change is meant for; None for whichever.

        Raises:
            PreconditionFailed: it has another version.
            StateConflict: somebody else is changing it.
        """
        if expected not in (None, record.version):
            raise _outdated(expected, record.version)
        claimed_at = self._clock()
        if not await self.claim(app_id, name, record.version + 1):
            if expected is not None:
                raise _outdated(expected, None)
            raise errors.StateConflict("Somebody else is changing this at the moment. Please try again in a minute.")
        # An earlier claim of the same number may have been used, and have run out, since the record was read.
        value = await self._store.get(key)
        if value is None or value.get("version", 1) != record.version:
            raise _outdated(record.version, None)
        try:
            yield Turn(self._store, self._clock, key, record, claimed_at)
        except errors.TrefoilError:
            if self._clock() - claimed_at <= _WRITTEN_WITHIN_SECONDS:  # later it may be somebody else's claim
                await self._store.delete(_claim_key(app_id, name, record.version + 1))
            raise

    async def claim(self, app_id: str, name: str, version: int) -> bool:
        """Whether nobody else has claimed this version of late."""
        return await self._store.put(
            _claim_key(app_id, name, version), {}, if_absent=True, expires_at=int(self._clock()) + _CLAIMED_SECONDS
        )


def _claim_key(app_id: str, name: str, version: int) -> Key:
    return Key(f"apps/{app_id}/versions", f"{name}/{version}")


def _outdated(expected: int | None, current: int | None) -> errors.PreconditionFailed:
    now = "somebody else is changing it" if current is None else f"it has version {current} now"
    return errors.PreconditionFailed(
        f"The change is meant for version {expected}, but {now}. Read it again, and send what is still to be changed "
        "with the new version as If-Match."
    )
