"""The store on Cosmos DB against the contract, against races and lost answers, and against Microsoft's own SDK."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import pytest

import cosmos_item
from core.http_connection import Silence
from core.ports import Change, Key, Outcome, StoreError
from core.store_client import WholeAnswer
from cosmos_credential import MasterKey
from cosmos_emulator_process import CLOCK, PatientClient, emulator, open_store
from cosmos_store import CosmosStore
from local.cosmos_emulator import CONTAINER, DATABASE, KEY
from manual_clock import ManualClock
from missing import Missing
from store_contract import check_store

pytestmark = pytest.mark.anyio

_PROCESSES = 3
_TASKS = 4
_ROUNDS = 5
_PRICE = 7
_BUDGET = 150
_RACED = Key("counters", "budget")
_ODD_NAMES = [
    "a/b",
    "a\\b",
    "a?b",
    "a#b",
    "a%2fb",
    "A",
    "a",
    "_61",
    "~0/1",
    "naïve 漢字 🍀",
    '"] OR 1=1',
    "select",
    " ",
    "0",
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    try:
        with emulator() as address:
            yield address
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
async def store(url: str) -> AsyncIterator[CosmosStore]:
    opened = open_store(url)
    yield opened
    await opened.close()


async def test_it_keeps_the_contract(url: str) -> None:
    clock = ManualClock(CLOCK.now)
    store = open_store(url, clock=clock)
    await check_store(store, clock)
    await store.close()


async def test_names_may_hold_any_character(store: CosmosStore) -> None:
    for partition in ("odd/é?#\\", "Odd"):
        for name in _ODD_NAMES:
            assert await store.put(Key(partition, name), {"is": name}, if_absent=True)
        # Code points, which is the order of SQLite's store too.
        expected = [(name, {"is": name}) for name in sorted(_ODD_NAMES)]
        assert [item async for item in store.list(partition)] == expected


async def test_a_long_list_comes_in_pages(store: CosmosStore) -> None:
    names = [f"{number:03}" for number in range(230)]
    await asyncio.gather(*(store.put(Key("many", name), {"is": name}) for name in reversed(names)))
    assert [item async for item in store.list("many")] == [(name, {"is": name}) for name in names]


async def test_counters_and_marks_may_have_any_name(store: CosmosStore) -> None:
    key = Key("counters", "odd names")
    for amount, name in enumerate(_ODD_NAMES, start=1):
        change = Change({name: amount}, {name: amount}, mark=(name, {"of": name}))
        assert (await store.add_within(key, change)).done
        refused = await store.add_within(key, Change({name: 1}, {name: amount}, unmark=name))
        assert refused.over == name
    value = await store.get(key)
    assert value == {
        "counters": {name: amount for amount, name in enumerate(_ODD_NAMES, start=1)},
        "marks": {name: {"of": name} for name in _ODD_NAMES},
    }


async def test_the_same_name_in_other_partitions_is_another_item(store: CosmosStore) -> None:
    """The emulator looks for a condition's item in all partitions."""
    change = Change({"money": 1}, {"money": 1})
    for app in ("a", "b"):
        assert (await store.add_within(Key(f"same/{app}", "one"), change)).done
        assert not (await store.add_within(Key(f"same/{app}", "one"), change)).done


async def test_counters_may_be_put(store: CosmosStore) -> None:
    key = Key("counters", "put")
    await store.put(key, {"counters": {"A": 5}, "marks": {"M": {}}})
    assert await store.add_within(key, Change({"A": 1}, {"A": 6}, unmark="M")) == Outcome(True, {"A": 6})


async def test_a_change_may_have_more_parts_than_a_patch(store: CosmosStore) -> None:
    key, names = Key("counters", "wide"), [f"counter {number}" for number in range(12)]
    change = Change(dict.fromkeys(names, 1), {names[-1]: 4}, mark=("m", {}))
    outcomes = await asyncio.gather(*(store.add_within(key, change) for _ in range(6)))
    assert [outcome.over for outcome in outcomes if not outcome.done] == [names[-1]] * 2
    assert await store.get(key) == {"counters": dict.fromkeys(names, 4), "marks": {"m": {}}}


