"""Firestore as a store: the contract, its exactness between processes, Google's own library as the referee."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

import firestore_item
from core.cloud_identity import cached, google_token
from core.ports import Change, Key, Outcome, StoreError
from firestore_process import SKIPPED, FirestoreEmulator, running
from firestore_spender import CEILING, PRICE, spend
from firestore_store import FirestoreStore
from manual_clock import ManualClock
from store_contract import check_store

firestore: Any = pytest.importorskip("google.cloud.firestore", reason=SKIPPED)
pytestmark = pytest.mark.anyio

_PROCESSES = 4
_KEY = Key("apps/a/counters", "one")
_START = 1_800_000_000
_ADD = Change({"money": 1})


@pytest.fixture(scope="module")
def module_emulator() -> Iterator[FirestoreEmulator]:
    with running() as emulator:
        yield emulator


@pytest.fixture
def emulator(module_emulator: FirestoreEmulator) -> FirestoreEmulator:
    module_emulator.clear()
    module_emulator.calls()
    return module_emulator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(_START)


@asynccontextmanager
async def _opened(url: str, clock: Callable[[], float], **options: Any) -> AsyncIterator[FirestoreStore]:
    store = FirestoreStore("project", base_url=url, clock=clock, **{"token": None, **options})
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def store(emulator: FirestoreEmulator, clock: ManualClock) -> AsyncIterator[FirestoreStore]:
    async with _opened(emulator.url, clock) as store:
        yield store


@pytest.fixture
async def other_store(emulator: FirestoreEmulator, clock: ManualClock) -> AsyncIterator[FirestoreStore]:
    """Of another process."""
    async with _opened(emulator.url, clock) as store:
        yield store


@pytest.fixture
def referee(emulator: FirestoreEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Google's own client, over gRPC."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.grpc_address)
    client = firestore.Client(project="project")
    yield client
    client.close()


def _document(client: Any, key: Key) -> Any:
    partition, name = firestore_item.to_id(key.partition), firestore_item.to_id(key.name)
    return client.collection("trefoil").document(partition).collection("trefoil_items").document(name)


async def test_it_keeps_the_contract(store: FirestoreStore, clock: ManualClock) -> None:
    await check_store(store, clock)


def test_processes_share_one_budget_exactly(emulator: FirestoreEmulator) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(_PROCESSES) as pool:
        granted = pool.map(spend, [emulator.url] * _PROCESSES)
    assert sum(granted) == CEILING // PRICE


async def test_stores_that_compete_settle_what_they_reserved(
    store: FirestoreStore, other_store: FirestoreStore
) -> None:
    async def reserve_and_settle(store: FirestoreStore, number: int) -> None:
        mark = f"{id(store)}-{number}"
        assert (await store.add_within(_KEY, Change({"money": 10}, {"money": 400}, mark=(mark, {})))).done
        assert (await store.add_within(_KEY, Change({"money": -7}, unmark=mark))).done

    await asyncio.gather(*(reserve_and_settle(each, n) for each in (store, other_store) for n in range(20)))
    assert await store.get(_KEY) == {"counters": {"money": 2 * 20 * 3}, "marks": {}}


async def test_changes_at_once_share_a_write(emulator: FirestoreEmulator, store: FirestoreStore) -> None:
    await store.add_within(_KEY, _ADD)
    emulator.calls()
    first = asyncio.create_task(store.add_within(_KEY, _ADD))
    await _under_way()
    outcomes = await asyncio.gather(first, *(store.add_within(_KEY, _ADD) for _ in range(99)))
    assert [outcome.counters["money"] for outcome in outcomes] == list(range(2, 102))
    assert emulator.calls() == {"Commit": 2}  # the first, and those that came while it was under way


async def test_changes_that_share_a_write_drop_in_their_turn(
    emulator: FirestoreEmulator, store: FirestoreStore
) -> None:
    await store.add_within(_KEY, Change({"x": 1}))
    emulator.calls()
    first = asyncio.create_task(store.add_within(_KEY, Change({"x": 2})))
    await _under_way()
    changes = [
        Change({"x": 4}),
        Change({"y": 1}, {"x": 6}, drop={"x"}),
        Change({}, {"x": 7}, drop={"x"}),
        Change({"x": 8}),
        Change({}, {"x": 7}, drop={"x"}),
        Change({}, {"x": 8}, drop={"y"}),
    ]
    outcomes = await asyncio.gather(first, *(store.add_within(_KEY, change) for change in changes))
    assert outcomes == [
        Outcome(True, {"x": 3}),
        Outcome(True, {"x": 7}),
        Outcome(False, {"x": 7}, over="x"),
        Outcome(True, {}),
        Outcome(True, {"x": 8}),
        Outcome(False, {"x": 8}, over="x"),
        Outcome(True, {"x": 8}),
    ]
    assert emulator.calls() == {"Commit": 2, "BatchGetDocuments": 1}  # a refusal is read for
    assert await store.get(_KEY) == {"counters": {"x": 8}, "marks": {}}


async def test_what_each_verb_costs(emulator: FirestoreEmulator, store: FirestoreStore) -> None:
    async def cost(operation: Any) -> dict[str, int]:
        await operation
        return emulator.calls()

    read, write = {"BatchGetDocuments": 1}, {"Commit": 1}
    plain = Key("apps/a", "plain")
    assert await cost(store.put(plain, {}, if_absent=True)) == write
    assert await cost(store.put(plain, {}, if_absent=True)) == write | read
    assert await cost(store.put(plain, {})) == write
    assert await cost(store.get(plain)) == read
    assert await cost(store.delete(plain)) == read | write
    assert await cost(store.delete(plain)) == read
    assert await cost(store.add_within(_KEY, Change({"money": 9}, {"money": 10}))) == read | write
    assert await cost(store.add_within(_KEY, Change({"money": 1}, {"money": 10}))) == write
    assert await cost(store.add_within(_KEY, Change({"money": 1}, {"money": 10}))) == read
    assert [item async for item in store.list("apps/a")] == []
    assert emulator.calls() == {"RunQuery": 1}


async def test_a_refusal_is_never_from_memory(store: FirestoreStore, other_store: FirestoreStore) -> None:
    full = Change({"money": 10}, {"money": 10}, mark=("m", {}))
    assert (await store.add_within(_KEY, full)).done
    assert (await other_store.add_within(_KEY, Change({"money": -10}, unmark="m"))).done
    assert (await store.add_within(_KEY, full)).done
    assert (await other_store.add_within(_KEY, Change({"money": -10}, unmark="m"))).done


async def test_what_is_remembered_expires_too(
    emulator: FirestoreEmulator, store: FirestoreStore, clock: ManualClock
) -> None:
    await store.add_within(_KEY, _ADD, expires_at=_START + 60)
    clock.now += 60
    assert await store.add_within(_KEY, _ADD, expires_at=_START + 90) == Outcome(True, {"money": 1})
    clock.now += 30
    assert emulator.sweep(clock.now) == 1
    assert await store.add_within(_KEY, _ADD) == Outcome(True, {"money": 1})


async def test_who_leaves_takes_nobody_along(store: FirestoreStore) -> None:
    begun = asyncio.create_task(store.add_within(_KEY, _ADD))
    await _under_way()
    waiting = [asyncio.create_task(store.add_within(_KEY, _ADD)) for _ in range(2)]
    await asyncio.sleep(0)
    begun.cancel()  # the write goes on
    waiting[0].cancel()  # its change is not made
    assert await waiting[1] == Outcome(True, {"money": 2})


async def _under_way() -> None:
    """Until a change that was just begun is on its way, and others have to wait for the next write."""
    for _ in range(2):
        await asyncio.sleep(0)


async def test_names_of_all_kinds_come_back_in_order(store: FirestoreStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firestore_documents._PAGE", 4)
    pieces = [
        "",
        ".",
        "..",
        "./",
        "/",
        "//",
        "-",
        "0",
        ":",
        ":commit",
        ";",
        "<",
        "9",
        "__x__",
        "a",
        "%2F",
        "漢字",
        "🍀",
        " ",
    ]
    names = [*pieces, *(f"a{piece}b" for piece in pieces), *(f"{piece}{piece}" for piece in ("/", ":", "."))]
    for partition in ("a:b/../__c__", "", "."):
        await asyncio.gather(*(store.put(Key(partition, name), {"is": name}) for name in names))
        expected = [(name, {"is": name}) for name in sorted(set(names))]
        assert [item async for item in store.list(partition)] == expected
    assert await store.get(Key("", "")) == {"is": ""}


async def test_counters_and_marks_of_all_names(store: FirestoreStore) -> None:
    names = ["", "=", "__x__", "a.b`c", "漢字"]
    assert (await store.add_within(_KEY, Change(dict.fromkeys(names, 2**62), mark=("", {"": []})))).done
    assert await store.get(_KEY) == {"counters": dict.fromkeys(names, 2**62), "marks": {"": {"": []}}}


async def test_what_json_can_say_comes_back(store: FirestoreStore) -> None:
    value = {"half a pair": "\ud83c", "float": 1.0, "nested": [[1], []], "counters": {}}
    await store.put(_KEY, value)
    kept = await store.get(_KEY)
    assert kept == value
    assert kept is not None
    assert isinstance(kept["float"], float)


async def test_counters_can_be_put(store: FirestoreStore) -> None:
    await store.put(_KEY, {"counters": {"money": 5}, "marks": {"m": {"at": 1}}}, expires_at=_START + 60)
    assert await store.add_within(_KEY, Change({"money": 1}, unmark="m")) == Outcome(True, {"money": 6})


async def test_google_reads_what_the_store_wrote(store: FirestoreStore, referee: Any) -> None:
    await store.add_within(_KEY, Change({"money": 5}, mark=("m", {"at": 7})), expires_at=_START + 60)
    kept = _document(referee, _KEY).get().to_dict()
    writers = kept.pop("writers")
    expire_at = datetime.fromtimestamp(_START + 60, UTC)
    assert kept == {"counters": {"money": 5}, "marks": {"m": '{"at":7}'}, "expire_at": expire_at}
    assert len(writers) == 1
    await store.put(Key("apps", "a"), {"text": "漢字"})
    assert json.loads(_document(referee, Key("apps", "a")).get().to_dict()["value"]) == {"text": "漢字"}


async def test_the_store_reads_what_google_wrote(store: FirestoreStore, referee: Any, clock: ManualClock) -> None:
    document = _document(referee, _KEY)
    end = datetime.fromtimestamp(_START + 60, UTC)
    document.set({"counters": {"money": 5}, "marks": {"m": "{}"}, "expire_at": end})
    assert await store.get(_KEY) == {"counters": {"money": 5}, "marks": {"m": {}}}
    assert await store.add_within(_KEY, Change({"money": 1})) == Outcome(True, {"money": 6})
    document.update({"counters.money": firestore.Increment(10)})
    assert await store.add_within(_KEY, Change({"money": 1}, unmark="m")) == Outcome(True, {"money": 17})
    clock.now += 60
    assert await store.get(_KEY) is None
    document.delete()
    assert await store.add_within(_KEY, _ADD) == Outcome(True, {"money": 1})


async def test_the_store_and_googles_transactions_count_together(store: FirestoreStore, referee: Any) -> None:
    document = _document(referee, _KEY)
    await store.add_within(_KEY, _ADD)

    def add(transaction: Any) -> None:
        money = document.get(transaction=transaction).to_dict()["counters"]["money"]
        transaction.update(document, {"counters.money": money + 1})

    def add_ten() -> None:
        for _ in range(10):
            firestore.transactional(add)(referee.transaction(max_attempts=50))

    async def change_ten() -> None:
        for _ in range(10):
            await store.add_within(_KEY, _ADD)

    await asyncio.gather(asyncio.to_thread(add_ten), change_ten())
    assert await store.get(_KEY) == {"counters": {"money": 21}, "marks": {}}


@pytest.mark.parametrize("status", ["UNAVAILABLE", "ABORTED", "RESOURCE_EXHAUSTED", "INTERNAL"])
async def test_what_passes_is_tried_again(emulator: FirestoreEmulator, store: FirestoreStore, status: str) -> None:
    emulator.fail("Commit", status, times=2)
    emulator.fail("BatchGetDocuments", status, times=2)
    assert (await store.add_within(_KEY, _ADD)).done
    assert emulator.calls() == {"BatchGetDocuments": 3, "Commit": 3}


async def test_a_lost_answer_changes_nothing_twice(emulator: FirestoreEmulator, store: FirestoreStore) -> None:
    emulator.fail("Commit", "UNAVAILABLE", times=2, after=True)
    assert await store.put(_KEY, {"counters": {"money": 1}, "marks": {"m": {}}}, if_absent=True)
    for change, outcome in [
        (_ADD, Outcome(True, {"money": 2})),
        (Change({"money": 1}, {"money": 3}), Outcome(True, {"money": 3})),
        (Change({"money": -3}, unmark="m"), Outcome(True, {"money": 0})),
    ]:
        emulator.fail("Commit", "UNAVAILABLE", after=True)
        assert await store.add_within(_KEY, change) == outcome
    assert await store.get(_KEY) == {"counters": {"money": 0}, "marks": {}}
    emulator.fail("Commit", "INTERNAL", after=True)
    assert await store.delete(_KEY)


@pytest.mark.parametrize(("status", "attempts"), [("UNAVAILABLE", 4), ("PERMISSION_DENIED", 1), ("UNAUTHENTICATED", 1)])
async def test_hopeless_calls_end(
    emulator: FirestoreEmulator, store: FirestoreStore, status: str, attempts: int
) -> None:
    emulator.fail("BatchGetDocuments", status, times=attempts)
    with pytest.raises(StoreError, match=status):
        await store.get(_KEY)
    assert emulator.calls() == {"BatchGetDocuments": attempts}


async def test_every_change_of_a_write_that_fails_fails(emulator: FirestoreEmulator, store: FirestoreStore) -> None:
    emulator.fail("Commit", "PERMISSION_DENIED")
    outcomes = await asyncio.gather(*(store.add_within(_KEY, _ADD) for _ in range(3)), return_exceptions=True)
    assert [isinstance(outcome, StoreError) for outcome in outcomes] == [True] * 3
    assert (await store.add_within(_KEY, _ADD)).done


async def test_an_error_quotes_no_document(store: FirestoreStore) -> None:
    with pytest.raises(StoreError) as caught:
        await store.put(Key("a", "secret" * 300), {})
    assert "secret" not in str(caught.value)
    with pytest.raises(StoreError, match="INVALID_ARGUMENT"):
        await store.put(_KEY, {"text": "x" * 1024 * 1024})


async def test_a_foreign_document_is_an_error(store: FirestoreStore, referee: Any) -> None:
    _document(referee, _KEY).set({"counters": {"money": 1.5}})
    with pytest.raises(StoreError, match="not of this service's making"):
        await store.get(_KEY)


async def test_nobody_answers(clock: ManualClock) -> None:
    async with _opened("http://127.0.0.1:1", clock) as store:
        with pytest.raises(StoreError, match="cannot be reached"):
            await store.get(_KEY)


async def test_it_shows_the_metadata_servers_token(clock: ManualClock) -> None:
    with running("--require-token", "--token-seconds", "600") as emulator:
        fetched = list[float]()

        def fetch() -> tuple[str, float]:
            fetched.append(clock.now)
            return google_token(f"{emulator.url}/computeMetadata/v1/instance/service-accounts/default")

        async with _opened(emulator.url, clock, token=cached(fetch, clock)) as store:
            await asyncio.gather(*(store.get(Key("p", str(n))) for n in range(20)))
            clock.now += 600
            await store.get(_KEY)
        assert fetched == [_START, _START + 600]
        async with _opened(emulator.url, clock) as store:
            with pytest.raises(StoreError, match="401 UNAUTHENTICATED"):
                await store.get(_KEY)
        absent = cached(partial(google_token, f"{emulator.url}/nothing"))
        async with _opened(emulator.url, clock, token=absent) as store:
            with pytest.raises(StoreError, match="no access token"):
                await store.get(_KEY)
