"""What the core needs from outside: the store, and the records that it keeps there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Set
from typing import Any, ClassVar, NamedTuple, Protocol

from core.model import Model

Value = Mapping[str, Any]
"""What a store keeps under a key: a JSON object."""


class StoreError(Exception):
    """The store cannot be reached, or refuses to work. The message is for the operator's log."""


class Key(NamedTuple):
    """Where an item lies. Items of one partition can be listed together, in the order of their names."""

    partition: str
    name: str


class Change(NamedTuple):
    """What to do to an item of counters, all of it or nothing.

    Such an item is a value `{"counters": {name: integer}, "marks": {id: JSON object}}`; what is not there counts as 0.

    Where others change the item all the time, a change must have ten parts at most (a counter to add to or to drop, the
    mark, the unmark): Cosmos DB makes a longer one only when no other is made for some 10 ms.
    """

    amounts: Mapping[str, int]
    """What to add to each counter, which may be less than nothing."""
    ceilings: Mapping[str, int] = {}
    """What a counter must not pass by this change."""
    mark: tuple[str, Value] | None = None
    """A mark to leave: an id, and what it says."""
    unmark: str | None = None
    """The id of a mark to take away. Where it is not there, nothing is done: a change is made once, however often it is
    tried.
    """
    drop: Set[str] = frozenset()
    """Counters to take away, whatever they hold, and whether or not they are there. None of them is in `amounts`.

    At most 50, since DynamoDB's expressions have 4 KB and 300 operators. A ceiling on one of them is checked against
    what it holds, but does not tell that it was dropped and begun anew: who carries over what a counter holds has to
    count that, and to bound that count.
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


class Limits(Model):
    """What an app may do. None, or an empty tuple: there is no such limit.

    Minutes, days and months are those of UTC, each counted from its beginning.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Input and output together."""
    day_nano_usd: int | None = None
    month_nano_usd: int | None = None
    total_nano_usd: int | None = None
    models: tuple[str, ...] = ()
    """Names or patterns such as `gpt-4o*`, as the client writes the model."""
    endpoints: tuple[str, ...] = ()
    """Names or patterns of the rows of `core.endpoints`, such as `chat.completions.*`."""
    output_tokens: int | None = None
    """The most that one answer may have."""
    shards: int = 1
    """Over so many items of the store the app's counters are split."""

    @property
    def has_budget(self) -> bool:
        return not (self.day_nano_usd is None and self.month_nano_usd is None and self.total_nano_usd is None)

    @property
    def are_counted(self) -> bool:
        """Whether a request has to be counted before it is let through."""
        return self.has_budget or self.requests_per_minute is not None or self.tokens_per_minute is not None


class App(Model):
    """A client application: the tenant."""

    PARTITION: ClassVar[str] = "apps"

    id: str
    """The name the operator gave it, such as `web-shop`."""
    enabled: bool = True
    created_at: int
    """Seconds since the epoch, UTC."""
    origins: tuple[str, ...] = ()
    """The web pages that may use the app's keys; none: those that the settings allow to every app."""
    limits: Limits = Limits.model_construct()
    most_shards: int = 1
    """Over so many its counters were once split, if now over fewer."""
    version: int = 1
    """Counts the changes of this record."""
    updated_at: int | None = None
    disabled_at: int | None = None
    """Since when it is disabled; None where it is not."""
    deleting: bool = False
    """Whether it is disabled for good: what is kept of it is being deleted."""

    @staticmethod
    def key(app_id: str) -> Key:
        return Key(App.PARTITION, app_id)


class AppKey(Model):
    """One of an app's keys: its digest names the record, the key itself is never kept."""

    app_id: str
    hint: str
    """The key's last four characters, by which a person recognises it."""
    label: str = ""
    """What the operator noted about it."""
    enabled: bool = True
    created_at: int
    expires_at: int | None = None
    version: int = 1
    """Counts the changes of this record."""

    @staticmethod
    def key(digest: str) -> Key:
        return Key(f"keys/{digest}", "record")


App.prepare()
AppKey.prepare()


class AppKeyEntry(Model):
    """One line of the list of an app's keys."""

    digest: str

    @staticmethod
    def partition(app_id: str) -> str:
        return f"apps/{app_id}/keys"

    @staticmethod
    def key(app_id: str, digest: str) -> Key:
        return Key(AppKeyEntry.partition(app_id), digest)
