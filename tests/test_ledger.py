"""The ledger: no limit is ever passed, whatever is settled is counted once, and nothing is refused without need."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from core import errors, ledger_item
from core.books import Books
from core.ledger import Ledger, Reservation
from core.ports import App, Change, Key, Limits, Outcome, Store, StoreError, Value
from core.sqlite_store import SqliteStore
from core.usage import Usage
from core.usage_archive import UsageArchive
from core.windows import Windows
from manual_clock import ManualClock

pytestmark = pytest.mark.anyio

_NOW = 1_795_600_000  # 2026-11-25, 06:26:40


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(_NOW)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite3", clock=clock)
    yield store
    store.close()


@pytest.fixture
def ledger(store: Store, clock: ManualClock) -> Ledger:
    return Ledger(store, clock=clock, choose=lambda _: 0)


@pytest.fixture
def books(store: Store, clock: ManualClock) -> Books:
    return Books(store, clock=clock)


def _app(**limits: object) -> App:
    return App(id="shop", created_at=0, limits=Limits.model_validate(limits))


async def _reserve(ledger: Ledger, app: App, *, tokens: int = 0, nano_usd: int = 0) -> Reservation:
    return await ledger.reserve(app, "chat.completions.create", "gpt-4o", tokens=tokens, nano_usd=nano_usd)


async def test_what_was_used_takes_the_place_of_what_was_reserved(ledger: Ledger, books: Books) -> None:
    app = _app(day_nano_usd=1000)
    reservation = await _reserve(ledger, app, tokens=50, nano_usd=800)
    assert await books.spending(app) == (0, 0, 0, 800)
    await ledger.settle(reservation, Usage(input_tokens=10, cached_input_tokens=4, output_tokens=5), 300)
    assert await books.spending(app) == (300, 300, 300, 0)
    assert await books.usage("shop", "2026-11-25", "2026-11-25") == [
        ("2026-11-25", "chat.completions.create", "gpt-4o", 1, 10, 4, 5, 300)
    ]


async def test_a_reservation_is_settled_once(ledger: Ledger, books: Books) -> None:
    app = _app(day_nano_usd=1000)
    reservation = await _reserve(ledger, app, nano_usd=800)
    await ledger.settle(reservation, Usage(), 300)
    assert await ledger.settle(reservation, Usage(), 300) is None
    await ledger.cancel(reservation)
    assert await books.spending(app) == (300, 300, 300, 0)


async def test_a_cancelled_reservation_leaves_the_request_alone(ledger: Ledger, books: Books, store: Store) -> None:
    app = _app(day_nano_usd=1000, requests_per_minute=5, tokens_per_minute=100)
    await ledger.cancel(await _reserve(ledger, app, tokens=60, nano_usd=800))
    value = await store.get(ledger_item.key("shop", 0))
    assert value is not None
    assert {name: number for name, number in value["counters"].items() if number} == {Windows(_NOW).requests: 1}
    assert await books.standing("shop") == []


@pytest.mark.parametrize(
    ("limits", "tokens", "nano_usd", "error", "kind", "wait"),
    [
        ({"requests_per_minute": 0}, 1, 1, errors.RequestsLimited, "requests", None),
        ({"tokens_per_minute": 9}, 10, 1, errors.TokensLimited, "tokens", None),
        ({"day_nano_usd": 9}, 1, 10, errors.QuotaExceeded, "insufficient_quota", None),
        ({"month_nano_usd": 9}, 1, 10, errors.QuotaExceeded, "insufficient_quota", None),
        ({"total_nano_usd": 9}, 1, 10, errors.QuotaExceeded, "insufficient_quota", None),
    ],
)
async def test_a_request_beyond_a_limit_is_refused(
    ledger: Ledger,
    limits: dict[str, int],
    tokens: int,
    nano_usd: int,
    error: type[errors.TrefoilError],
    kind: str,
    wait: str | None,
) -> None:
    with pytest.raises(error) as refused:
        await _reserve(ledger, _app(**limits), tokens=tokens, nano_usd=nano_usd)
    assert (refused.value.status, refused.value.type) == (429, kind)
    assert refused.value.headers.get("retry-after") == wait
    assert refused.value.headers["x-should-retry"] == "false"


async def test_who_waits_for_the_next_window_is_told_how_long(ledger: Ledger, clock: ManualClock) -> None:
    app = _app(requests_per_minute=2, tokens_per_minute=100, day_nano_usd=1000)
    await _reserve(ledger, app, tokens=10, nano_usd=900)
    with pytest.raises(errors.QuotaExceeded) as refused:
        await _reserve(ledger, app, tokens=10, nano_usd=900)
    assert refused.value.headers["retry-after"] == str(86_400 - _NOW % 86_400)
    with pytest.raises(errors.TokensLimited) as limited:
        await _reserve(ledger, app, tokens=91)
    assert limited.value.headers["retry-after"] == "20"
    assert limited.value.headers["x-ratelimit-remaining-tokens"] == "90"
    assert limited.value.headers["x-ratelimit-reset-tokens"] == "20s"
    assert limited.value.headers["x-ratelimit-limit-requests"] == "2"
    clock.now += 20
    await _reserve(ledger, app, tokens=91)


async def test_a_budget_comes_back_with_its_window_but_not_the_one_in_all(ledger: Ledger, clock: ManualClock) -> None:
    app = _app(day_nano_usd=100, month_nano_usd=250, total_nano_usd=300)
    for _ in range(2):
        await ledger.settle(await _reserve(ledger, app, nano_usd=100), Usage(), 100)
        with pytest.raises(errors.QuotaExceeded, match="today"):
            await _reserve(ledger, app, nano_usd=1)
        clock.now += 86_400
    with pytest.raises(errors.QuotaExceeded, match="this month"):
        await _reserve(ledger, app, nano_usd=51)
    clock.now += 10 * 86_400
    await ledger.settle(await _reserve(ledger, app, nano_usd=100), Usage(), 100)
    clock.now += 60 * 86_400
    with pytest.raises(errors.QuotaExceeded, match="in all"):
        await _reserve(ledger, app, nano_usd=1)


async def test_an_app_without_limits_costs_one_write_and_is_counted(ledger: Ledger, store: Store, books: Books) -> None:
    reservation = await _reserve(ledger, _app(), tokens=5, nano_usd=700)
    assert await store.get(ledger_item.key("shop", 0)) is None
    await ledger.settle(reservation, Usage(output_tokens=3), 200)
    assert await books.spending(_app()) == (200, 200, 200, 0)


async def test_a_free_call_is_counted_and_needs_no_settlement(ledger: Ledger, store: Store) -> None:
    app = _app(requests_per_minute=1)
    await ledger.reserve(app, "files.list", "", tokens=0, nano_usd=0, is_free=True)
    with pytest.raises(errors.RequestsLimited):
        await ledger.reserve(app, "files.list", "", tokens=0, nano_usd=0, is_free=True)
    value = await store.get(ledger_item.key("shop", 0))
    assert value is not None
    assert value["marks"] == {}
    assert [row[:4] for row in ledger_item.rows(value["counters"])] == [("2026-11-25", "files.list", "", 1)]


async def test_windows_that_are_over_do_not_pile_up(ledger: Ledger, store: Store, clock: ManualClock) -> None:
    app = _app(requests_per_minute=9, tokens_per_minute=9, day_nano_usd=9)
    for _ in range(50):
        reservation = await _reserve(ledger, app, tokens=1, nano_usd=1)
        counters = await ledger.settle(reservation, Usage(), 0)
        assert counters is not None
        await ledger.tidy(reservation, counters)
        clock.now += 7 * 3600
    value = await store.get(ledger_item.key("shop", 0))
    assert value is not None
    assert len([name for name in value["counters"] if not name.startswith("u/")]) < 20


async def test_a_day_that_is_over_is_archived_whole(
    ledger: Ledger, books: Books, store: Store, clock: ManualClock
) -> None:
    archive, app = UsageArchive(store, clock=clock), _app()
    for day in range(3):
        for model in ("gpt-4o", "meta-llama/Llama-3.3", ""):  # each has three counters, and eight are moved at once
            reservation = await ledger.reserve(app, "completions.create", model, tokens=0, nano_usd=0)
            counters = await ledger.settle(reservation, Usage(input_tokens=day + 1), 7)
            assert counters is not None
            await archive.move("shop", 0, counters)
        clock.now += 86_400
    value = await store.get(ledger_item.key("shop", 0))
    assert value is not None
    assert {row.day for row in ledger_item.rows(value["counters"])} == {"2026-11-27"}
    rows = await books.usage("shop", "2026-11-25", "2026-11-26")
    assert [(row.day, row.model, row.requests, row.input_tokens) for row in rows] == [
        (day, model, 1, tokens)
        for day, tokens in (("2026-11-25", 1), ("2026-11-26", 2))
        for model in ("", "gpt-4o", "meta-llama/Llama-3.3")
    ]
    assert sum(row.nano_usd for row in await books.usage("shop", "2026-01-01", "2027-01-01")) == 63
    assert (await books.spending(app)).total_nano_usd == 63


async def test_the_archive_counts_once_however_many_move_it(
    ledger: Ledger, books: Books, store: Store, clock: ManualClock
) -> None:
    counters = await ledger.settle(await _reserve(ledger, _app()), Usage(input_tokens=5), 9)
    assert counters is not None
    clock.now += 2 * 86_400
    await asyncio.gather(*(UsageArchive(store, clock=clock).move("shop", 0, counters) for _ in range(8)))
    assert sum(row.nano_usd for row in await books.usage("shop", "2026-01-01", "2027-01-01")) == 9


async def test_the_archive_counts_once_whoever_dies_in_its_midst(
    ledger: Ledger, books: Books, store: Store, clock: ManualClock
) -> None:
    reservation = await _reserve(ledger, _app())
    counters = await ledger.settle(reservation, Usage(input_tokens=5), 9)
    assert counters is not None
    clock.now += 2 * 86_400
    for steps in count(1):
        dying = _Dying(store, steps)
        try:
            await UsageArchive(dying, clock=clock).move("shop", 0, counters)
        except StoreError:
            assert sum(row.nano_usd for row in await books.usage("shop", "2026-01-01", "2027-01-01")) == 9
            continue
        break
    assert steps > 1
    assert sum(row.nano_usd for row in await books.usage("shop", "2026-01-01", "2027-01-01")) == 9


@pytest.mark.parametrize("charge", [False, True])
async def test_the_reservation_of_a_dead_process_can_be_released(ledger: Ledger, books: Books, charge: bool) -> None:
    app = _app(total_nano_usd=100)
    reservation = await _reserve(ledger, app, tokens=7, nano_usd=80)
    [standing] = await books.standing("shop")
    assert standing == (reservation.id, 0, _NOW, "chat.completions.create", "gpt-4o", 7, 80)
    assert await books.release("shop", standing.id, charge=charge)
    assert not await books.release("shop", standing.id, charge=charge)
    assert await books.spending(app) == ((80, 80, 80, 0) if charge else (0, 0, 0, 0))
    spent = sum(row.nano_usd for row in await books.usage("shop", "2026-01-01", "2027-01-01"))
    assert spent == (80 if charge else 0)


async def test_shards_bear_together_what_one_could_not(store: Store, clock: ManualClock, books: Books) -> None:
    app, ledger = _app(total_nano_usd=1001, shards=4), Ledger(store, clock=clock, choose=lambda _: 0)
    for _ in range(4):
        await ledger.settle(await _reserve(ledger, app, nano_usd=200), Usage(), 200)
    await ledger.settle(await _reserve(ledger, app, nano_usd=201), Usage(), 201)  # no shard has more than 51 left
    assert (await books.spending(app)).total_nano_usd == 1001
    with pytest.raises(errors.QuotaExceeded):
        await _reserve(ledger, app, nano_usd=1)


@pytest.mark.parametrize("steps", range(2, 6), ids=["taking", "giving", "taken", "given"])
async def test_what_is_on_its_way_between_shards_when_a_process_dies_is_not_lost(
    store: Store, clock: ManualClock, books: Books, steps: int
) -> None:
    app = _app(total_nano_usd=100, shards=2)
    with pytest.raises(StoreError):
        await _reserve(Ledger(_Dying(store, steps), clock=clock, choose=lambda _: 0), app, nano_usd=90)
    clock.now += 121
    assert await books.spending(app) == (0, 0, 0, 0)
    ledger = Ledger(store, clock=clock, choose=lambda _: 0)
    await ledger.settle(await _reserve(ledger, app, nano_usd=100), Usage(), 100)
    assert await books.spending(app) == (100, 100, 100, 0)
    values = [await store.get(ledger_item.key("shop", shard)) for shard in range(2)]
    assert [value["marks"] for value in values if value] == [{}, {}]


async def test_a_free_call_is_not_refused_for_a_budget(ledger: Ledger) -> None:
    await ledger.settle(await _reserve(ledger, _app(total_nano_usd=1000), nano_usd=900), Usage(), 900)
    lowered = _app(total_nano_usd=500, requests_per_minute=10)
    await ledger.reserve(lowered, "models.list", "", tokens=0, nano_usd=0, is_free=True)


@pytest.mark.parametrize(("old", "new"), [(1, 4), (4, 1), (3, 5)])
async def test_another_number_of_shards_grants_nothing_more(
    store: Store, clock: ManualClock, books: Books, old: int, new: int
) -> None:
    ledger = Ledger(store, clock=clock)
    before, after = (_app(total_nano_usd=1000, shards=shards) for shards in (old, new))
    for _ in range(9):
        await ledger.settle(await _reserve(ledger, before, nano_usd=100), Usage(), 100)
    await books.reshard("shop", old, new)
    assert (await books.spending(after)).total_nano_usd == 900
    await ledger.settle(await _reserve(ledger, after, nano_usd=100), Usage(), 100)
    with pytest.raises(errors.QuotaExceeded):
        await _reserve(ledger, after, nano_usd=1)


@pytest.mark.parametrize("shards", [1, 3])
async def test_in_a_race_nothing_is_overspent_and_nothing_refused_that_fits(
    store: Store, clock: ManualClock, books: Books, shards: int
) -> None:
    """Requests of random cost, all at once. In the end not even the smallest refused one would still fit."""
    app, chance = _app(total_nano_usd=10_000, shards=shards), random.Random(shards)
    ledger = Ledger(store, clock=clock, choose=chance.randrange)
    refused: list[int] = []

    async def call(number: int) -> int:
        bound = chance.randrange(1, 400)
        cost = chance.randrange(bound + 1)
        try:
            reservation = await _reserve(ledger, app, nano_usd=bound)
        except errors.QuotaExceeded:
            refused.append(bound)
            return 0
        if number % 5 == 0:
            await ledger.cancel(reservation)
            return 0
        await ledger.settle(reservation, Usage(), cost)
        return cost

    costs = await asyncio.gather(*(call(number) for number in range(300)))
    spending = await books.spending(app)
    assert spending == (sum(costs), sum(costs), sum(costs), 0)
    assert spending.total_nano_usd <= 10_000
    assert sum(row.nano_usd for row in await books.usage("shop", "2026-01-01", "2027-01-01")) == sum(costs)
    left = 10_000 - spending.total_nano_usd
    assert refused
    await ledger.settle(await _reserve(ledger, app, nano_usd=left), Usage(), left)


async def test_what_moves_while_shards_are_looked_at_is_not_taken_for_used(store: Store, clock: ManualClock) -> None:
    """Half the budget is reserved all the time, but at another shard when that is looked at."""
    app = _app(total_nano_usd=200, shards=2)
    at_first = Ledger(store, clock=clock, choose=lambda _: 0)
    at_second = Ledger(store, clock=clock, choose=lambda _: 1)
    held = await _reserve(at_first, app, nano_usd=100)

    async def move() -> None:
        await at_first.cancel(held)
        await _reserve(at_second, app, nano_usd=100)

    ledger = Ledger(_Moving(store, ledger_item.key("shop", 1), move), clock=clock, choose=lambda _: 0)
    assert (await _reserve(ledger, app, nano_usd=60)).shard == 0


async def test_a_frozen_process_does_not_give_again_what_others_have_given_for_it(
    store: Store, clock: ManualClock, books: Books
) -> None:
    """Platforms freeze a process between two requests, whatever it is doing."""
    app = _app(total_nano_usd=200, shards=2)
    for shard in (0, 1):
        await _reserve(Ledger(store, clock=clock, choose=lambda _, n=shard: n), app, nano_usd=60)  # type: ignore[misc]

    async def freeze() -> None:
        clock.now += 600
        await books.spending(app)

    ledger = Ledger(_Freezing(store, freeze), clock=clock, choose=lambda _: 0)
    await _reserve(ledger, app, nano_usd=70)
    spending = await books.spending(app)
    assert spending == (0, 0, 0, 190)
    with pytest.raises(errors.QuotaExceeded):
        await _reserve(Ledger(store, clock=clock), app, nano_usd=11)


class _Moving:
    """A store in which others do something just before an item is changed for the first time."""

    def __init__(self, store: Store, key: Key, move: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._key = key
        self._move: Callable[[], Awaitable[None]] | None = move

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        if key == self._key and (move := self._move) is not None:
            self._move = None
            await move()
        return await self._store.add_within(key, change, expires_at=expires_at)

    async def get(self, key: Key) -> Value | None:
        return await self._store.get(key)

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        return await self._store.put(key, value, if_absent=if_absent, expires_at=expires_at)

    def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        return self._store.list(partition)

    async def delete(self, key: Key) -> bool:
        return await self._store.delete(key)


class _Freezing:
    """A store whose process is frozen when it has taken the first loan."""

    def __init__(self, store: Store, freeze: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._freeze: Callable[[], Awaitable[None]] | None = freeze

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        outcome = await self._store.add_within(key, change, expires_at=expires_at)
        if change.mark and change.mark[0].startswith(ledger_item.LENT) and (freeze := self._freeze) is not None:
            self._freeze = None
            await freeze()
        return outcome

    async def get(self, key: Key) -> Value | None:
        return await self._store.get(key)

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        return await self._store.put(key, value, if_absent=if_absent, expires_at=expires_at)

    def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        return self._store.list(partition)

    async def delete(self, key: Key) -> bool:
        return await self._store.delete(key)


class _Dying:
    """A store whose process dies before its n-th change."""

    def __init__(self, store: Store, steps: int) -> None:
        self._store = store
        self._left = steps

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        self._left -= 1
        if self._left < 0:
            raise StoreError("dead")
        return await self._store.add_within(key, change, expires_at=expires_at)

    async def get(self, key: Key) -> Value | None:
        return await self._store.get(key)

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        return await self._store.put(key, value, if_absent=if_absent, expires_at=expires_at)

    def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        return self._store.list(partition)

    async def delete(self, key: Key) -> bool:
        return await self._store.delete(key)
