"""What an operator does with apps and their keys, as operations on the store.

A running service sees a change when its own copy of the record has aged: after `apps.cache_seconds` at most.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from core import app_data, app_keys, errors
from core.ports import App, AppKey, AppKeyEntry, Store
from core.versions import Turn, Versions

_APP_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_KEY_ID_CHARACTERS = 12


class ListedKey(NamedTuple):
    """A key as a list shows it."""

    id: str
    digest: str
    record: AppKey


class NewKey(NamedTuple):
    """A key that was made just now: `secret` is the key itself, which is told once and kept nowhere."""

    secret: str
    listed: ListedKey


class Admin:
    """Makes, lists, changes and deletes apps and keys. What cannot be done raises one of `core.errors`."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._versions = Versions(store, clock=clock)

    async def apps(self) -> AsyncIterator[App]:
        async for _, value in self._store.list(App.PARTITION):
            yield App.model_validate(value)

    async def app(self, app_id: str) -> App:
        """
        Raises:
            NotFound: there is none.
        """
        value = await self._store.get(App.key(app_id)) if _APP_ID.fullmatch(app_id) else None
        if value is None:
            raise errors.NotFound(f"There is no app '{app_id[:100]}'.", param="app")
        return App.model_validate(value)

    async def create_app(self, app_id: str, settings: Mapping[str, object]) -> App:
        """A new app with these fields of its record. It inherits nothing from an earlier one of its name.

        Raises:
            InvalidRequest: it cannot have this name.
            StateConflict: there is such an app, or was until a moment ago.
        """
        check_app_id(app_id)
        await self._check_free(app_id)
        if not await self._versions.claim(app_id, "app", 1):
            raise errors.StateConflict(f"Somebody else is making an app '{app_id}' at the moment.", param="id")
        await self._check_free(app_id)  # whoever had the claim before may have made it, and the claim run out, since
        await app_data.delete(self._store, app_id)
        app = App.model_validate({"id": app_id, "created_at": int(self._clock()), **settings})
        await self._store.put(App.key(app_id), app.model_dump())
        return app

    @asynccontextmanager
    async def app_turn(self, app_id: str, *, expected: int | None) -> AsyncIterator[Turn[App]]:
        """The turn to change an app, as `Versions.turn` gives it."""
        app = await self.app(app_id)
        async with self._versions.turn(app_id, "app", App.key(app_id), app, expected=expected) as turn:
            yield turn

    def app_changes(self, app: App, changes: Mapping[str, object]) -> Mapping[str, object]:
        """`changes` of an app's record, with the times that they bring about.

        Raises:
            StateConflict: the app is being deleted.
        """
        check_not_deleting(app)
        now = int(self._clock())
        times: dict[str, object] = {"updated_at": now}
        if changes.get("enabled", app.enabled) != app.enabled:
            times["disabled_at"] = now if app.enabled else None
        return {**changes, **times}

    async def set_app_enabled(self, app_id: str, *, enabled: bool) -> None:
        await self._change_app(app_id, {"enabled": enabled})

    async def set_app_origins(self, app_id: str, origins: Sequence[str]) -> None:
        """Let the app be called from these web pages alone; without any, from those that the settings allow to all."""
        await self._change_app(app_id, {"origins": tuple(origins)})

    async def _change_app(self, app_id: str, changes: Mapping[str, object]) -> None:
        async with self.app_turn(app_id, expected=None) as turn:
            await turn.write(self.app_changes(turn.record, changes))

    async def keys(self, app_id: str) -> AsyncIterator[ListedKey]:
        async for digest, _ in self._store.list(AppKeyEntry.partition(app_id)):
            value = await self._store.get(AppKey.key(digest))
            if value is not None:
                yield ListedKey(digest[:_KEY_ID_CHARACTERS], digest, AppKey.model_validate(value))

    async def key(self, app_id: str, key_id: str) -> ListedKey:
        """
        Raises:
            NotFound: the app has no such key.
        """
        async for digest, _ in self._store.list(AppKeyEntry.partition(app_id)):
            value = await self._store.get(AppKey.key(digest)) if digest[:_KEY_ID_CHARACTERS] == key_id else None
            if value is not None:
                return ListedKey(key_id, digest, AppKey.model_validate(value))
        raise errors.NotFound(f"The app '{app_id}' has no key with the id '{key_id[:100]}'.", param="key")

    async def new_key(self, app_id: str, *, lifetime_seconds: int | None = None) -> str:
        """A new key of the app `app_id`, which is made where there is none. The key is told this once, never again."""
        key = app_keys.generate()
        await self.add_key(app_id, key, lifetime_seconds=lifetime_seconds)
        return key

    async def add_key(self, app_id: str, key: str, *, lifetime_seconds: int | None = None) -> None:
        """Make `key`, from `app_keys.generate`, one of the app's keys, and the app where there is none."""
        check_app_id(app_id)
        if await self._store.get(App.key(app_id)) is None:
            try:
                await self.create_app(app_id, {})
            except errors.StateConflict:
                if await self._store.get(App.key(app_id)) is None:
                    raise
        expires_at = None if lifetime_seconds is None else int(self._clock()) + lifetime_seconds
        await self._put_key(app_id, key, label="", expires_at=expires_at)

    async def create_key(self, app_id: str, *, label: str, expires_at: int | None) -> NewKey:
        """A new key of an app that is there."""
        check_not_deleting(await self.app(app_id))
        secret = app_keys.generate()
        return NewKey(secret, await self._put_key(app_id, secret, label=label, expires_at=expires_at))

    async def change_key(
        self,
        app_id: str,
        key_id: str,
        changes: Mapping[str, object],
        *,
        expected: int | None,
    ) -> ListedKey:
        check_not_deleting(await self.app(app_id))
        key = await self.key(app_id, key_id)
        async with self._key_turn(key, expected=expected) as turn:
            changed = key._replace(record=await turn.write(changes))
        await self._check_kept(changed)
        return changed

    async def replace_key(
        self, app_id: str, key_id: str, *, overlap_seconds: int, make: Callable[[AppKey], Awaitable[NewKey]]
    ) -> tuple[NewKey, ListedKey]:
        """A new key, which `make` makes, and the old one, which ends when both have worked for so long.

        Raises:
            StateConflict: the old one is disabled or has expired: there is nothing that a new one would go on from.
        """
        now = int(self._clock())
        old = await self.key(app_id, key_id)
        if not old.record.enabled or (old.record.expires_at is not None and old.record.expires_at <= now):
            raise errors.StateConflict(
                f"The key '{key_id}' is disabled or has expired. Make a new key instead of rotating it.", param="key"
            )
        end = now + overlap_seconds
        expires_at = end if old.record.expires_at is None else min(end, old.record.expires_at)
        async with self._key_turn(old, expected=None) as turn:
            new = await make(old.record)
            ending = old._replace(record=await turn.write({"expires_at": expires_at}))
        await self._check_kept(ending)
        return new, ending

    async def set_key_enabled(self, key_id: str, *, enabled: bool) -> None:
        found = await self._find(key_id)
        await self.change_key(found.record.app_id, key_id, {"enabled": enabled}, expected=None)

    async def delete_key(self, key_id: str) -> None:
        await self.remove_key(await self._find(key_id))

    async def remove_key(self, key: ListedKey, *, expected: int | None = None) -> None:
        """
        Raises:
            PreconditionFailed, StateConflict: as `Versions.turn`.
        """
        async with self._key_turn(key, expected=expected):  # somebody else's change would bring it back
            await self._erase_key(key)

    def _key_turn(self, key: ListedKey, *, expected: int | None) -> AbstractAsyncContextManager[Turn[AppKey]]:
        place = AppKey.key(key.digest)
        return self._versions.turn(key.record.app_id, key.id, place, key.record, expected=expected)

    async def _put_key(self, app_id: str, key: str, *, label: str, expires_at: int | None) -> ListedKey:
        digest = app_keys.digest(key)
        record = AppKey(app_id=app_id, hint=key[-4:], label=label, created_at=int(self._clock()), expires_at=expires_at)
        listed = ListedKey(digest[:_KEY_ID_CHARACTERS], digest, record)
        await self._store.put(AppKeyEntry.key(app_id, digest), AppKeyEntry(digest=digest).model_dump())
        # Last, so that a key that works is always one that is listed.
        await self._store.put(AppKey.key(digest), record.model_dump())
        await self._check_kept(listed)
        return listed

    async def _check_kept(self, key: ListedKey) -> None:
        """Take a key away again that was written when its app was being deleted.

        Whoever deletes an app marks it first and looks for its keys then; whoever writes a key looks for the mark
        afterwards: one of the two sees the other.
        """
        value = await self._store.get(App.key(key.record.app_id))
        if value is None or App.model_validate(value).deleting:
            await self._erase_key(key)
            raise errors.StateConflict(f"The app '{key.record.app_id}' is being deleted.", param="app")

    async def _erase_key(self, key: ListedKey) -> None:
        await self._store.delete(AppKey.key(key.digest))
        await self._store.delete(AppKeyEntry.key(key.record.app_id, key.digest))

    async def _find(self, key_id: str) -> ListedKey:
        async for app in self.apps():
            async for key in self.keys(app.id):
                if key.id == key_id:
                    return key
        raise errors.NotFound(f"There is no key with the id '{key_id}'.", param="key")

    async def _check_free(self, app_id: str) -> None:
        if await self._store.get(App.key(app_id)) is not None:
            raise errors.StateConflict(f"There is an app '{app_id}' already.", param="id", code="app_exists")
        until = await app_data.reserved_until(self._store, app_id)
        if until is not None:
            wait = max(1, until - int(self._clock()))
            raise errors.StateConflict(
                f"An app '{app_id}' was deleted a short while ago, and requests of its keys may still be at work. "
                f"Its name is free again in {wait} seconds.",
                param="id",
                code="app_name_reserved",
            )


def check_app_id(app_id: str) -> None:
    """
    Raises:
        InvalidRequest: no app can be called so.
    """
    if not _APP_ID.fullmatch(app_id):
        raise errors.InvalidRequest(
            f"'{app_id[:100]}' cannot be an app's name: use up to 63 of a-z 0-9 . _ - and begin with a letter or a "
            "digit.",
            param="id",
            code="invalid_value",
        )


def check_not_deleting(app: App) -> None:
    """
    Raises:
        StateConflict: it is.
    """
    if app.deleting:
        raise errors.StateConflict(
            f"The app '{app.id}' is being deleted. If that was broken off, delete it again.", param="app"
        )
