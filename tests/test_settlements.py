"""Settlements are made, whoever leaves and however long the store fails; what waits is in the log."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core import ledger_item
from core.admin import Admin
from core.books import Books
from core.gateway import Gateway
from core.http import Request
from core.ledger import Ledger, Reservation, Unsure
from core.ports import App, Change, Key, Limits, Outcome, Store, StoreError, Value
from core.settings import Settings
from core.settlements import Settlements
from core.sqlite_store import SqliteStore
from core.usage import Usage
from core.usage_archive import UsageArchive

pytestmark = pytest.mark.anyio

_APP = App(id="shop", created_at=0, limits=Limits(total_nano_usd=1_000_000))


class _Failing:
    """A store that makes changes only while `works`, or until so many are left; `asked` is set when it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.works = True
        self.slow: asyncio.Event | None = None
        self.asked = asyncio.Event()
        self.loses_answer = False
        """Of the next change, which is made."""

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        self.asked.set()
        if self.slow is not None:
            await self.slow.wait()
        if not self.works:
            raise StoreError("down")
        outcome = await self._store.add_within(key, change, expires_at=expires_at)
        if self.loses_answer:
            self.loses_answer = False
            raise StoreError("silent")
        return outcome

    async def get(self, key: Key) -> Value | None:
        return await self._store.get(key)

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        return await self._store.put(key, value, if_absent=if_absent, expires_at=expires_at)

    def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        return self._store.list(partition)

    async def delete(self, key: Key) -> bool:
        return await self._store.delete(key)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite3")
    yield store
    store.close()


@pytest.fixture
def store(sqlite: SqliteStore) -> _Failing:
    return _Failing(sqlite)


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [json.loads(record.message) for record in caplog.records if record.name == "trefoil"]


async def test_a_settlement_outlives_a_store_that_is_down(
    store: _Failing, sqlite: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trefoil")
    waits: list[float] = []
    recovered = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)
        if len(waits) == 8:
            store.works = True
            recovered.set()

    ledger = Ledger(store)
    settlements = Settlements(ledger, UsageArchive(store), sleep=sleep, random=lambda: 1.0)
    reservation = await ledger.reserve(_APP, "completions.create", "m", tokens=0, nano_usd=500)
    store.works = False
    await settlements.settle(reservation, Usage(output_tokens=3), 200)
    postponed = _lines(caplog)[-1]
    assert (postponed["event"], postponed["app"], postponed["unmark"]) == (
        "settlement_postponed",
        "shop",
        f"r/{reservation.id}",
    )
    await recovered.wait()
    await settlements.idle()
    assert _lines(caplog)[-1]["event"] == "settlement_made"
    assert await Books(sqlite).spending(_APP) == (200, 200, 200, 0)
    assert waits == sorted(waits[:2]) + sorted(waits[2:])  # each wait is longer than the one before
    await settlements.close()


