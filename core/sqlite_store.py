"""The embedded store: one SQLite file that several processes may share. For local runs and tests."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from core import counters
from core.ports import Change, Key, Outcome, StoreError, Value

_BUSY_TIMEOUT_SECONDS = 10.0
_RETRY_SECONDS = 0.01
_PRIMARY_ERROR = 0xFF
"""The bits of SQLite's extended error codes that say what kind of error it is."""
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS items (
        partition TEXT NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        expires_at INTEGER,
        PRIMARY KEY (partition, name)
    ) WITHOUT ROWID
"""
_ALIVE = "(expires_at IS NULL OR expires_at > :now)"


class SqliteStore:
    """A `Store` in the file at `path`, made when first used.

    SQLite blocks, so its calls run in worker threads, one at a time: the event loop never waits for a lock of the file.
    """

    def __init__(self, path: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    async def get(self, key: Key) -> Value | None:
        rows = await self._rows(
            f"SELECT value FROM items WHERE partition = :partition AND name = :name AND {_ALIVE}",  # noqa: S608
            **key._asdict(),
        )
        return cast("Value", json.loads(rows[0][0])) if rows else None

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        condition = f"WHERE :anyway OR NOT {_ALIVE}"
        rows = await self._rows(
            "INSERT INTO items VALUES (:partition, :name, :value, :expires_at) ON CONFLICT DO UPDATE"  # noqa: S608
            f" SET value = excluded.value, expires_at = excluded.expires_at {condition} RETURNING 1",
            **key._asdict(),
            value=json.dumps(value),
            expires_at=expires_at,
            anyway=not if_absent,
        )
        return bool(rows)

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        return await asyncio.to_thread(self._add_within, key, change, expires_at)

    async def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        rows = await self._rows(
            f"SELECT name, value FROM items WHERE partition = :partition AND {_ALIVE} ORDER BY name",  # noqa: S608
            partition=partition,
        )
        for name, value in rows:
            yield name, json.loads(value)

    async def delete(self, key: Key) -> bool:
        rows = await self._rows(
            f"DELETE FROM items WHERE partition = :partition AND name = :name AND {_ALIVE} RETURNING 1",  # noqa: S608
            **key._asdict(),
        )
        return bool(rows)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    async def _rows(self, statement: str, **parameters: object) -> Sequence[tuple[str, ...]]:
        return await asyncio.to_thread(self._execute, statement, {"now": int(self._clock()), **parameters})

    def _execute(self, statement: str, parameters: dict[str, object]) -> Sequence[tuple[str, ...]]:
        with self._alone() as connection:
            return connection.execute(statement, parameters).fetchall()

    def _add_within(self, key: Key, change: Change, expires_at: int | None) -> Outcome:
        place = {**key._asdict(), "now": int(self._clock())}
        with self._alone() as connection:
            # Takes the file's write lock before it reads: what it decides on is what it writes over.
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(
                f"SELECT value, expires_at FROM items WHERE partition = :partition AND name = :name AND {_ALIVE}",  # noqa: S608
                place,
            ).fetchone()
            value, outcome = counters.apply(json.loads(row[0]) if row else None, change)
            if outcome.done:
                connection.execute(
                    "REPLACE INTO items VALUES (:partition, :name, :value, :expires_at)",
                    {**place, "value": json.dumps(value), "expires_at": row[1] if row else expires_at},
                )
            return outcome

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction that is committed at the end, or rolled back where the body fails."""
        try:
            with self._lock, self._connect() as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the store at {self._path} cannot be used: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_SECONDS, check_same_thread=False)
            try:
                _prepare(connection)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Set up a file that may be new, and that other processes may be setting up at this moment."""
    end = time.monotonic() + _BUSY_TIMEOUT_SECONDS
    while True:
        try:
            # SQLite does not wait for a lock to change this: two that try at once would both hold what the other needs.
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_ERROR != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_RETRY_SECONDS)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(_SCHEMA)
