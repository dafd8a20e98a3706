"""What an operator does with apps and their keys, as operations on the store."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from core import app_keys
from core.cors import is_origin
from core.ports import App, AppKey, AppKeyEntry, Key, Store

_APP_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_KEY_ID_CHARACTERS = 12


class AdminError(Exception):
    """An operation that cannot be done. The message says why, in words for the operator."""


class ListedKey(NamedTuple):
    """A key as a list shows it; its `id` is the beginning of its digest."""

    id: str
    digest: str
    record: AppKey


class Admin:
    """Makes, lists, changes and deletes apps and keys.

    A running service sees a change when its own copy of the record has aged: after `apps.cache_seconds` at most.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def new_key(self, app_id: str, *, lifetime_seconds: int | None = None) -> str:
        """A new key of the app `app_id`, which is made where there is none. The key is told this once, never again."""
        key = app_keys.generate()
        await self.add_key(app_id, key, lifetime_seconds=lifetime_seconds)
        return key

    async def add_key(self, app_id: str, key: str, *, lifetime_seconds: int | None = None) -> None:
        """Make `key`, from `app_keys.generate`, one of the app's keys."""
        if not _APP_ID.fullmatch(app_id):
            raise AdminError(
                f"'{app_id}' cannot be an app's name: use up to 63 of a-z 0-9 . _ - and begin with a letter or a digit."
            )
        now, digest = int(self._clock()), app_keys.digest(key)
        expires_at = None if lifetime_seconds is None else now + lifetime_seconds
        record = AppKey(app_id=app_id, hint=key[-4:], created_at=now, expires_at=expires_at)
        await self._store.put(App.key(app_id), App(id=app_id, created_at=now).model_dump(), if_absent=True)
        await self._store.put(AppKeyEntry.key(app_id, digest), AppKeyEntry(digest=digest).model_dump())
        # Last, so that a key that works is always one that is listed.
        await self._store.put(AppKey.key(digest), record.model_dump())

    async def apps(self) -> AsyncIterator[App]:
        async for _, value in self._store.list(App.PARTITION):
            yield App.model_validate(value)

    async def keys(self, app_id: str) -> AsyncIterator[ListedKey]:
        async for digest, _ in self._store.list(AppKeyEntry.partition(app_id)):
            value = await self._store.get(AppKey.key(digest))
            if value is not None:
                yield ListedKey(digest[:_KEY_ID_CHARACTERS], digest, AppKey.model_validate(value))

    async def set_app_enabled(self, app_id: str, *, enabled: bool) -> None:
        await self._change_app(app_id, enabled=enabled)

    async def set_app_origins(self, app_id: str, origins: Sequence[str]) -> None:
        """Let the app be called from these web pages alone; without any, from those that the settings allow to all."""
        for origin in origins:
            if not is_origin(origin):
                raise AdminError(f"'{origin}' is no origin: write it as https://shop.example, or * for any page.")
        await self._change_app(app_id, origins=tuple(origins))

    async def set_key_enabled(self, key_id: str, *, enabled: bool) -> None:
        found = await self._find(key_id)
        await self._replace(AppKey.key(found.digest), found.record.model_copy(update={"enabled": enabled}))

    async def delete_key(self, key_id: str) -> None:
        found = await self._find(key_id)
        await self._store.delete(AppKey.key(found.digest))
        await self._store.delete(AppKeyEntry.key(found.record.app_id, found.digest))

    async def _change_app(self, app_id: str, **changes: object) -> None:
        value = await self._store.get(App.key(app_id))
        if value is None:
            raise AdminError(f"There is no app '{app_id}'.")
        await self._replace(App.key(app_id), App.model_validate(value).model_copy(update=changes))

    async def _replace(self, key: Key, record: App | AppKey) -> None:
        await self._store.put(key, record.model_dump())

    async def _find(self, key_id: str) -> ListedKey:
        async for app in self.apps():
            async for key in self.keys(app.id):
                if key.id == key_id:
                    return key
        raise AdminError(f"There is no key with the id '{key_id}': `key list` shows the ids.")
