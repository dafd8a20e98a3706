"""Deleting an app: afterwards nothing of it can be used, and an app that gets its name later inherits nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from core import app_data
from core.admin import Admin
from core.ports import App, Store

LONGEST_REQUEST_SECONDS = 900
"""So long after its last reservation a request may still be at work."""
_SHORTEST_RESERVATION_SECONDS = 60
"""So long somebody who deletes the same app may lag behind."""


class AppDeletion:
    """Deletes apps."""

    def __init__(
        self, store: Store, admin: Admin, *, cache_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            cache_seconds: so long a process goes on with what it knows of an app.
        """
        self._store = store
        self._admin = admin
        self._cache_seconds = cache_seconds
        self._clock = clock

    async def delete(self, app_id: str, *, expected: int | None) -> None:
        """Disable the app for good, then delete its keys, all that is kept of it, its ledger and its record.

        Where this is broken off, the app stays disabled, and deleting it again goes on.

        Raises:
            NotFound, PreconditionFailed, StateConflict: as `Admin.app_turn`.
        """
        now = int(self._clock())
        async with self._admin.app_turn(app_id, expected=expected) as turn:
            disabled_at = now if turn.record.disabled_at is None else turn.record.disabled_at
            await turn.write({"enabled": False, "deleting": True, "disabled_at": disabled_at, "updated_at": now})
        await app_data.delete(self._store, app_id)
        # What requests at work still write under the name is deleted when it is used again: `Admin.create_app`.
        quiet_at = disabled_at + math.ceil(self._cache_seconds) + LONGEST_REQUEST_SECONDS
        until = max(quiet_at, int(self._clock()) + _SHORTEST_RESERVATION_SECONDS)
        await app_data.reserve_name(self._store, app_id, until=until)
        await self._store.delete(App.key(app_id))
