"""What the core needs from outside: the store, and the records that it keeps there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

Value = Mapping[str, Any]
"""What a store keeps under a key: a JSON object."""


class StoreError(Exception):
    """The store cannot be reached, or refuses to work. The message is for the operator's log."""


class Key(NamedTuple):
    """Where an item lies. Items of one partition can be listed together, in the order of their names."""

    partition: str
    name: str


class Store(Protocol):
    """Small JSON objects under two-part keys, shared by all processes of a deployment.

    An item past its `expires_at` (seconds since the epoch, UTC) is gone for every verb, even where the store still
    holds it: cloud stores delete late. Every verb may raise `StoreError`.
    """

    async def get(self, key: Key) -> Value | None: ...

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        """Keep `value` under `key`; False, and nothing done, where `if_absent` and there is one already."""
        ...

    def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        """The names and values of a partition, in the order of the names."""
        ...

    async def delete(self, key: Key) -> bool:
        """Whether there was such an item."""
        ...


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class App(_Record):
    """A client application: the tenant."""

    PARTITION: ClassVar[str] = "apps"

    id: str
    """The name the operator gave it, such as `web-shop`."""
    enabled: bool = True
    created_at: int
    """Seconds since the epoch, UTC."""
    origins: tuple[str, ...] = ()
    """The web pages that may use the app's keys; none: those that the settings allow to every app."""

    @staticmethod
    def key(app_id: str) -> Key:
        return Key(App.PARTITION, app_id)


class AppKey(_Record):
    """One of an app's keys: its digest names the record, the key itself is never kept."""

    app_id: str
    hint: str
    """The key's last four characters, by which a person recognises it."""
    enabled: bool = True
    created_at: int
    expires_at: int | None = None

    @staticmethod
    def key(digest: str) -> Key:
        return Key(f"keys/{digest}", "record")


class AppKeyEntry(_Record):
    """One line of the list of an app's keys."""

    digest: str

    @staticmethod
    def partition(app_id: str) -> str:
        return f"apps/{app_id}/keys"

    @staticmethod
    def key(app_id: str, digest: str) -> Key:
        return Key(AppKeyEntry.partition(app_id), digest)