async def test_settlements_that_drop_find_their_turn(store: CosmosStore) -> None:
    """Most are one PATCH each; the three that also drop have more parts than a PATCH."""
    key, budgets = Key("counters", "settled at once"), [f"budget {number}" for number in range(4)]
    used = [f"used {number}" for number in range(5)]
    marks = {f"req-{number}": {"of": number} for number in range(30)}
    await store.put(key, {"counters": {**dict.fromkeys(budgets, 300), "old 0": 5, "old 1": 5}, "marks": marks})
    amounts = {**dict.fromkeys(budgets, -10), **dict.fromkeys(used, 1)}
    outcomes = await asyncio.gather(
        *(
            store.add_within(key, Change(amounts, unmark=mark, drop={"old 0", "old 1"} if number % 10 == 5 else set()))
            for number, mark in enumerate(marks)
        )
    )
    assert all(outcome.done for outcome in outcomes)
    assert await store.get(key) == {"counters": {**dict.fromkeys(budgets, 0), **dict.fromkeys(used, 30)}, "marks": {}}


async def test_those_who_drop_the_same_do_not_overtake_each_other(store: CosmosStore) -> None:
    """One of them finds the counter, and all others that it is not there: none of them writes the whole item anew."""
    key = Key("counters", "dropped at once")
    await store.add_within(key, Change({"x": 1}))
    outcomes = await asyncio.gather(*(store.add_within(key, Change({"money": 1}, drop={"x"})) for _ in range(30)))
    assert sorted(outcome.counters["money"] for outcome in outcomes) == list(range(1, 31))
    assert await store.get(key) == {"counters": {"money": 30}, "marks": {}}


async def test_a_mark_may_be_left_again(store: CosmosStore) -> None:
    key = Key("counters", "marked twice")
    for number in (1, 2):
        outcome = await store.add_within(key, Change({"money": 1}, mark=("m", {"number": number})))
        assert outcome == Outcome(True, {"money": number})
    assert await store.get(key) == {"counters": {"money": 2}, "marks": {"m": {"number": 2}}}
    await store.add_within(key, Change({"money": 1}, mark=("m", {"number": 3}), unmark="m"))
    assert await store.get(key) == {"counters": {"money": 3}, "marks": {"m": {"number": 3}}}


async def test_tasks_race_for_what_has_expired(url: str) -> None:
    clock = ManualClock(CLOCK.now)
    store, key = open_store(url, clock=clock), Key("counters", "expired")
    await store.add_within(key, Change({"money": 1}), expires_at=int(clock.now) + 60)
    clock.now += 60
    change = Change({"money": 1}, {"money": 10})
    outcomes = await asyncio.gather(*(store.add_within(key, change) for _ in range(20)))
    assert [outcome.done for outcome in outcomes].count(True) == 10
    assert await store.get(key) == {"counters": {"money": 10}, "marks": {}}
    await store.close()


async def test_processes_race_for_one_budget(url: str, store: CosmosStore) -> None:
    """What is granted is exactly what the budget bears, and what is settled is what remains."""
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        races = pool.starmap_async(_spend, [(url, writer) for writer in range(_PROCESSES)])
        granted = sum(await asyncio.to_thread(races.get))
    assert granted == _BUDGET // _PRICE
    assert await store.get(_RACED) == {"counters": {"money": granted * _PRICE}, "marks": {}}


def _spend(url: str, writer: int) -> int:
    """Reserve, settle, and say how often that was granted."""

    async def spend(store: CosmosStore, task: int) -> int:
        granted = 0
        for number in range(_ROUNDS):
            mark = f"{writer}-{task}-{number}"
            reserve = Change({"money": _PRICE + 1}, {"money": _BUDGET + 1}, mark=(mark, {"money": _PRICE + 1}))
            if (await store.add_within(_RACED, reserve)).done:
                granted += (await store.add_within(_RACED, Change({"money": -1}, unmark=mark))).done
        return granted

    async def spend_all() -> int:
        store = open_store(url)
        granted = await asyncio.gather(*(spend(store, task) for task in range(_TASKS)))
        await store.close()
        return sum(granted)

    return asyncio.run(spend_all())


