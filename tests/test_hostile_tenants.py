"""What a hostile app tries: another's budget, calls that cost it less, counters that overflow, rows without end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core import ledger_item
from core.books import Books
from core.ledger import Ledger
from core.ports import App, Limits
from core.sqlite_store import SqliteStore
from core.usage import Usage
from core.usage_archive import UsageArchive
from manual_clock import ManualClock
from scripted_upstream import Exchange
from two_tenants import BUDGET, Tenants, answering, tenants

pytestmark = pytest.mark.anyio

_BUDGET = Limits(total_nano_usd=BUDGET)
_BOTH = {"shop": _BUDGET, "rival": _BUDGET}
_COST = 10 * 100 + 20 * 1000
"""Of every answer, in nano-dollars."""
_MOST_COST = 100_000 * 100 + 1000 * 1000
"""Of one answer that takes in and puts out as much as the model can."""
_NOW = 1_795_600_000
_DYNAMODB_ITEM_BYTES = 400 * 1024


async def _untouched(setup: Tenants, app_id: str) -> None:
    assert await setup.spending(app_id) == (0, 0, 0, 0)
    assert await setup.usage(app_id) == []


async def test_equal_idempotency_keys_are_two_apps_two_calls(tmp_path: Path) -> None:
    async with tenants(tmp_path, _BOTH) as setup:
        same: dict[str, Any] = {"messages": [{"role": "user", "content": "canary-prompt-same"}]}
        first = await setup.chat("shop", {"idempotency-key": "one"}, **same)
        theirs = await setup.chat("rival", {"idempotency-key": "one"}, **same)
        assert first.body != theirs.body
        assert "idempotent-replayed" not in theirs.headers
        again = await setup.chat("shop", {"idempotency-key": "one"}, **same)
        assert (again.body, again.headers["idempotent-replayed"]) == (first.body, "true")
        for app_id in _BOTH:
            assert await setup.spending(app_id) == (_COST, _COST, _COST, 0)


async def test_whatever_one_app_does_another_pays_nothing(tmp_path: Path) -> None:
    queued = {"background": True, "status": "queued", "usage": None}
    answer: dict[str, Any] = {}
    async with tenants(tmp_path, _BOTH, answering(answer)) as setup:
        answer.update(queued)
        made = await setup.post("shop", "/v1/responses", model="m", input="hi", background=True)
        assert isinstance(made.body, bytes)
        response_id = json.loads(made.body)["id"]
        before = await setup.spending("shop")
        assert before.reserved_nano_usd > 0
        answer.clear()
        answer.update(background=True, status="completed")
        for method, path in (
            ("GET", f"/v1/responses/{response_id}"),
            ("GET", f"/v1/responses/{response_id}?stream=true"),
            ("POST", f"/v1/responses/{response_id}/cancel"),
            ("DELETE", f"/v1/responses/{response_id}"),
        ):
            assert (await setup.call("rival", method, path)).status == 404
        for headers in ({"x-api-key": setup.keys["shop"]}, {"openai-organization": "shop"}, {"x-app": "shop"}):
            assert (await setup.chat("rival", headers)).status == 200
        assert await setup.spending("shop") == before
        assert (await setup.spending("rival")).total_nano_usd == 3 * _COST


_HOSTILE: Mapping[str, bytes] = {
    "model twice": b'{"model": "free", "model": "m", "messages": [{}]}',
    "model in another case": b'{"model": "m", "Model": "dear", "messages": [{}]}',
    "model escaped": b'{"m\\u006fdel": "dear", "model": "m", "messages": [{}]}',
    "no output": b'{"model": "m", "messages": [{}], "max_tokens": 0}',
    "less than no output": b'{"model": "m", "messages": [{}], "max_completion_tokens": -1}',
    "output twice": b'{"model": "m", "messages": [{}], "max_tokens": 1, "max_tokens": 100000}',
    "output in another case": b'{"model": "m", "messages": [{}], "max_tokens": 1, "MAX_TOKENS": 100000}',
    "output as text": b'{"model": "m", "messages": [{}], "max_tokens": "1"}',
    "output as a fraction": b'{"model": "m", "messages": [{}], "max_tokens": 1e-9}',
    "output beyond 64 bits": b'{"model": "m", "messages": [{}], "max_tokens": 18446744073709551617}',
    "answers twice": b'{"model": "m", "messages": [{}], "n": 1, "n": 128}',
    "no answers": b'{"model": "m", "messages": [{}], "n": 0}',
    "answers beyond 64 bits": b'{"model": "m", "messages": [{}], "n": 9223372036854775808}',
    "answers true": b'{"model": "m", "messages": [{}], "n": true}',
    "stream twice": b'{"model": "m", "messages": [{}], "stream": false, "stream": true}',
    "unknown tool": b'{"model": "m", "messages": [{}], "tools": [{"type": "dear_tool"}]}',
    "tools of another case": b'{"model": "m", "messages": [{}], "TOOLS": [{"type": "web_search"}]}',
    "a model without a price": b'{"model": "free", "messages": [{}]}',
    "nested beyond measure": b'{"model": "m", "messages": [' + b"[" * 100_000,
}


@pytest.mark.parametrize("how", _HOSTILE)
async def test_a_hostile_body_is_refused_or_costs_what_it_costs(tmp_path: Path, how: str) -> None:
    async with tenants(tmp_path, {"shop": _BUDGET}) as setup:
        response = await setup.call("shop", "POST", "/v1/chat/completions", _HOSTILE[how])
        sent = len(setup.upstream.exchanges)
        if response.status == 200:
            assert how == "no output"
            assert await setup.spending("shop") == (_COST, _COST, _COST, 0)
        else:
            assert (response.status, sent) == (400, 0)
            assert await setup.spending("shop") == (0, 0, 0, 0)


_MORE: Mapping[str, Mapping[str, Any]] = {
    "null everywhere": {"n": None, "max_tokens": None, "max_completion_tokens": None, "stream": None},
    "an alias": {"model": "house"},
    "another tier": {"service_tier": "flex"},
    "a tier that is none": {"service_tier": "free"},
    "usage refused": {"stream": True, "stream_options": {"include_usage": False}},
    "usage null": {"stream": True, "stream_options": None},
    "who it is for": {"user": "rival", "metadata": {"app": "rival"}, "safety_identifier": "rival"},
}


@pytest.mark.parametrize("how", _MORE)
async def test_what_is_not_refused_costs_what_it_costs(tmp_path: Path, how: str) -> None:
    async with tenants(tmp_path, {"shop": _BUDGET}) as setup:
        assert (await setup.chat("shop", **_MORE[how])).status == 200
        assert await setup.spending("shop") == (_COST, _COST, _COST, 0)


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "post"])
async def test_another_method_is_no_way_to_a_model(tmp_path: Path, method: str) -> None:
    async with tenants(tmp_path, {"shop": _BUDGET}) as setup:
        headers = {"x-http-method-override": "POST", "x-method-override": "POST"}
        body = b'{"model": "m", "messages": [{}]}'
        response = await setup.call("shop", method, "/v1/chat/completions", body, headers)
        assert response.status == (200 if method == "GET" else 405)  # a list of what is stored
        assert setup.upstream.exchanges == []
        assert (await setup.spending("shop")).total_nano_usd == 0


async def test_a_client_that_leaves_at_once_cannot_do_so_for_nothing(tmp_path: Path) -> None:
    """Wherever it leaves: before the reservation is made it has cost nothing, after that it is paid."""

    async def script(exchange: Exchange) -> None:
        await exchange.client_left()

    async with tenants(tmp_path, {"shop": _BUDGET}, script) as setup:
        for steps in range(0, 60, 3):
            before, asked = await setup.spending("shop"), len(setup.upstream.exchanges)
            call = asyncio.create_task(setup.chat("shop"))
            for _ in range(steps):
                await asyncio.sleep(0.001)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await setup.gateway._meter._settlements.idle()
            after = await setup.spending("shop")
            assert after.reserved_nano_usd == 0
            if len(setup.upstream.exchanges) > asked:
                assert after.total_nano_usd > before.total_nano_usd
        assert setup.upstream.exchanges


async def test_the_largest_request_fits_the_counters(tmp_path: Path) -> None:
    """Nothing is refused it here but money; and the sum of many such still fits in 63 bits."""
    tools = [{"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "64g"}}]
    limits = Limits(requests_per_minute=10**12, tokens_per_minute=10**12, total_nano_usd=2**62)
    async with tenants(tmp_path, {"shop": limits}) as setup:
        response = await setup.post(
            "shop",
            "/v1/responses",
            model="m",
            input="hi",
            tools=tools,
            max_tool_calls=10_000,
            max_output_tokens=10_000_000,
            service_tier="priority",
            context_management=[{"type": "compaction"}],
        )
        assert response.status == 200
        marks = dict(call.change.mark for call in setup.store.of("shop") if call.change and call.change.mark)
        [standing] = ledger_item.standing(0, marks)
        assert 10**12 < standing.nano_usd < 2**53
        assert (await setup.spending("shop")).reserved_nano_usd == 0


@pytest.mark.parametrize("limits", [Limits(), Limits(requests_per_minute=10**6)], ids=["unlimited", "counted"])
async def test_free_calls_make_no_row_for_what_a_client_calls_a_model(tmp_path: Path, limits: Limits) -> None:
    async with tenants(tmp_path, {"shop": limits}) as setup:
        for number in range(5):
            assert (await setup.post("shop", "/v1/conversations", model=f"any-{number}")).status == 200
        [row] = await setup.usage("shop")
        assert (row.endpoint, row.model, row.requests) == ("conversations.create", "", 5)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(_NOW)


@pytest.mark.parametrize(
    "limits",
    [Limits(), Limits(total_nano_usd=BUDGET), Limits(requests_per_minute=10**6)],
    ids=["none", "money", "rate"],
)
async def test_a_ledger_has_so_many_rows_and_no_more(tmp_path: Path, clock: ManualClock, limits: Limits) -> None:
    store, app = SqliteStore(tmp_path / "store.sqlite3", clock=clock), App(id="shop", created_at=0, limits=limits)
    ledger, books = Ledger(store, clock=clock), Books(store, clock=clock)

    async def call(model: str, *, is_free: bool = False) -> None:
        reservation = await ledger.reserve(app, "embeddings.create", model, tokens=9, nano_usd=9, is_free=is_free)
        if not is_free or reservation.counters is None:
            await ledger.settle(reservation, Usage(input_tokens=3, cached_input_tokens=1, output_tokens=2), 7)

    for number in range(ledger_item.MOST_ROWS + 60):
        await call(f"{number}{'漢' * 62}" if number % 2 else f"m{number}", is_free=number % 3 == 0)
    await call("m0")
    await call("new")
    rows = await books.usage("shop", "2000-01-01", "2999-01-01")
    assert len(rows) == ledger_item.MOST_ROWS + 1
    assert sum(row.requests for row in rows) == ledger_item.MOST_ROWS + 62
    counted = {row.model: row.requests for row in rows}
    assert (counted["m0"], "new" in counted) == (2, False)
    assert counted[ledger_item.OTHER_MODELS] >= 61
    item = await store.get(ledger_item.key("shop", 0))
    assert len(json.dumps(item)) < _DYNAMODB_ITEM_BYTES
    clock.now += 2 * 86_400
    archive = UsageArchive(store, clock=clock)
    while (item := await store.get(ledger_item.key("shop", 0))) and archive.past(item["counters"]):
        await archive.move("shop", 0, item["counters"])
    assert sorted(await books.usage("shop", "2000-01-01", "2999-01-01")) == sorted(rows)
    for _ in range(2):  # the first time, a process may not know yet that there is room again
        await call("new")
    assert "new" in {row.model for row in await books.usage("shop", "2026-11-27", "2999-01-01")}
    store.close()


async def test_a_new_process_knows_a_full_ledger_by_its_first_reservation(tmp_path: Path, clock: ManualClock) -> None:
    store, app = SqliteStore(tmp_path / "store.sqlite3", clock=clock), App(id="shop", created_at=0, limits=_BUDGET)
    rows = {f"u/2026-11-25/embeddings.create/m{number}/n": 1 for number in range(ledger_item.MOST_ROWS)}
    await store.put(ledger_item.key("shop", 0), {"counters": rows, "marks": {}})
    for model in ("new", "newer", "m7"):
        ledger = Ledger(store, clock=clock)
        reservation = await ledger.reserve(app, "embeddings.create", model, tokens=1, nano_usd=1)
        await ledger.settle(reservation, Usage(input_tokens=1), 1)
    used = {
        row.model: row.requests for row in await Books(store, clock=clock).usage("shop", "2026-11-25", "2026-11-25")
    }
    assert len(used) == ledger_item.MOST_ROWS + 1
    assert (used[ledger_item.OTHER_MODELS], used["m7"]) == (2, 2)
    store.close()


async def test_what_idempotency_keys_leave_is_gone_after_a_day(tmp_path: Path) -> None:
    async with tenants(tmp_path, {"shop": _BUDGET}) as setup:
        for number in range(3):
            assert (await setup.chat("shop", {"idempotency-key": f"{number}"})).status == 200
        refused = await setup.chat("shop", {"idempotency-key": "x" * 256})
        assert refused.status == 400
        assert (await setup.post("shop", "/v1/chat/completions", {"idempotency-key": "y"})).status == 400
        kept = [name async for name, _ in setup.store.behind.list("apps/shop/idempotency")]
        assert len(kept) == 6  # each an answer, and what tells of it
        behind = setup.store.behind
        assert isinstance(behind, SqliteStore)
        later = SqliteStore(behind._path, clock=lambda: behind._clock() + 86_400 + 901)
        assert [name async for name, _ in later.list("apps/shop/idempotency")] == []
        later.close()


async def test_an_id_of_any_length_is_no_item_s_name(tmp_path: Path) -> None:
    async with tenants(tmp_path, {"shop": _BUDGET}) as setup:
        for name in ("x" * 300, "%00" * 200, "%F0%9F%8D%80" * 100):
            response = await setup.call("shop", "GET", f"/v1/files/{name}")
            assert response.status == 404
        asked = [call for call in setup.store.of("shop") if call.partition.endswith("/objects/files")]
        assert all(len((call.name or "").encode()) <= 1024 for call in asked)
