"""The store on DynamoDB: the contract, races of threads and processes, what Amazon's SDK makes of it, and failures."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import multiprocessing
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

if importlib.util.find_spec("moto") is None:
    pytest.skip("needs the package 'moto[server,dynamodb]'", allow_module_level=True)

import boto3  # type: ignore[import-untyped]

import dynamodb_item
import dynamodb_table
import dynamodb_update
from botocore_signature import botocores_signature
from core import store_client
from core.errors import ConfigurationError
from core.ports import Change, Key, Outcome, StoreError, Value
from dynamodb_relay import Fault, Relay, relaying
from dynamodb_store import DynamodbStore
from local.dynamodb_emulator import REGION
from local.staging import REPOSITORY
from manual_clock import ManualClock
from store_contract import check_store

_TABLE = "trefoil"
_START = 1_800_000_000
_KEY = Key("apps/a/counters", "one")
_ROLE = {
    "AWS_ACCESS_KEY_ID": "AKIA-OF-A-ROLE",
    "AWS_SECRET_ACCESS_KEY": "a-very-secret-key",
    "AWS_SESSION_TOKEN": "a-very-secret-token",
}

_PROCESSES = 3
_THREADS = 8
_TRIES = 3
_PRICE = 7
_BUDGET = 300
_PATIENCE_SECONDS = 30.0

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The emulator in a process of its own, and an environment to reach it from."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "local")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("NO_PROXY", "127.0.0.1")
        command = [sys.executable, "-m", "local.dynamodb_emulator", "--table", _TABLE]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                yield process.stdout.readline().split()[1]
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def resource(endpoint: str) -> Iterator[Any]:
    dynamodb = boto3.Session().resource("dynamodb", endpoint_url=endpoint)
    with contextlib.closing(dynamodb.meta.client):
        yield dynamodb


@pytest.fixture(scope="module")
def common_relay(endpoint: str) -> Iterator[Relay]:
    with relaying(endpoint) as relay:
        yield relay


@pytest.fixture
def table(resource: Any) -> Any:
    """The table by boto3's resource, which is how others read and write it; empty."""
    table = resource.Table(_TABLE)
    for item in table.scan()["Items"]:
        table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
    return table


@pytest.fixture
def relay(common_relay: Relay, table: Any) -> Relay:
    common_relay.requests.clear()
    common_relay.faults.clear()
    return common_relay


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(_START)


@pytest.fixture
async def store(relay: Relay, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DynamodbStore]:
    """A store on the empty table, reached through `relay`, whose time is `clock`. It is patient: the emulator does one
    thing at a time.
    """
    monkeypatch.setattr(dynamodb_table, "_READ_TIMEOUT_SECONDS", _PATIENCE_SECONDS)
    monkeypatch.setattr(store_client, "_LONGEST_TURN_SECONDS", _PATIENCE_SECONDS)
    async with _opened(relay.url, clock=clock) as store:
        yield store


@contextlib.asynccontextmanager
async def _opened(url: str, table: str = _TABLE, **more: Any) -> AsyncIterator[DynamodbStore]:
    store = DynamodbStore(table, REGION, {**_ROLE, "AWS_ENDPOINT_URL_DYNAMODB": url}, **more)
    try:
        yield store
    finally:
        await store.close()


async def test_it_keeps_the_contract(store: DynamodbStore, clock: ManualClock) -> None:
    await check_store(store, clock)