async def test_each_verb_costs_the_requests_that_it_says(url: str) -> None:
    counts = Counter[str]()

    class Counting(PatientClient):
        async def send(
            self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
        ) -> WholeAnswer:
            counts[method] += 1
            return await super().send(method, target, headers, body)

    store = open_store(url, client=Counting)
    key, reserve = Key("counters", "counted"), Change({"money": 1}, {"money": 2}, mark=("m", {}))

    async def cost(verb: Any) -> str:
        counts.clear()
        await verb
        return " ".join(f"{method}*{times}" for method, times in sorted(counts.items()))

    assert await cost(store.add_within(key, reserve)) == "PATCH*1 POST*1"  # makes the item
    assert await cost(store.add_within(key, Change({"money": -1}, unmark="m"))) == "PATCH*1"
    assert await cost(store.add_within(key, reserve)) == "PATCH*1"
    assert await cost(store.add_within(key, Change({"money": 2}, {"money": 2}))) == "GET*1 PATCH*1"
    assert await cost(store.add_within(key, reserve)) == "GET*1 PATCH*1 PUT*1"  # the mark is there
    assert await cost(store.add_within(key, Change({"new": 1}, {"new": 2}))) == "GET*1 PATCH*2"
    assert await cost(store.add_within(key, Change({"more": 1}, {"new": 1}, drop={"new", "money"}))) == "PATCH*1"
    assert await cost(store.add_within(key, Change({"more": 1}, drop={"new"}))) == "GET*1 PATCH*2"
    assert await cost(store.add_within(key, Change({}, drop={"new"}))) == "GET*1 PATCH*1"  # nothing to do
    assert await cost(store.add_within(key, Change(dict.fromkeys("abcdefghij", 1), drop={"more"}))) == "GET*1 PUT*1"
    assert await cost(store.get(key)) == "GET*1"
    assert await cost(store.put(key, {})) == "POST*1"
    assert await cost(store.put(key, {}, if_absent=True)) == "GET*1 POST*1"
    assert await cost(store.delete(key)) == "DELETE*1 GET*1"
    assert await cost(store.put(key, {}, if_absent=True)) == "POST*1"
    await store.close()


class _Losing(PatientClient):
    """Carries out each request of one method, and loses the answer to the first of them."""

    def __init__(self, url: str, method: str) -> None:
        super().__init__(url)
        self._method = method

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> WholeAnswer:
        answer = await super().send(method, target, headers, body)
        if method != self._method:
            return answer
        self._method = ""
        raise Silence


def _losing(url: str, method: str) -> CosmosStore:
    return open_store(url, client=lambda url: _Losing(url, method))


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
async def test_a_reservation_is_made_once_though_its_answer_is_lost(url: str, store: CosmosStore, method: str) -> None:
    key, losing = Key("lost", f"reserve {method}"), _losing(url, method)
    if method == "PATCH":
        await store.add_within(key, Change({"money": 0}))
    if method == "PUT":
        await store.add_within(key, Change({"money": 0}), expires_at=int(CLOCK.now))
    outcome = await losing.add_within(key, Change({"money": 5}, {"money": 50}, mark=("m", {"money": 5})))
    assert outcome == Outcome(True, {"money": 5})
    assert await store.get(key) == {"counters": {"money": 5}, "marks": {"m": {"money": 5}}}
    await losing.close()


async def test_a_settlement_is_made_once_though_its_answer_is_lost(url: str, store: CosmosStore) -> None:
    key, losing = Key("lost", "settle"), _losing(url, "PATCH")
    await store.add_within(key, Change({"money": 5}, mark=("m", {})))
    assert await losing.add_within(key, Change({"money": -2}, unmark="m")) == Outcome(False, {"money": 3})
    await losing.close()


@pytest.mark.parametrize("marks", [{}, {"mark": ("m", {"new": True}), "unmark": "m"}])
async def test_a_change_that_leaves_no_trace_is_not_sent_again(
    url: str, store: CosmosStore, marks: dict[str, Any]
) -> None:
    key, losing = Key("lost", f"untraced {len(marks)}"), _losing(url, "PATCH")
    await store.add_within(key, Change({"money": 1}, mark=("m", {})))
    with pytest.raises(StoreError, match="Silence"):
        await losing.add_within(key, Change({"money": 1}, **marks))
    value = await store.get(key)
    assert value is not None
    assert value["counters"] == {"money": 2}
    await losing.close()


async def test_counters_are_dropped_once_though_the_answer_is_lost(url: str, store: CosmosStore) -> None:
    key = Key("lost", "dropped")
    await store.put(key, {"counters": {"x": 1, "y": 2, "z": 3}, "marks": {"r": {}}})
    losing = _losing(url, "PATCH")
    with pytest.raises(StoreError, match="Silence"):
        await losing.add_within(key, Change({}, {"x": 1}, drop={"x"}))
    await losing.close()
    for change, outcome in [
        (Change({}, mark=("s", {}), drop={"y"}), Outcome(True, {"z": 3})),
        (Change({}, unmark="r", drop={"z"}), Outcome(False, {})),
    ]:
        losing = _losing(url, "PATCH")
        assert await losing.add_within(key, change) == outcome
        await losing.close()
    assert await store.get(key) == {"counters": {}, "marks": {"s": {}}}