async def test_a_store_that_takes_its_time_is_told_of_before_it_answers(
    store: _Failing, sqlite: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The process may end while it waits: all that it takes to settle has to be in the log by then."""
    caplog.set_level(logging.INFO, "trefoil")
    ledger = Ledger(store)
    settlements = Settlements(ledger, UsageArchive(store), patience_seconds=0)
    reservation = await ledger.reserve(_APP, "completions.create", "m", tokens=0, nano_usd=500)
    store.slow = asyncio.Event()
    settling = asyncio.ensure_future(settlements.settle(reservation, Usage(), 200))
    for _ in range(10):
        await asyncio.sleep(0)
    [postponed] = _lines(caplog)
    assert (postponed["event"], postponed["unmark"]) == ("settlement_postponed", f"r/{reservation.id}")
    store.slow.set()
    await settling
    assert [line["event"] for line in _lines(caplog)] == ["settlement_postponed", "settlement_made"]
    await settlements.close()


async def test_a_settlement_outlives_its_caller(store: _Failing, sqlite: SqliteStore) -> None:
    ledger = Ledger(store)
    settlements = Settlements(ledger, UsageArchive(store))
    reservation = await ledger.reserve(_APP, "completions.create", "m", tokens=0, nano_usd=500)
    store.slow = asyncio.Event()
    store.asked.clear()
    caller = asyncio.ensure_future(settlements.settle(reservation, Usage(), 200))
    await store.asked.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert caller.cancelled()
    store.slow.set()
    await settlements.idle()
    assert await Books(sqlite).standing("shop") == []
    assert (await Books(sqlite).spending(_APP)).total_nano_usd == 200
    await settlements.close()


async def test_what_has_no_reservation_is_counted_once_whoever_leaves(store: _Failing, sqlite: SqliteStore) -> None:
    ledger, app = Ledger(store), App(id="shop", created_at=0)
    settlements = Settlements(ledger, UsageArchive(store))
    store.slow = asyncio.Event()
    caller = asyncio.ensure_future(
        settlements.settle(ledger.without_limits(app, "completions.create", "m"), Usage(), 7)
    )
    await store.asked.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    store.slow.set()
    await settlements.idle()
    assert (await Books(sqlite).spending(app)).total_nano_usd == 7
    await settlements.close()


async def test_what_the_end_of_the_process_interrupts_is_in_the_log(
    store: _Failing, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.settlements._CLOSING_SECONDS", 0)
    caplog.set_level(logging.INFO, "trefoil")
    ledger = Ledger(store)
    settlements = Settlements(ledger, UsageArchive(store))
    reservation = await ledger.reserve(_APP, "completions.create", "m", tokens=0, nano_usd=500)
    store.slow = asyncio.Event()
    store.asked.clear()
    caller = asyncio.ensure_future(settlements.settle(reservation, Usage(), 200))
    await store.asked.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    await asyncio.sleep(0)
    assert _lines(caplog) == []
    await settlements.close()
    [postponed] = _lines(caplog)
    assert (postponed["event"], postponed["unmark"]) == ("settlement_postponed", f"r/{reservation.id}")


@pytest.mark.parametrize("turns", range(6))
def test_so_is_what_the_end_of_the_event_loop_interrupts(
    turns: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At whatever moment: the server cancels what goes on, and asyncio cancels the tasks that there are then."""
    caplog.set_level(logging.INFO, "trefoil")
    sqlite = SqliteStore(tmp_path / "store.sqlite3")

    async def serve() -> asyncio.Task[None]:
        store = _Failing(sqlite)
        ledger = Ledger(store)
        settlements = Settlements(ledger, UsageArchive(store))
        reservation = await ledger.reserve(_APP, "completions.create", "m", tokens=0, nano_usd=500)
        store.slow = asyncio.Event()
        caller = asyncio.ensure_future(settlements.settle(reservation, Usage(), 200))
        for _ in range(turns):
            await asyncio.sleep(0)
        return caller

    caller = asyncio.run(serve())
    sqlite.close()
    if turns:  # without one, the caller was cancelled before it had said anything
        assert [line["event"] for line in _lines(caplog)] == ["settlement_postponed"]
    assert caller.cancelled()


async def test_what_is_reserved_for_a_client_that_has_left_is_given_back(store: _Failing, sqlite: SqliteStore) -> None:
    ledger = Ledger(store)
    settlements = Settlements(ledger, UsageArchive(store))
    store.slow = asyncio.Event()
    reserving = ledger.reserve(_APP, "completions.create", "m", tokens=0, nano_usd=500)
    caller = asyncio.ensure_future(settlements.unless_left(reserving))
    await store.asked.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    store.slow.set()
    await settlements.idle()
    assert await sqlite.get(ledger_item.key("shop", 0)) is not None
    assert await Books(sqlite).spending(_APP) == (0, 0, 0, 0)
    await settlements.close()


async def test_a_reservation_whose_answer_was_lost_is_given_back(
    store: _Failing, sqlite: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.load({"OPENAI_API_KEY": "sk-1", "TREFOIL_UPSTREAM_URL": "http://127.0.0.1:9/v1"})
    key = await Admin(sqlite).new_key("shop")
    await sqlite.put(App.key("shop"), _APP.model_dump())
    gateway = Gateway(settings, store)
    store.loses_answer = True
    content = b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 1}'
    request = Request("POST", "/v1/chat/completions", headers={"authorization": f"Bearer {key}"}, body=content)
    assert (await gateway.handle(request)).status == 503
    assert "reservation_unsure" in [line["event"] for line in _lines(caplog)]
    async with asyncio.timeout(10):
        while await Books(sqlite).standing("shop"):  # noqa: ASYNC110 - only the store can tell
            await asyncio.sleep(0.01)
    assert (await Books(sqlite).spending(_APP)) == (0, 0, 0, 0)
    await gateway.close()


async def test_a_reservation_that_comes_late_is_given_back(store: _Failing, sqlite: SqliteStore) -> None:
    """It was on its way when nobody waited for its answer any more."""
    ledger, late = Ledger(store), Ledger(sqlite)
    arrived: list[Reservation] = []

    async def sleep(_: float) -> None:
        if not arrived:
            key, mark = ledger_item.key("shop", 0), ledger_item.reservation_mark(0, "completions.create", "m", 0, 500)
            amounts = {name: -amount for name, amount in late.cancellation(unsure).amounts.items()}
            await sqlite.add_within(key, Change(amounts, mark=(f"{ledger_item.RESERVATION}{unsure.id}", mark)))
            arrived.append(unsure)

    settlements = Settlements(ledger, UsageArchive(store), sleep=sleep)
    store.works = False
    with pytest.raises(Unsure) as failed:
        await ledger.reserve(_APP, "completions.create", "m", tokens=0, nano_usd=500)
    store.works, unsure = True, failed.value.reservation
    settlements.revoke(unsure)
    await settlements.idle()
    assert arrived
    assert await Books(sqlite).spending(_APP) == (0, 0, 0, 0)
