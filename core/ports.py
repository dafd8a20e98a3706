"""What the core needs from outside: the store, and the records that it keeps there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Change:
    """What to do to an item of counters, all of it or nothing.

    Such an item is a value `{"counters": {name: integer}, "marks": {id: JSON object}}`; what is not there counts as 0.
    """

    amounts: Mapping[str, int]
    """What to add to each counter, which may be less than nothing."""
    ceilings: Mapping[str, int] = field(default_factory=dict)
    """What a counter must not pass by this change."""
    mark: tuple[str, Value] | None = None
    """A mark to leave: an id, and what it says."""
    unmark: str | None = None
    """The id of a mark to take away. Where it is not there, nothing is done: a change is made once, however often it is
    tried.
    """


class Outcome(NamedTuple):
    """What became of a change."""

    done: bool
    counters: Mapping[str, int]
    """Where the counters stand now: with the change, or without it."""
    over: str | None = None
    """The counter that would have passed its ceiling; None where the change was done, or its mark was not there."""


class Store(Protocol):
    """Small JSON objects under two-part keys, shared by all processes of a deployment.

    An item past its `expires_at` (seconds since the epoch, UTC) is gone for every verb, even where the store still
    holds it: cloud stores delete late. Every verb may raise `StoreError`.
    """

    async def get(self, key: Key) -> Value | None: ...

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        """Keep `value` under `key`; False, and nothing done, where `if_absent` and there is one already."""
        ...

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        """Change the counters under `key` at once and alone: no two changes pass a ceiling together.

        An item that is made by it expires at `expires_at`; one that is there keeps its own time.
        """
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