async def test_an_absent_place_is_won_though_the_answer_is_lost(url: str) -> None:
    losing, key = _losing(url, "POST"), Key("lost", "absent")
    assert await losing.put(key, {"by": 1}, if_absent=True)
    assert not await losing.put(key, {"by": 1}, if_absent=True)
    await losing.close()


async def test_what_was_deleted_is_said_to_be_though_the_answer_is_lost(url: str) -> None:
    losing, key = _losing(url, "DELETE"), Key("lost", "deleted")
    await losing.put(key, {})
    assert await losing.delete(key)
    assert not await losing.delete(key)
    await losing.close()


@pytest.fixture
def sdk(url: str) -> Iterator[Any]:
    """The container as Microsoft's SDK sees it."""
    cosmos = pytest.importorskip("azure.cosmos", reason="needs the SDK: pip install azure-cosmos")
    with cosmos.CosmosClient(url, KEY, enable_endpoint_discovery=False) as client:
        yield client.get_database_client(DATABASE).get_container_client(CONTAINER)


async def test_the_sdk_reads_what_the_store_wrote(sdk: Any, store: CosmosStore) -> None:
    key, counted, now = Key("sdk/reads", "one/é"), Key("sdk/reads", "two"), int(CLOCK.now)
    await store.put(key, {"text": "漢字", "number": 2**53}, expires_at=now + 60)
    await store.add_within(counted, Change({"Money": 2**53 - 1}, mark=("req-1", {"at": 7})))
    item = await asyncio.to_thread(sdk.read_item, cosmos_item.item_id(key), key.partition)
    assert {name: said for name, said in item.items() if not name.startswith("_")} == {
        "id": cosmos_item.item_id(key),
        "partition": "sdk/reads",
        "name": "one/é",
        "value": {"text": "漢字", "number": 2**53},
        "expires_at": now + 60,
        "ttl": 360,
    }
    query = "SELECT c.name, c.counters, c.marks FROM c WHERE c.partition = 'sdk/reads' AND IS_DEFINED(c.counters)"
    (found,) = await asyncio.to_thread(lambda: list(sdk.query_items(query, partition_key="sdk/reads")))
    assert found == {"name": "two", "counters": {"_4doney": 2**53 - 1}, "marks": {"req_2d1": {"at": 7}}}


async def test_requests_are_signed_as_the_sdk_signs_them(sdk: Any, store: CosmosStore) -> None:
    key, sent = Key("sdk", "signed"), list[Any]()
    await store.put(key, {})
    item_id = cosmos_item.item_id(key)

    def ask() -> None:
        hook = {"raw_response_hook": lambda answer: sent.append(answer.http_request)}
        item = sdk.read_item(item_id, key.partition, **hook)
        sdk.upsert_item(item, **hook)

    await asyncio.to_thread(ask)
    container = f"dbs/{DATABASE}/colls/{CONTAINER}"
    for request, link in zip(sent, [f"{container}/docs/{item_id}", container], strict=True):
        ours = await MasterKey(KEY).authorization(request.method, link, request.headers["x-ms-date"])
        assert unquote(ours) == unquote(request.headers["authorization"])


async def test_the_store_reads_what_the_sdk_wrote(sdk: Any, store: CosmosStore) -> None:
    key = Key("sdk/writes", "one")
    value = {"counters": {"money": 1}, "marks": {}}
    item = cosmos_item.make(key, value, expires_at=None, now=0)
    await asyncio.to_thread(sdk.create_item, item)
    assert await store.get(key) == value
    operations = [{"op": "incr", "path": "/counters/money", "value": 4}]
    condition = "from c where c.counters.money <= 1"
    patch = {"patch_operations": operations, "filter_predicate": condition}
    await asyncio.to_thread(sdk.patch_item, item["id"], key.partition, **patch)
    assert await store.add_within(key, Change({"money": 1}, {"money": 6})) == Outcome(True, {"money": 6})
    await asyncio.to_thread(sdk.delete_item, item["id"], key.partition)
    assert await store.get(key) is None
