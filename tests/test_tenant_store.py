"""No request of one app's touches in the store what is another's: every endpoint, every call of the store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from core import app_keys, ledger_item
from core.app_data import PARTITIONS
from core.endpoints import OBJECTS_IN_PATHS
from core.ports import Limits
from recording_store import StoreCall
from two_tenants import BUDGET, CANARY, Tenants, answering, own, requests_of, tenants

pytestmark = pytest.mark.anyio

_LIMITED = Limits(
    requests_per_minute=10_000,
    tokens_per_minute=10**9,
    day_nano_usd=BUDGET,
    month_nano_usd=BUDGET,
    total_nano_usd=BUDGET,
    shards=2,
)
_APPS = {
    "shop": _LIMITED,
    "shop.eu": _LIMITED,
    "shop-eu": Limits(requests_per_minute=10_000),
    "shop.eu-2": Limits(total_nano_usd=BUDGET),
    "sho": Limits(),
}
"""Some ids begin like others, and some differ by what stands between their words."""
_OWN_PARTITIONS = (*PARTITIONS, "usage", *(f"ledger/{shard:02}" for shard in range(_LIMITED.shards)))
_PAST_ROW = "u/2026-01-01/chat.completions.create/m/n"


def _strays(calls: list[StoreCall], app_id: str, app_key: str) -> list[StoreCall]:
    """Those that are none of an app's business."""
    readable = {(f"keys/{app_keys.digest(app_key)}", "record"), ("apps", app_id)}
    own = {f"apps/{app_id}/{partition}" for partition in _OWN_PARTITIONS}
    return [
        call
        for call in calls
        if call.partition not in own and not (call.verb == "get" and (call.partition, call.name) in readable)
    ]


async def _use_everything(setup: Tenants, app_id: str) -> None:
    """Send one of every row, and each POST twice, as one who tries again."""
    for endpoint, path, body, headers in requests_of(app_id):
        await own(setup.store, app_id)
        response = await setup.call(app_id, endpoint.method, path, body, headers)
        is_there = "{conversation}" not in endpoint.path
        assert response.status == (200 if is_there else 404), (endpoint.name, response)
        if endpoint.method == "POST":
            again = await setup.call(app_id, endpoint.method, path, body, headers)
            assert (again.headers["idempotent-replayed"], again.body) == ("true", response.body)
            # Others use the same key, for the same path, with the same ids: what they were told is not told here.
            assert isinstance(response.body, bytes)
            told = set(CANARY.findall(response.body))
            assert told == ({f"canary-prompt-{app_id}".encode()} if endpoint.name != "tasks.image" else set())


async def test_every_endpoint_stays_within_its_app_s_partitions(tmp_path: Path) -> None:
    async with tenants(tmp_path, _APPS) as setup:
        for app_id in _APPS:
            past = {"counters": {_PAST_ROW: 1}, "marks": {}}
            await setup.store.behind.put(ledger_item.key(app_id, 0), past)
        await asyncio.gather(*(_use_everything(setup, app_id) for app_id in _APPS))
        for app_id, key in setup.keys.items():
            calls = setup.store.of(app_id)
            assert _strays(calls, app_id, key) == []
            touched = {call.partition.removeprefix(f"apps/{app_id}/") for call in calls}
            written = {
                "ledger/00",
                "usage",
                "idempotency",
                "conversations",
                "turns",
                *(f"objects/{kind}" for kind in OBJECTS_IN_PATHS.values()),
            }
            assert touched >= written
            assert {call.verb for call in calls} == {"get", "put", "add_within", "list", "delete"}
        assert {call.caller for call in setup.store.calls} == set(_APPS)


async def test_the_check_finds_what_strays() -> None:
    key = app_keys.generate()
    own = [
        StoreCall("shop", "get", f"keys/{app_keys.digest(key)}", "record"),
        StoreCall("shop", "get", "apps", "shop"),
        StoreCall("shop", "list", "apps/shop/objects/files"),
        StoreCall("shop", "put", "apps/shop/idempotency", "x"),
    ]
    strays = [
        StoreCall("shop", "get", f"keys/{app_keys.digest(app_keys.generate())}", "record"),
        StoreCall("shop", "put", "apps", "shop"),
        StoreCall("shop", "get", "apps", "shop.eu"),
        StoreCall("shop", "list", "apps"),
        StoreCall("shop", "list", "apps/shop"),
        StoreCall("shop", "get", "apps/shop.eu/ledger/00", "ledger"),
        StoreCall("shop", "list", "apps/shop/keys"),
        StoreCall("shop", "get", "apps/shop/../shop.eu/ledger/00", "ledger"),
    ]
    assert _strays([*own, *strays], "shop", key) == strays