def test_processes_and_threads_race_for_one_budget(endpoint: str, table: Any) -> None:
    """What is granted is what the item holds, and as much as the budget bears."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(_PROCESSES) as pool:
        granted = pool.starmap(_spend, [(endpoint, writer) for writer in range(_PROCESSES)])
    item = table.get_item(Key=_key())["Item"]
    assert sum(granted) == _BUDGET // _PRICE
    assert item["counter:money"] == _PRICE * sum(granted)
    assert len([name for name in item if name.startswith("mark:")]) == sum(granted)


def _spend(endpoint: str, writer: int) -> int:
    """How many times this process was granted the price."""

    async def spend(thread: int) -> int:
        async with _opened(endpoint) as store:
            ids = [f"{writer}-{thread}-{n}" for n in range(_TRIES)]
            changes = [Change({"money": _PRICE}, {"money": _BUDGET}, mark=(name, {})) for name in ids]
            outcomes = [await store.add_within(_KEY, change) for change in changes]
            return [outcome.done for outcome in outcomes].count(True)

    with ThreadPoolExecutor(_THREADS) as threads:
        return sum(threads.map(lambda thread: asyncio.run(spend(thread)), range(_THREADS)))


async def test_an_expired_budget_is_renewed_once(store: DynamodbStore, clock: ManualClock) -> None:
    """Many meet the expired item at once: one of them replaces it, and none adds to the old one."""
    change = Change({"money": 10}, {"money": 100})
    await store.add_within(_KEY, Change({"money": 90}, mark=("old", {})), expires_at=_START + 1)
    clock.now += 1
    outcomes = await asyncio.gather(*(store.add_within(_KEY, change, expires_at=_START + 60) for _ in range(20)))
    assert [outcome.done for outcome in outcomes].count(True) == 10
    assert await store.get(_KEY) == {"counters": {"money": 100}, "marks": {}}


async def test_counters_keep_their_own_time(store: DynamodbStore, clock: ManualClock) -> None:
    await store.add_within(_KEY, Change({"money": 1}))
    await store.add_within(_KEY, Change({"money": 1}), expires_at=_START + 1)
    clock.now += 1
    assert await store.get(_KEY) == {"counters": {"money": 2}, "marks": {}}


async def test_names_may_have_any_characters(store: DynamodbStore) -> None:
    ones = dict.fromkeys(["", "a.b", "#n0", ":v0", "size", "größe 漢", "x" * 300, "counter:pk"], 1)
    change = Change(ones, ones, mark=("#m.[0] ü", {"": 0.1}))
    assert await store.add_within(_KEY, change) == Outcome(True, ones)
    assert await store.add_within(_KEY, change) == Outcome(False, ones, over="")
    assert await store.get(_KEY) == {"counters": ones, "marks": {"#m.[0] ü": {"": 0.1}}}
    settle = Change({"": -1}, unmark="#m.[0] ü")
    assert await store.add_within(_KEY, settle) == Outcome(True, {**ones, "": 0})


async def test_values_come_back_as_they_were(store: DynamodbStore) -> None:
    value = {"floats": [0.1, 1e300, 5e-324, 1.0], "large": 2**53 + 1, "": {"": None}, "half a pair": "\ud83c", "e": ""}
    await store.put(_KEY, value)
    assert json.dumps(await store.get(_KEY)) == json.dumps(value)


async def test_counters_that_are_put_can_be_added_to(store: DynamodbStore) -> None:
    counters = {"counters": {"money": 2**60}, "marks": {"req-1": {"money": 3}}}
    await store.put(_KEY, counters)
    assert await store.get(_KEY) == counters
    assert (await store.add_within(_KEY, Change({"money": -3}, unmark="req-1"))).counters == {"money": 2**60 - 3}


async def test_other_values_are_no_counters(store: DynamodbStore, table: Any) -> None:
    await store.put(_KEY, {"id": "web"})
    with pytest.raises(KeyError):
        await store.add_within(_KEY, Change({"money": 1}))
    assert table.get_item(Key=_key())["Item"].keys() == {"pk", "sk", "expires_at", "json"}


async def test_a_mark_may_be_replaced(store: DynamodbStore) -> None:
    """By the same again, which counts again, and by the change that takes it away."""
    change = Change({"money": 5}, mark=("req-1", {"money": 5}))
    assert (await store.add_within(_KEY, change)).counters == {"money": 5}
    assert (await store.add_within(_KEY, change)).counters == {"money": 10}
    await store.add_within(_KEY, Change({}, mark=("req-1", {"settled": True}), unmark="req-1"))
    assert await store.get(_KEY) == {"counters": {"money": 10}, "marks": {"req-1": {"settled": True}}}


async def test_a_ceiling_may_be_below_what_is_there(store: DynamodbStore) -> None:
    """As where a limit was lowered: nothing more is granted, and settling goes on."""
    await store.add_within(_KEY, Change({"money": 10}, mark=("req-1", {})))
    assert await store.add_within(_KEY, Change({}, {"money": 9})) == Outcome(False, {"money": 10}, over="money")
    assert (await store.add_within(_KEY, Change({"money": -1}, {"money": 9}))).done
    assert (await store.add_within(_KEY, Change({"money": -9}, unmark="req-1"))).counters == {"money": 0}


async def test_amazons_sdk_reads_what_the_store_wrote(store: DynamodbStore, table: Any) -> None:
    await store.put(Key("apps", "web"), {"id": "web", "ratio": 0.5}, expires_at=_START + 5)
    await store.add_within(_KEY, Change({"money": 7, "requests": 1}, mark=("req-1", {"money": 7})))
    plain = table.get_item(Key={"pk": "apps", "sk": "web"})["Item"]
    assert json.loads(plain.pop("json")) == {"id": "web", "ratio": 0.5}
    assert plain == {"pk": "apps", "sk": "web", "expires_at": _START + 5}
    counted = table.get_item(Key=_key())["Item"]
    mark = counted.pop("mark:req-1")
    assert (json.loads(mark["said"]), len(mark["write"])) == ({"money": 7}, 16)
    assert counted == {**_key(), "expires_at": None, "counter:money": 7, "counter:requests": 1}


async def test_the_store_reads_what_amazons_sdk_wrote(store: DynamodbStore, table: Any) -> None:
    table.put_item(Item={"pk": "apps", "sk": "web", "json": '{"id": "web"}'})
    table.put_item(Item={**_key(), "counter:money": Decimal(40), "mark:req-1": {"said": '{"money": 40}'}})
    table.put_item(Item={"pk": "apps", "sk": "gone", "json": "{}", "expires_at": _START})
    assert [item async for item in store.list("apps")] == [("web", {"id": "web"})]
    assert await store.get(_KEY) == {"counters": {"money": 40}, "marks": {"req-1": {"money": 40}}}
    assert (await store.add_within(_KEY, Change({"money": -40}, unmark="req-1"))).counters == {"money": 0}
    assert not await store.delete(Key("apps", "gone"))


def _key() -> dict[str, str]:
    return {"pk": _KEY.partition, "sk": _KEY.name}


async def test_a_long_list_comes_in_pages(store: DynamodbStore, relay: Relay) -> None:
    values: list[tuple[str, Value]] = [(f"{number:02}", {"text": "x" * 180_000}) for number in range(14)]
    await asyncio.gather(*(store.put(Key("long", name), value) for name, value in values))
    assert [item async for item in store.list("long")] == values
    assert relay.requests["Query"] > 2


async def test_each_verb_is_one_request(store: DynamodbStore, relay: Relay, clock: ManualClock) -> None:
    key = Key("apps", "web")
    reserve, settle = Change({"money": 5}, {"money": 9}, mark=("r", {})), Change({"money": -1}, unmark="r")

    async def asked() -> dict[str, int]:
        counted = dict(relay.requests)
        relay.requests.clear()
        return counted

    await store.put(key, {})
    await store.put(key, {}, if_absent=True)
    assert await asked() == {"PutItem": 2}
    await store.get(key)
    assert await asked() == {"GetItem": 1}
    await store.delete(key)
    assert await asked() == {"DeleteItem": 1}
    assert [item async for item in store.list("apps")] == []
    assert await asked() == {"Query": 1}
    drop = Change({}, {"money": 9}, drop={"money", "absent"})
    for change, done in ((reserve, True), (reserve, False), (settle, True), (settle, False), (drop, True)):
        assert (await store.add_within(_KEY, change, expires_at=_START + 60)).done is done
        assert await asked() == {"UpdateItem": 1}
    clock.now += 60
    assert (await store.add_within(_KEY, reserve, expires_at=_START + 120)).done
    assert await asked() == {"UpdateItem": 1, "PutItem": 1}


async def test_throttled_once_it_tries_again(store: DynamodbStore, relay: Relay) -> None:
    relay.faults.append("throttle")
    assert (await store.add_within(_KEY, Change({"money": 5}, mark=("r", {})))).counters == {"money": 5}
    assert relay.requests == {"UpdateItem": 2}


async def test_throttled_once_a_change_without_a_mark_is_tried_again(store: DynamodbStore, relay: Relay) -> None:
    """Nothing was done: it cannot be made twice."""
    relay.faults.append("throttle")
    assert (await store.add_within(_KEY, Change({"money": 5}))).counters == {"money": 5}
    assert relay.requests == {"UpdateItem": 2}


@pytest.mark.parametrize(("fault", "said"), [("fail", "InternalServerError"), ("hang up", "hung up")])
async def test_what_may_be_made_is_tried_again_where_that_can_be_found_out(
    store: DynamodbStore, relay: Relay, fault: Fault, said: str
) -> None:
    relay.faults.extend([fault] * 2)
    assert (await store.add_within(_KEY, Change({"money": 5}, mark=("r", {})))).counters == {"money": 5}
    assert relay.requests == {"UpdateItem": 3}
    relay.faults.append(fault)
    with pytest.raises(StoreError, match=f"UpdateItem: .*{said}"):
        await store.add_within(_KEY, Change({"money": 1}))
    assert relay.requests == {"UpdateItem": 4}
    relay.faults.extend([fault] * 3)
    with pytest.raises(StoreError, match=f"GetItem: .*{said}"):
        await store.get(_KEY)
    assert relay.requests == {"UpdateItem": 4, "GetItem": 3}


async def test_an_answer_that_is_not_json_is_named(store: DynamodbStore, relay: Relay) -> None:
    relay.faults.append("garble")
    with pytest.raises(StoreError, match="GetItem: the answer is not JSON"):
        await store.get(_KEY)


async def test_an_answer_that_was_damaged_is_asked_for_again(store: DynamodbStore, relay: Relay) -> None:
    await store.put(_KEY, {"is": "there"})
    relay.faults.append("damage")
    assert await store.get(_KEY) == {"is": "there"}
    assert relay.requests == {"PutItem": 1, "GetItem": 2}


async def test_a_call_may_be_cancelled(store: DynamodbStore, relay: Relay) -> None:
    """Its connection is not used again: the next call gets an answer of its own."""
    await store.put(_KEY, {"is": "there"})
    relay.faults.append("stay silent")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await store.get(_KEY)
    assert await store.get(_KEY) == {"is": "there"}
    assert relay.requests == {"PutItem": 1, "GetItem": 2}


async def test_what_is_sent_is_what_was_signed(store: DynamodbStore, relay: Relay) -> None:
    await store.put(Key("größe", "漢"), {"is": "there"})
    sent = relay.last_headers
    signed = {name: sent[name] for name in ("content-type", "host", "x-amz-target")}
    assert sent["authorization"] == botocores_signature(
        relay.url, signed, relay.last_body, tuple(_ROLE.values()), "dynamodb", REGION, at=sent["x-amz-date"]
    )
    assert sent["x-amz-security-token"] == _ROLE["AWS_SESSION_TOKEN"]


async def test_throttled_for_long_it_gives_up(store: DynamodbStore, relay: Relay) -> None:
    relay.faults.extend(["throttle"] * 9)
    with pytest.raises(StoreError, match=r"table trefoil: GetItem: .*ProvisionedThroughputExceededException"):
        await store.get(_KEY)
    assert relay.requests == {"GetItem": 3}


async def test_where_an_answer_is_lost_a_change_is_made_once(store: DynamodbStore, relay: Relay) -> None:
    reserve = Change({"money": 5}, {"money": 99}, mark=("r", {}))
    relay.faults.append("lose answer")
    assert await store.add_within(_KEY, reserve) == Outcome(True, {"money": 5})
    relay.faults.append("lose answer")
    assert await store.add_within(_KEY, Change({"money": -2}, unmark="r")) == Outcome(False, {"money": 3})
    assert relay.requests == {"UpdateItem": 4}
    relay.faults.append("lose answer")
    with pytest.raises(StoreError, match="UpdateItem"):
        await store.add_within(_KEY, Change({"money": 1}))
    assert relay.requests == {"UpdateItem": 5}
    assert await store.get(_KEY) == {"counters": {"money": 4}, "marks": {}}


async def test_where_an_answer_is_lost_counters_are_dropped_once(store: DynamodbStore, relay: Relay) -> None:
    await store.put(_KEY, {"counters": {"x": 1, "y": 2, "z": 3}, "marks": {"r": {}}})
    relay.faults.append("lose answer")
    with pytest.raises(StoreError, match="UpdateItem"):
        await store.add_within(_KEY, Change({}, {"x": 1}, drop={"x"}))
    assert relay.requests == {"PutItem": 1, "UpdateItem": 1}
    relay.faults.append("lose answer")
    assert await store.add_within(_KEY, Change({}, mark=("s", {}), drop={"y"})) == Outcome(True, {"z": 3})
    relay.faults.append("lose answer")
    assert await store.add_within(_KEY, Change({}, unmark="r", drop={"z"})) == Outcome(False, {})
    assert await store.get(_KEY) == {"counters": {}, "marks": {"s": {}}}


def test_the_longest_change_is_one_that_dynamodb_takes() -> None:
    """An expression has at most 4 KB and 300 operators and functions, which the emulator does not check
    (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-expression-parameters).
    """
    dropped = dict.fromkeys((f"u/{number}" for number in range(50)), 2**60)
    amounts = dict.fromkeys((f"d/{number}" for number in range(20)), 1)
    change = Change(amounts, {**dropped, **dict.fromkeys(list(amounts)[:5], 9)}, ("m", {}), "n", dropped.keys())
    marked = {"mark:m": dynamodb_item.mark({}, write="0" * 16)}
    request = dynamodb_update.request(change, marked, now=_START, expires_at=None)
    for expression in (request["UpdateExpression"], request["ConditionExpression"]):
        assert len(expression) <= 4096
        assert len(re.findall(r"AND|OR|<=|<>|[^<]>|=|\w+\(", expression)) <= 300


async def test_where_an_answer_is_lost_counters_are_renewed_once(
    store: DynamodbStore, relay: Relay, clock: ManualClock
) -> None:
    reserve = Change({"money": 5}, {"money": 99}, mark=("r", {}))
    await store.add_within(_KEY, reserve, expires_at=_START + 1)
    clock.now += 1
    relay.faults.extend([None, "lose answer"])  # the refusal passes, the put is made unheard
    assert await store.add_within(_KEY, reserve, expires_at=_START + 9) == Outcome(True, {"money": 5})
    assert await store.get(_KEY) == {"counters": {"money": 5}, "marks": {"r": {}}}


async def test_where_an_answer_is_lost_an_absent_place_is_taken_once(store: DynamodbStore, relay: Relay) -> None:
    relay.faults.append("lose answer")
    assert await store.put(_KEY, {"by": 1}, if_absent=True)
    assert not await store.put(_KEY, {"by": 1}, if_absent=True)
    assert await store.delete(_KEY)


async def test_where_nobody_answers_it_fails_in_time(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_table, "_READ_TIMEOUT_SECONDS", 0.1)
    relay.faults.extend(["stay silent"] * 3)
    async with _opened(relay.url) as store:
        with pytest.raises(StoreError, match="did not answer in time"):
            await asyncio.wait_for(store.get(_KEY), 10)
    assert relay.requests == {"GetItem": 3}


async def test_where_nothing_listens_it_fails_at_once() -> None:
    async with _opened("http://127.0.0.1:1") as store:
        with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
            await asyncio.wait_for(store.add_within(_KEY, Change({"money": 1})), 5)


@pytest.mark.parametrize("url", ["nonsense", "http://h:x", "http:///", "ftp://h"])
def test_an_endpoint_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"AWS_ENDPOINT_URL_DYNAMODB: '{url}' is no URL")):
        DynamodbStore(_TABLE, REGION, {**_ROLE, "AWS_ENDPOINT_URL_DYNAMODB": url})


@pytest.mark.parametrize(
    ("fault", "said"), [("deny", "InvalidSignatureException"), ("expire", "ExpiredTokenException: The security token")]
)
async def test_errors_tell_no_secrets(store: DynamodbStore, relay: Relay, fault: Fault, said: str) -> None:
    relay.faults.append(fault)
    with pytest.raises(StoreError, match=said) as caught:
        await store.get(_KEY)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_credentials_that_cannot_be_sent_are_not_told() -> None:
    environ = {**_ROLE, "AWS_SESSION_TOKEN": "a-very-secret\ntoken", "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1"}
    with pytest.raises(StoreError, match="the credentials have characters") as caught:
        await DynamodbStore(_TABLE, REGION, environ).get(_KEY)
    assert "secret" not in str(caught.value)


async def test_a_value_that_is_too_large_is_refused(store: DynamodbStore) -> None:
    with pytest.raises(StoreError, match="Item size has exceeded the maximum allowed size"):
        await store.put(_KEY, {"text": "x" * 410_000})
    assert await store.get(_KEY) is None


async def test_a_table_that_is_not_there_is_named(relay: Relay) -> None:
    async with _opened(relay.url, "elsewhere") as store:
        with pytest.raises(StoreError, match=r"table elsewhere: PutItem: .*ResourceNotFoundException"):
            await store.put(_KEY, {})
