"""Every store against the one contract."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from core.ports import Change, Key, StoreError
from core.sqlite_store import SqliteStore
from manual_clock import ManualClock
from store_contract import check_store

_PROCESSES = 4
_KEYS = 50
_PRICE = 7
_CEILING = 1000


@pytest.mark.anyio
async def test_sqlite_keeps_the_contract(tmp_path: Path) -> None:
    clock = ManualClock(1_800_000_000)
    store = SqliteStore(tmp_path / "new" / "store.sqlite3", clock=clock)
    await check_store(store, clock)
    store.close()


@pytest.mark.anyio
async def test_sqlite_says_when_its_file_cannot_be_used(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with pytest.raises(StoreError, match="cannot be used"):
        await store.get(Key("a", "b"))


@pytest.mark.anyio
async def test_sqlite_leaves_waiting_to_a_thread(tmp_path: Path) -> None:
    """While another process writes, the event loop goes on, and what was asked meanwhile is done afterwards."""
    file = tmp_path / "store.sqlite3"
    store, place = SqliteStore(file), Key("counters", "one")
    await store.add_within(place, Change({"money": 1}))
    other = sqlite3.connect(file)
    other.execute("BEGIN IMMEDIATE")
    asked = asyncio.ensure_future(store.add_within(place, Change({"money": 2})))
    for _ in range(100):
        await asyncio.sleep(0)
    assert await store.get(place) == {"counters": {"money": 1}, "marks": {}}
    assert not asked.done()
    other.rollback()
    other.close()
    assert (await asked).counters == {"money": 3}
    store.close()


@pytest.mark.anyio
async def test_what_sqlite_has_written_finds_its_final_place(tmp_path: Path) -> None:
    """The log of what was written last is begun anew from time to time, however long the process lives."""
    file = tmp_path / "store.sqlite3"
    store = SqliteStore(file)
    for number in range(3000):
        await store.put(Key("some", str(number % 10)), {"text": f"{number:05}" * 1000})
    assert file.with_name("store.sqlite3-wal").stat().st_size < 10_000_000
    store.close()


def test_sqlite_is_shared_between_processes(tmp_path: Path) -> None:
    """Processes race for the same absent places: each place goes to one."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(_PROCESSES) as pool:
        won = pool.starmap(_claim, [(tmp_path / "store.sqlite3", writer) for writer in range(_PROCESSES)])
    assert sum(won) == _KEYS


def test_sqlite_counts_right_across_processes(tmp_path: Path) -> None:
    """Processes race for one budget: what is granted is what it holds, and what it holds is within the ceiling."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(_PROCESSES) as pool:
        granted = pool.starmap(_spend, [(tmp_path / "store.sqlite3", writer) for writer in range(_PROCESSES)])
    assert sum(granted) == _CEILING // _PRICE


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Each makes the file what it must be; none is told that it is locked."""

    async def open_all(file: Path) -> None:
        stores = [SqliteStore(file) for _ in range(8)]
        await asyncio.gather(*(store.get(Key("a", "b")) for store in stores))
        for store in stores:
            store.close()

    for number in range(40):
        asyncio.run(open_all(tmp_path / f"{number}.sqlite3"))


def _spend(file: Path, writer: int) -> int:
    async def spend_all() -> int:
        store = SqliteStore(file)
        change = Change({"money": _PRICE}, {"money": _CEILING})
        outcomes = [await store.add_within(Key("counters", "one"), change) for _ in range(_KEYS)]
        store.close()
        return sum(outcome.done for outcome in outcomes)

    return asyncio.run(spend_all())


def _claim(file: Path, writer: int) -> int:
    async def claim_all() -> int:
        store = SqliteStore(file)
        wins = [await store.put(Key("raced", str(n)), {"by": writer}, if_absent=True) for n in range(_KEYS)]
        store.close()
        return sum(wins)

    return asyncio.run(claim_all())
