"""What apps have used, as the operator and an app itself read it; and reservations that nobody will settle."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import usage_report
from core.admin import Admin
from core.errors import InvalidRequest
from core.ledger import Reservation
from core.usage import Usage
from manage_client import START, Operator, operator

pytestmark = pytest.mark.anyio

_CHAT = "chat.completions.create"
_DAY = 86_400


@pytest.fixture
async def op(tmp_path: Path) -> AsyncIterator[Operator]:
    async with operator(tmp_path) as one:
        await one.make(limits={"budget_month_usd": "1.00"})
        await one.make("intranet")
        yield one


async def _reserve(op: Operator, app_id: str = "web-shop", model: str = "gpt-4o", nano_usd: int = 5_000) -> Reservation:
    app = await Admin(op.store).app(app_id)
    return await op.ledger.reserve(app, _CHAT, model, tokens=100, nano_usd=nano_usd)


async def _use(op: Operator, app_id: str = "web-shop", model: str = "gpt-4o", nano_usd: int = 1_500) -> None:
    usage = Usage(input_tokens=10, cached_input_tokens=4, output_tokens=3)
    await op.ledger.settle(await _reserve(op, app_id, model), usage, nano_usd)


def _sum(requests: int, cost_usd: str) -> dict[str, Any]:
    return {
        "requests": requests,
        "input_tokens": 10 * requests,
        "cached_input_tokens": 4 * requests,
        "output_tokens": 3 * requests,
        "cost_usd": cost_usd,
    }


async def _three(op: Operator) -> None:
    """Two calls on one day, by two apps, and one on the next."""
    await _use(op)
    await _use(op, "intranet", "o3")
    op.clock.now += _DAY
    await _use(op)


async def test_usage_by_app(op: Operator) -> None:
    await _three(op)
    answer = await op.ask("GET", "/manage/usage")
    assert answer.json == {
        "object": "usage",
        "from": "2026-11-01",
        "to": "2026-11-26",
        "group_by": ["app"],
        "data": [{"app": "intranet", **_sum(1, "0.0000015")}, {"app": "web-shop", **_sum(2, "0.000003")}],
        "total": _sum(3, "0.0000045"),
    }


@pytest.mark.parametrize(
    ("group_by", "rows"),
    [
        ("day", [({"day": "2026-11-25"}, 2), ({"day": "2026-11-26"}, 1)]),
        ("model", [({"model": "gpt-4o"}, 2), ({"model": "o3"}, 1)]),
        ("endpoint", [({"endpoint": _CHAT}, 3)]),
        (
            "app,day",
            [
                ({"app": "intranet", "day": "2026-11-25"}, 1),
                ({"app": "web-shop", "day": "2026-11-25"}, 1),
                ({"app": "web-shop", "day": "2026-11-26"}, 1),
            ],
        ),
    ],
)
async def test_usage_by_other_things(op: Operator, group_by: str, rows: list[tuple[dict[str, str], int]]) -> None:
    await _three(op)
    answer = await op.ask("GET", f"/manage/usage?group_by={group_by}")
    names = group_by.split(",")
    assert [({name: row[name] for name in names}, row["requests"]) for row in answer.json["data"]] == rows
    assert all(set(row) == {*names, *_sum(1, "")} for row in answer.json["data"])


async def test_usage_of_some_days(op: Operator) -> None:
    await _three(op)
    for days, requests in [("from=2026-11-26", 1), ("to=2026-11-25", 2), ("from=2026-10-01&to=2026-10-31", 0)]:
        assert (await op.ask("GET", f"/manage/usage?{days}")).json["total"]["requests"] == requests


async def test_usage_as_csv(op: Operator) -> None:
    await _use(op, model='=HYPERLINK("http://x")')
    await _use(op, model='naïve,"quoted"')
    answer = await op.ask("GET", "/manage/usage?group_by=app,model&format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert [*csv.reader(io.StringIO(answer.text))] == [
        ["app", "model", "requests", "input_tokens", "cached_input_tokens", "output_tokens", "cost_usd"],
        ["web-shop", '\'=HYPERLINK("http://x")', "1", "10", "4", "3", "0.0000015"],
        ["web-shop", 'naïve,"quoted"', "1", "10", "4", "3", "0.0000015"],
    ]


@pytest.mark.parametrize(
    ("query", "param", "said"),
    [
        ("from=yesterday", "from", "write a day, such as 2026-11-25"),
        ("to=2026-02-30", "to", "write a day, such as 2026-11-25"),
        ("to=20261125", "to", "write a day, such as 2026-11-25"),
        ("from=2026-11-26&to=2026-11-25", "from", "write a day that is not after 'to'"),
        ("from=2020-01-01", "from", "ask for 800 days at most"),
        ("group_by=hour", "group_by", "write one or more of day, app, endpoint, model"),
        ("group_by=day,day", "group_by", "write one or more of day, app, endpoint, model"),
        ("group_by=", "group_by", "write one or more of day, app, endpoint, model"),
        ("format=xml", "format", "write json or csv"),
    ],
)
async def test_a_question_that_makes_no_sense(op: Operator, query: str, param: str, said: str) -> None:
    answer = await op.ask("GET", f"/manage/usage?{query}")
    assert answer.error[:3] == (400, "invalid_value", param)
    assert said in answer.error[3]


async def test_an_app_s_own_usage(op: Operator) -> None:
    await _three(op)
    await _reserve(op, nano_usd=7_000)
    app = await Admin(op.store).app("web-shop")
    response = await usage_report.of_app(app, "from=2026-11-25", op.books, clock=op.clock)
    by_operator = await op.ask("GET", "/manage/apps/web-shop/usage?from=2026-11-25")
    assert response.body == by_operator.text.encode()
    december = START - START % _DAY + 6 * _DAY
    nothing = {"limit_usd": None, "remaining_usd": None, "reserved_usd": "0.000007"}
    assert by_operator.json == {
        "object": "usage",
        "from": "2026-11-25",
        "to": "2026-11-26",
        "group_by": ["day"],
        "data": [
            {"day": "2026-11-25", **_sum(1, "0.0000015")},
            {"day": "2026-11-26", **_sum(1, "0.0000015")},
        ],
        "total": _sum(2, "0.000003"),
        "app": "web-shop",
        "limits": (await op.ask("GET", "/manage/apps/web-shop")).json["limits"],
        "budgets": {
            "day": nothing | {"spent_usd": "0.0000015", "resets_at": START - START % _DAY + 2 * _DAY},
            "month": {
                "limit_usd": "1.00",
                "spent_usd": "0.000003",
                "reserved_usd": "0.000007",
                "remaining_usd": "0.99999",
                "resets_at": december,
            },
            "total": nothing | {"spent_usd": "0.000003", "resets_at": None},
        },
    }


async def test_an_app_cannot_ask_for_others(op: Operator) -> None:
    app = await Admin(op.store).app("web-shop")
    for query in ("group_by=app", "app=intranet", "app_id=intranet"):
        with pytest.raises(InvalidRequest):
            await usage_report.of_app(app, query, op.books, clock=op.clock)
    await _use(op, "intranet")
    response = await usage_report.of_app(app, "format=csv", op.books, clock=op.clock)
    assert response.body == b"day,requests,input_tokens,cached_input_tokens,output_tokens,cost_usd\r\n"


async def test_what_is_overspent_leaves_nothing(op: Operator) -> None:
    await _use(op, nano_usd=3_000_000_000)
    assert (await op.ask("GET", "/manage/apps/web-shop/usage")).json["budgets"]["month"]["remaining_usd"] == "0.00"


@pytest.mark.parametrize(("charge", "spent"), [("true", "0.000005"), ("false", "0.00")])
async def test_a_reservation_of_a_process_that_died(op: Operator, charge: str, spent: str) -> None:
    reservation = await _reserve(op)
    op.clock.now += 899
    url = "/manage/apps/web-shop/reservations"
    shown = {
        "object": "reservation",
        "id": reservation.id,
        "created_at": START,
        "age_seconds": 899,
        "endpoint": _CHAT,
        "model": "gpt-4o",
        "tokens": 100,
        "reserved_usd": "0.000005",
    }
    assert (await op.ask("GET", url)).json == {"object": "list", "data": [shown]}
    refused = await op.ask("DELETE", f"{url}/{reservation.id}?charge={charge}")
    assert refused.error[:3] == (409, "state_conflict", "force")
    op.clock.now += 1
    released = await op.ask("DELETE", f"{url}/{reservation.id}?charge={charge}")
    assert released.status == 200
    assert released.json == shown | {
        "object": "reservation.released",
        "age_seconds": 900,
        "charged": charge == "true",
        "released": True,
    }
    budgets = (await op.ask("GET", "/manage/apps/web-shop/usage")).json["budgets"]
    assert (budgets["month"]["spent_usd"], budgets["month"]["reserved_usd"]) == (spent, "0.00")
    assert (await op.ask("DELETE", f"{url}/{reservation.id}?charge={charge}")).error[:3] == (
        404,
        "not_found",
        "reservation",
    )


async def test_a_young_reservation_is_released_by_force(op: Operator) -> None:
    reservation = await _reserve(op)
    url = f"/manage/apps/web-shop/reservations/{reservation.id}"
    assert (await op.ask("DELETE", f"{url}?charge=false&force=true")).status == 200
    # The request was at work after all: what it settles is settled once.
    assert await op.ledger.settle(reservation, Usage(input_tokens=1), 900) is None


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("", "missing_required_parameter", "charge"),
        ("charge=1", "invalid_value", "charge"),
        ("charge=true&force=yes", "invalid_value", "force"),
    ],
)
async def test_a_release_says_who_pays(op: Operator, query: str, code: str, param: str) -> None:
    reservation = await _reserve(op)
    answer = await op.ask("DELETE", f"/manage/apps/web-shop/reservations/{reservation.id}?{query}")
    assert answer.error[:3] == (400, code, param)
    assert len(await op.books.standing("web-shop")) == 1


async def test_a_settlement_that_was_left_is_made_once(op: Operator) -> None:
    reservation = await _reserve(op)
    change = op.ledger.settlement(reservation, Usage(input_tokens=10, cached_input_tokens=4, output_tokens=3), 1_500)
    left = {"shard": reservation.shard, "amounts": dict(change.amounts), "unmark": change.unmark}
    op.clock.now += 3600
    for made in (True, False):
        answer = await op.ask("POST", "/manage/apps/web-shop/settlements", left)
        assert answer.json == {"object": "settlement", "unmark": change.unmark, "made": made}
    report = (await op.ask("GET", "/manage/apps/web-shop/usage")).json
    assert report["total"] == _sum(1, "0.0000015")
    assert (report["budgets"]["month"]["spent_usd"], report["budgets"]["month"]["reserved_usd"]) == (
        "0.0000015",
        "0.00",
    )


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"shard": 64}, "shard"),
        ({"unmark": None}, "unmark"),
        ({"unmark": "lent/0123456789abcdef"}, "unmark"),
        ({"amounts": {"anything": 1}}, "amounts.anything.[key]"),
        ({"amounts": {"u/2026-11-25/x": 1}}, "amounts.u/2026-11-25/x.[key]"),
        ({"amounts": {"all": "1"}}, "amounts.all"),
        ({"amounts": {"all": 2**60}}, "amounts.all"),
        ({"more": 1}, "more"),
    ],
)
async def test_a_settlement_that_makes_no_sense(op: Operator, change: dict[str, Any], param: str) -> None:
    left = {"shard": 0, "amounts": {"all": -1}, "unmark": "r/0123456789abcdef"}
    answer = await op.ask("POST", "/manage/apps/web-shop/settlements", left | change)
    assert (answer.status, answer.error[2]) == (400, param)
