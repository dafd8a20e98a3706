"""The embedded store: one SQLite file that several processes may share. For local runs and tests."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from core import counters, json_text
from core.ports import Change, Key, Outcome, StoreError, Value

_BUSY_TIMEOUT_SECONDS = 10.0
_RETRY_SECONDS = 0.01
_PRIMARY_ERROR = 0xFF
"""The bits of SQLite's extended error codes that say what kind of error it is."""
_CALLS_BETWEEN_CHECKPOINTS = 256
"""One in so many calls is made in a thread, by a connection that also brings what was written to its final place, once
it is enough (https://www.sqlite.org/wal.html#ckpt): that waits for the disk."""
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
_GET = f"SELECT value, expires_at FROM items WHERE partition = :partition AND name = :name AND {_ALIVE}"  # noqa: S608
_PUT = (
    "INSERT INTO items VALUES (:partition, :name, :value, :expires_at) ON CONFLICT DO UPDATE"  # noqa: S608
    f" SET value = excluded.value, expires_at = excluded.expires_at WHERE :anyway OR NOT {_ALIVE} RETURNING 1"
)
_REPLACE = "REPLACE INTO items VALUES (:partition, :name, :value, :expires_at)"
_LIST = f"SELECT name, value FROM items WHERE partition = :partition AND {_ALIVE} ORDER BY name"  # noqa: S608
_DELETE = f"DELETE FROM items WHERE partition = :partition AND name = :name AND {_ALIVE} RETURNING 1"  # noqa: S608

_Result = TypeVar("_Result")


class SqliteStore:
    """A `Store` in the file at `path`, made when first used.

    A call takes less time than to hand it to a thread, so it is made at once, unless it had to wait for a lock of the
    file or for the disk: the event loop never does, but a thread.
    """

    def __init__(self, path: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._clock = clock
        self._quick = _Connection(self._path, busy_timeout_seconds=0)
        self._patient = _Connection(self._path, busy_timeout_seconds=_BUSY_TIMEOUT_SECONDS)
        self._calls = 0
        self._in_thread: asyncio.Future[None] | None = None
        """Done when the call that is being made in a thread has been made."""

    async def get(self, key: Key) -> Value | None:
        rows = await self._rows(_GET, partition=key.partition, name=key.name)
        return cast("Value", json_text.read(rows[0][0])) if rows else None

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        rows = await self._rows(
            _PUT,
            partition=key.partition,
            name=key.name,
            value=json_text.write(value).decode(),
            expires_at=expires_at,
            anyway=not if_absent,
        )
        return bool(rows)

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        place = {"partition": key.partition, "name": key.name, "now": int(self._clock())}

        def add(connection: sqlite3.Connection) -> Outcome:
            # Takes the file's write lock before it reads: what it decides on is what it writes over.
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(_GET, place).fetchone()
            value, outcome = counters.apply(json_text.read(row[0]) if row else None, change)
            if outcome.done:
                kept = {"value": json_text.write(value).decode(), "expires_at": row[1] if row else expires_at}
                connection.execute(_REPLACE, {**place, **kept})
            return outcome

        return await self._run(add)

    async def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        for name, value in await self._rows(_LIST, partition=partition):
            yield name, json_text.read(value)

    async def delete(self, key: Key) -> bool:
        return bool(await self._rows(_DELETE, partition=key.partition, name=key.name))

    def close(self) -> None:
        self._quick.close()
        self._patient.close()

    async def _rows(self, statement: str, **parameters: object) -> Sequence[tuple[Any, ...]]:
        parameters["now"] = int(self._clock())
        return await self._run(lambda connection: connection.execute(statement, parameters).fetchall())

    async def _run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """What `work` gives, done in a transaction."""
        await asyncio.sleep(0)  # calls give way to each other, as those of the clouds' stores do
        self._calls += 1
        try:
            if self._quick.is_open and self._calls % _CALLS_BETWEEN_CHECKPOINTS:
                with suppress(_Busy):
                    return self._quick.run(work)
                if await self._others_thread():
                    with suppress(_Busy):
                        return self._quick.run(work)
            return await self._run_in_thread(work)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the store at {self._path} cannot be used: {error}") from error

    async def _others_thread(self) -> bool:
        """Wait for the call that waits for the same lock in a thread, if there is one: the lock is free after it."""
        other = self._in_thread
        if other is None or other.get_loop() is not asyncio.get_running_loop():
            return False
        await asyncio.wait((other,))
        return True

    async def _run_in_thread(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        own = self._in_thread = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.to_thread(self._run_patiently, work)
        finally:
            own.set_result(None)
            if self._in_thread is own:
                self._in_thread = None

    def _run_patiently(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        result = self._patient.run(work)
        self._quick.open()
        return result


class _Busy(sqlite3.OperationalError):
    """Somebody else holds a lock of the file. Nothing was done."""


class _Connection:
    """One that is opened when it is first needed."""

    def __init__(self, path: Path, *, busy_timeout_seconds: float) -> None:
        """
        Args:
            busy_timeout_seconds: so long it waits for the file's locks. Who does not wait for them does not wait for
                the disk either, and leaves it to others to bring what was written to its final place.
        """
        self._path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """What `work` gives, in a transaction that is committed at its end, or rolled back where it fails.

        Raises:
            _Busy: a lock of the file was not to be had in time.
        """
        try:
            with self._lock, self._opened() as connection:
                return work(connection)
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise _Busy(*error.args) from None
            raise

    def open(self) -> None:
        with self._lock:
            self._opened()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=self._busy_timeout_seconds, check_same_thread=False)
            try:
                _prepare(connection)
                if not self._busy_timeout_seconds:
                    connection.execute("PRAGMA wal_autocheckpoint = 0")
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
            if not _is_busy(error) or time.monotonic() > end:
                raise
            time.sleep(_RETRY_SECONDS)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(_SCHEMA)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether somebody else holds a lock of the file; nothing was done then."""
    return error.sqlite_errorcode & _PRIMARY_ERROR == sqlite3.SQLITE_BUSY