async def test_an_object_of_another_app_s_is_looked_for_among_one_s_own_alone(tmp_path: Path) -> None:
    async with tenants(tmp_path, {"shop": _LIMITED, "shop.eu": _LIMITED}) as setup:
        await own(setup.store, "shop")
        for endpoint, path, body, headers in requests_of("shop.eu"):
            if "_same" not in path:
                continue
            response = await setup.call("shop.eu", endpoint.method, path, body, headers)
            assert response.status == 404, endpoint.name
        assert setup.upstream.exchanges == []
        assert _strays(setup.store.of("shop.eu"), "shop.eu", setup.keys["shop.eu"]) == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses/..%2F..%2Fshop%2Fobjects%2Fresponses%2Fresponse_id_same",
        "/v1/responses/response_id_same%00",
        "/v1/responses/%2e%2e",
        "/v1/vector_stores/vector_store_id_same/files/..%5C..%5C..%5Cfiles%5Cfile_id_same",
        "/v1/usage/../../shop",
        "/v1/usage?app=shop",
        "/v1/files?after=file_id_same",
        "/v1/chat/completions?after=completion_id_same&order=desc",
    ],
)
async def test_a_path_or_query_leads_nowhere_else(tmp_path: Path, path: str) -> None:
    async with tenants(tmp_path, {"shop": _LIMITED, "shop.eu": _LIMITED}) as setup:
        await own(setup.store, "shop")
        if "vector_stores" in path:
            await own(setup.store, "shop.eu")
        response = await setup.call("shop.eu", "GET", path)
        assert response.status in (400, 404)
        assert setup.upstream.exchanges == []
        assert _strays(setup.store.of("shop.eu"), "shop.eu", setup.keys["shop.eu"]) == []


async def test_limits_that_are_split_are_lent_within_the_app(tmp_path: Path) -> None:
    limits = Limits(total_nano_usd=2_000_000, shards=2)
    async with tenants(tmp_path, {"shop": limits, "shop.eu": limits}) as setup:
        statuses = await asyncio.gather(*(setup.chat(app_id) for app_id in ("shop", "shop.eu")))
        assert [response.status for response in statuses] == [200, 200]
        for app_id, key in setup.keys.items():
            calls = setup.store.of(app_id)
            marks = [call.change.mark[0] for call in calls if call.change and call.change.mark]
            assert any(mark.startswith(ledger_item.LENT) for mark in marks)
            assert _strays(calls, app_id, key) == []


async def test_a_response_in_the_background_is_settled_by_its_own_app_alone(tmp_path: Path) -> None:
    """Upstream gives both apps the same id, which no real one does."""
    queued = {"id": "resp_same", "background": True, "status": "queued", "usage": None}
    done = {**queued, "status": "completed", "usage": {"input_tokens": 10, "output_tokens": 20}}
    answer = dict(queued)
    limits = Limits(total_nano_usd=BUDGET)
    async with tenants(tmp_path, {"shop": limits, "shop.eu": limits}, answering(answer)) as setup:
        for app_id in ("shop", "shop.eu"):
            assert (await setup.post(app_id, "/v1/responses", model="m", input="hi", background=True)).status == 200
        answer.update(done)
        assert (await setup.call("shop", "GET", "/v1/responses/resp_same")).status == 200
        assert (await setup.spending("shop")).reserved_nano_usd == 0
        theirs = await setup.spending("shop.eu")
        assert (theirs.total_nano_usd, theirs.reserved_nano_usd > 0) == (0, True)
        for app_id, key in setup.keys.items():
            calls = setup.store.of(app_id)
            assert f"apps/{app_id}/background" in {call.partition for call in calls}
            assert _strays(calls, app_id, key) == []


async def test_a_response_in_the_background_of_an_app_without_limits_is_counted_once(tmp_path: Path) -> None:
    """It was a 500, after upstream had taken the work."""
    answer: dict[str, Any] = {"id": "resp_1", "background": True, "status": "queued", "usage": None}
    async with tenants(tmp_path, {"shop": Limits()}, answering(answer)) as setup:
        assert (await setup.post("shop", "/v1/responses", model="m", input="hi", background=True)).status == 200
        answer.update(status="completed", usage={"input_tokens": 10, "output_tokens": 20})
        seen = await asyncio.gather(*(setup.call("shop", "GET", "/v1/responses/resp_1") for _ in range(5)))
        assert [response.status for response in seen] == [200] * 5
        [row] = [row for row in await setup.usage("shop") if row.endpoint == "responses.create"]
        assert row[2:] == ("m", 1, 10, 0, 20, 10 * 100 + 20 * 1000)
