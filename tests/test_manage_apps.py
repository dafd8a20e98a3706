"""Apps and their limits through the admin API."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core import ledger_item
from core.admin import Admin
from core.auth import Authenticator
from core.errors import NotAuthenticated, QuotaExceeded, StateConflict
from core.kinds import Kind
from core.ledger import Ledger
from core.made import Made
from core.objects import Objects
from core.ports import App, Key, Limits, Value
from core.sqlite_store import SqliteStore
from core.usage import Usage
from manage_client import CACHE_SECONDS, START, Operator, operator

pytestmark = pytest.mark.anyio

_NO_LIMITS = {
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "budget_day_usd": None,
    "budget_month_usd": None,
    "budget_total_usd": None,
    "models": None,
    "endpoints": None,
    "max_output_tokens": None,
    "shards": 1,
}
_SHOP: dict[str, Any] = {
    "object": "app",
    "id": "web-shop",
    "version": 1,
    "enabled": True,
    "deleting": False,
    "created_at": START,
    "updated_at": None,
    "disabled_at": None,
    "origins": None,
    "limits": _NO_LIMITS,
}
_SHOP_URL = "/manage/apps/web-shop"


@pytest.fixture
async def op(tmp_path: Path) -> AsyncIterator[Operator]:
    async with operator(tmp_path) as one:
        yield one


async def _record(op: Operator) -> App:
    return await Admin(op.store).app("web-shop")


async def test_a_new_app(op: Operator) -> None:
    answer = await op.ask("POST", "/manage/apps", {"id": "web-shop"})
    assert (answer.status, answer.json) == (201, _SHOP)
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["location"] == _SHOP_URL
    shown = await op.ask("GET", _SHOP_URL)
    assert (shown.status, shown.json, shown.headers["etag"]) == (200, _SHOP, '"1"')


async def test_a_name_is_taken_once(op: Operator) -> None:
    await op.make()
    assert (await op.ask("POST", "/manage/apps", {"id": "web-shop"})).error[:3] == (409, "app_exists", "id")


async def test_a_name_is_taken_once_in_a_race(op: Operator) -> None:
    answers = await asyncio.gather(*(op.ask("POST", "/manage/apps", {"id": "web-shop"}) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 9


async def test_all_limits(op: Operator) -> None:
    limits = {
        "requests_per_minute": 60,
        "tokens_per_minute": 90_000,
        "budget_day_usd": "20.00",
        "budget_month_usd": "250.00",
        "budget_total_usd": "1000.000000001",
        "models": ["gpt-4o*", "o3"],
        "endpoints": ["chat.completions.*", "embeddings.create"],
        "max_output_tokens": 4096,
        "shards": 4,
    }
    answer = await op.make(limits=limits, origins=["https://shop.example"], enabled=False)
    assert answer.json["limits"] == limits
    assert answer.json["origins"] == ["https://shop.example"]
    assert (answer.json["enabled"], answer.json["disabled_at"]) == (False, START)
    assert (await _record(op)).limits == Limits(
        requests_per_minute=60,
        tokens_per_minute=90_000,
        day_nano_usd=20_000_000_000,
        month_nano_usd=250_000_000_000,
        total_nano_usd=1_000_000_000_001,
        models=("gpt-4o*", "o3"),
        endpoints=("chat.completions.*", "embeddings.create"),
        output_tokens=4096,
        shards=4,
    )


async def test_a_change_leaves_alone_what_it_does_not_name(op: Operator) -> None:
    await op.make(limits={"requests_per_minute": 60, "budget_day_usd": 5, "models": ["a"]}, origins=["*"])
    op.clock.now += 10
    answer = await op.ask("PATCH", _SHOP_URL, {"limits": {"budget_day_usd": "7.5"}}, if_match='"1"')
    assert answer.status == 200
    assert answer.json == _SHOP | {
        "version": 2,
        "updated_at": START + 10,
        "origins": ["*"],
        "limits": _NO_LIMITS | {"requests_per_minute": 60, "budget_day_usd": "7.50", "models": ["a"]},
        "effective_within_seconds": CACHE_SECONDS,
    }
    assert answer.headers["etag"] == '"2"'


async def test_null_clears(op: Operator) -> None:
    await op.make(limits={"requests_per_minute": 60, "models": ["a"], "budget_day_usd": 5}, origins=["*"])
    change: dict[str, Any] = {
        "limits": {"requests_per_minute": None, "models": None, "budget_day_usd": None},
        "origins": None,
    }
    answer = await op.ask("PATCH", _SHOP_URL, change, if_match="*")
    assert (answer.json["limits"], answer.json["origins"]) == (_NO_LIMITS, None)


async def test_disabling_notes_since_when(op: Operator) -> None:
    await op.make()
    for seconds, enabled, disabled_at in [(1, False, START + 1), (2, False, START + 1), (3, True, None)]:
        op.clock.now = START + seconds
        answer = await op.ask("PATCH", _SHOP_URL, {"enabled": enabled}, if_match="*")
        assert (answer.json["enabled"], answer.json["disabled_at"]) == (enabled, disabled_at)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"id": None}, ("invalid_type", "id", "Invalid type for 'id': input should be a valid string.")),
        ({"id": "Web Shop"}, ("invalid_value", "id", "'Web Shop' cannot be an app's name: ")),
        ({"id": "../x"}, ("invalid_value", "id", "'../x' cannot be an app's name: ")),
        ({"colour": 1}, ("unknown_parameter", "colour", "Unknown parameter: 'colour'.")),
        ({"enabled": "yes"}, ("invalid_type", "enabled", "Invalid type for 'enabled': ")),
        ({"enabled": None}, ("invalid_type", "enabled", "Invalid type for 'enabled': ")),
        ({"origins": ["shop"]}, ("invalid_value", "origins[0]", "Invalid 'origins[0]': write an origin, such as ")),
        ({"origins": "https://a.example"}, ("invalid_type", "origins", "Invalid type for 'origins': ")),
        ({"limits": None}, ("invalid_type", "limits", "Invalid type for 'limits': ")),
        (
            {"limits": {"models": []}},
            ("invalid_value", "limits.models", "Invalid 'limits.models': list should "),
        ),
        ({"limits": {"rpm": 1}}, ("unknown_parameter", "limits.rpm", "Unknown parameter: 'limits.rpm'.")),
    ],
)
async def test_a_mistake_in_a_new_app(op: Operator, fields: dict[str, Any], expected: tuple[str, str, str]) -> None:
    status, code, param, message = (await op.ask("POST", "/manage/apps", {"id": "web-shop", **fields})).error
    assert (status, code, param) == (400, *expected[:2])
    assert message.startswith(expected[2])
    assert (await op.ask("GET", "/manage/apps")).json["data"] == []


@pytest.mark.parametrize(
    ("name", "value", "code", "said"),
    [
        ("requests_per_minute", 0, "invalid_value", "greater than or equal to 1"),
        ("requests_per_minute", True, "invalid_type", "a valid integer"),
        ("requests_per_minute", "60", "invalid_type", "a valid integer"),
        ("requests_per_minute", 1.5, "invalid_type", "a valid integer"),
        ("tokens_per_minute", 10**13, "invalid_value", "less than or equal to"),
        ("max_output_tokens", -1, "invalid_value", "greater than or equal to 1"),
        ("budget_day_usd", "-1", "invalid_value", 'write US dollars, such as "250.00"'),
        ("budget_day_usd", "$5", "invalid_value", 'write US dollars, such as "250.00"'),
        ("budget_day_usd", True, "invalid_value", 'write US dollars, such as "250.00"'),
        ("budget_month_usd", "0.0000000001", "invalid_value", "write at most 9 decimals"),
        ("budget_total_usd", "9000000.01", "invalid_value", "write 9000000 US dollars at most"),
        ("shards", 0, "invalid_value", "greater than or equal to 1"),
        ("shards", 65, "invalid_value", "less than or equal to 64"),
    ],
)
async def test_a_limit_that_makes_no_sense(op: Operator, name: str, value: object, code: str, said: str) -> None:
    answer = await op.ask("POST", "/manage/apps", {"id": "web-shop", "limits": {name: value}})
    assert answer.error[:3] == (400, code, f"limits.{name}")
    assert said in answer.error[3]


@pytest.mark.parametrize(
    ("name", "pattern", "said"),
    [
        ("models", "gpt 4", "write a model's name, or a pattern with * in it"),
        ("models", "", "write a model's name, or a pattern with * in it"),
        ("models", "gpt-[34]", "write a model's name, or a pattern with * in it"),
        ("endpoints", "chat.completion.create", "the nearest are "),
        ("endpoints", "%%%", "no endpoint is called '%%%': write such as chat.completions.create, or responses.*"),
        ("endpoints", "health", "no endpoint is called 'health'"),
        ("endpoints", "chat.completions.[cl]*", "no endpoint is called"),
    ],
)
async def test_a_pattern_that_can_match_nothing(op: Operator, name: str, pattern: str, said: str) -> None:
    answer = await op.ask("POST", "/manage/apps", {"id": "web-shop", "limits": {name: [pattern]}})
    assert answer.error[:3] == (400, "invalid_value", f"limits.{name}[0]")
    assert said in answer.error[3]


async def test_money_is_exact_however_it_is_written(op: Operator) -> None:
    await op.make()
    for written, nano_usd in [
        (b"0.1", 100_000_000),
        (b"8999999.123456789", 8_999_999_123_456_789),
        (b'"8999999.123456789"', 8_999_999_123_456_789),
        (b"1e3", 10**12),
        (b"1E-9", 1),
        (b"0", 0),
    ]:
        await op.ask("PATCH", _SHOP_URL, b'{"limits": {"budget_day_usd": ' + written + b"}}", if_match="*")
        assert (await _record(op)).limits.day_nano_usd == nano_usd
    for written in (b"1e999999999", b"1e-999999999"):
        answer = await op.ask("PATCH", _SHOP_URL, b'{"limits": {"budget_day_usd": ' + written + b"}}", if_match="*")
        assert answer.error[:2] == (400, "invalid_value")


async def test_apps_are_listed_page_by_page(op: Operator) -> None:
    for name in ("b", "d", "a", "c"):
        await op.make(name)
    first = (await op.ask("GET", "/manage/apps?limit=3")).json
    assert ([app["id"] for app in first["data"]], first["last_id"], first["has_more"]) == (["a", "b", "c"], "c", True)
    second = (await op.ask("GET", "/manage/apps?limit=3&after=c")).json
    assert ([app["id"] for app in second["data"]], second["has_more"]) == (["d"], False)
    assert (await op.ask("GET", "/manage/apps?after=d")).json["last_id"] is None
    for limit in ("0", "1001", "x", "-1", "\u0663"):
        assert (await op.ask("GET", f"/manage/apps?limit={limit}")).error[:3] == (400, "invalid_value", "limit")


@pytest.mark.parametrize("name", ["nope", "Web Shop", "..", "a%2Fb", "%00", "x" * 300])
async def test_an_app_that_is_not_there(op: Operator, name: str) -> None:
    for method, url in [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("GET", "/usage"),
    ]:
        answer = await op.ask(method, f"/manage/apps/{name}{url}", if_match="*")
        assert answer.error[:3] == (404, "not_found", "app")


async def test_a_change_says_of_which_version(op: Operator) -> None:
    await op.make()
    for if_match, expected in [
        ("", (428, "version_required")),
        ('"2"', (412, "version_conflict")),
        ("latest", (400, "invalid_value")),
        ('"1", "2"', (400, "invalid_value")),
    ]:
        assert (await op.ask("PATCH", _SHOP_URL, {"enabled": False}, if_match=if_match)).error[:2] == expected
    assert (await op.ask("DELETE", _SHOP_URL, if_match='"2"')).error[:2] == (412, "version_conflict")
    assert (await _record(op)).version == 1
    for number, if_match in enumerate(['"1"', 'W/"2"', "3", "*"], 1):
        assert (await op.ask("PATCH", _SHOP_URL, {}, if_match=if_match)).json["version"] == number + 1


async def test_of_two_operators_one_changes_and_one_is_told(op: Operator) -> None:
    await op.make()
    for version in range(1, 6):
        answers = await asyncio.gather(
            *(
                op.ask("PATCH", _SHOP_URL, {"limits": {"requests_per_minute": n}}, if_match=f'"{version}"')
                for n in range(1, 11)
            )
        )
        assert sorted(answer.status for answer in answers) == [200] + [412] * 9
        [won] = [n for n, answer in enumerate(answers, 1) if answer.status == 200]
        record = await _record(op)
        assert (record.version, record.limits.requests_per_minute) == (version + 1, won)


async def test_blind_changes_lose_nothing(op: Operator) -> None:
    await op.make()
    names = ("requests_per_minute", "tokens_per_minute", "max_output_tokens", "budget_day_usd", "budget_month_usd")
    answers = await asyncio.gather(*(op.ask("PATCH", _SHOP_URL, {"limits": {name: 7}}, if_match="*") for name in names))
    assert {answer.status for answer in answers} <= {200, 409, 412}
    made = [name for name, answer in zip(names, answers, strict=True) if answer.status == 200]
    limits = (await op.ask("GET", _SHOP_URL)).json["limits"]
    assert [name for name in names if limits[name] is not None] == made
    assert made


async def test_a_change_that_died_is_in_nobody_s_way_for_long(op: Operator) -> None:
    await op.make()
    dead = Admin(op.store, clock=op.clock).app_turn("web-shop", expected=1)
    await dead.__aenter__()
    assert (await op.ask("PATCH", _SHOP_URL, {}, if_match="*")).error[:2] == (409, "state_conflict")
    assert (await op.ask("PATCH", _SHOP_URL, {}, if_match='"1"')).error[:2] == (412, "version_conflict")
    op.clock.now += 61
    assert (await op.ask("PATCH", _SHOP_URL, {}, if_match='"1"')).status == 200


async def test_a_change_that_comes_too_late_is_not_made(op: Operator) -> None:
    await op.make()

    async def dawdle() -> None:
        async with Admin(op.store, clock=op.clock).app_turn("web-shop", expected=1) as turn:
            op.clock.now += 61
            assert (await op.ask("PATCH", _SHOP_URL, {"enabled": False}, if_match='"1"')).status == 200
            await turn.write({"enabled": True})

    with pytest.raises(StateConflict, match="took too long"):
        await dawdle()
    assert not (await _record(op)).enabled
    assert (await op.ask("PATCH", _SHOP_URL, {"enabled": True}, if_match='"2"')).status == 200


async def test_shards_change_only_when_nobody_counts(op: Operator) -> None:
    await op.make(limits={"budget_total_usd": "1.00"})
    record = await _record(op)
    reservation = await op.ledger.reserve(record, "chat.completions.create", "m", tokens=9, nano_usd=600_000_000)
    await op.ledger.settle(reservation, Usage(input_tokens=9), 600_000_000)
    change = {"limits": {"shards": 2}}
    for _ in range(2):
        answer = await op.ask("PATCH", _SHOP_URL, change, if_match="*")
        assert answer.error[:3] == (409, "state_conflict", "limits.shards")
        assert "disable the app, wait 31 seconds" in answer.error[3]
        await op.ask("PATCH", _SHOP_URL, {"enabled": False}, if_match="*")
    op.clock.now += CACHE_SECONDS
    assert (await op.ask("PATCH", _SHOP_URL, change, if_match="*")).status == 409
    op.clock.now += 1
    changed = await op.ask("PATCH", _SHOP_URL, change | {"enabled": True}, if_match="*")
    assert (changed.status, changed.json["limits"]["shards"]) == (200, 2)
    spending = await op.books.spending(await _record(op))
    assert spending.total_nano_usd == 600_000_000
    shards = [await op.store.get(ledger_item.key("web-shop", number)) for number in range(3)]
    assert [shard and shard["counters"]["all"] for shard in shards] == [300_000_000, 300_000_000, None]


async def _fill(op: Operator) -> str:
    """Everything that an app can have. Returns its key."""
    key: str = (await op.make_key())["key"]
    record = await _record(op)
    await Objects(op.store, clock=op.clock).learn(
        record, [Made(kind, f"{kind}-{number}") for kind in Kind for number in range(25)], upstream="openai"
    )
    reservation = await op.ledger.reserve(record, "chat.completions.create", "m", tokens=9, nano_usd=500)
    await op.ledger.settle(reservation, Usage(input_tokens=9), 500)
    await op.ledger.reserve(record, "chat.completions.create", "m", tokens=9, nano_usd=500)
    for name in ("a", "a/000"):
        await op.store.put(Key("apps/web-shop/idempotency", name), {"parts": None})
    return key


async def _left(op: Operator) -> list[tuple[str, str]]:
    partitions = [
        "apps",
        *(f"apps/web-shop/{name}" for name in ("keys", "ledger/00", "usage", "idempotency")),
        *(f"apps/web-shop/objects/{kind}" for kind in Kind),
    ]
    return [(partition, name) for partition in partitions async for name, _ in op.store.list(partition)]


async def _works(op: Operator, key: str) -> bool:
    try:
        await Authenticator(op.store, cache_seconds=0, clock=op.clock).identify({"api-key": key})
    except NotAuthenticated:
        return False
    return True


async def test_a_deleted_app_leaves_nothing(op: Operator) -> None:
    await op.make(limits={"budget_total_usd": 5})
    key = await _fill(op)
    assert await _works(op, key)
    answer = await op.ask("DELETE", _SHOP_URL, if_match='"1"')
    assert (answer.status, answer.json) == (
        200,
        {"object": "app.deleted", "id": "web-shop", "deleted": True, "effective_within_seconds": CACHE_SECONDS},
    )
    assert await _left(op) == []
    assert not await _works(op, key)
    assert (await op.ask("GET", _SHOP_URL)).status == 404


async def test_a_name_is_free_when_nothing_of_its_first_app_can_be_at_work(op: Operator) -> None:
    await op.make(limits={"budget_total_usd": 5})
    record = await _record(op)
    await op.ask("DELETE", _SHOP_URL)
    wait = CACHE_SECONDS + 900
    answer = await op.ask("POST", "/manage/apps", {"id": "web-shop"})
    assert answer.error[:3] == (409, "app_name_reserved", "id")
    assert f"free again in {wait} seconds" in answer.error[3]
    # A process that has not noticed goes on for a while.
    await op.ledger.reserve(record, "chat.completions.create", "m", tokens=9, nano_usd=500)
    await Objects(op.store, clock=op.clock).learn(record, [Made(Kind.FILE, "file-1")], upstream="openai")
    op.clock.now += wait
    await op.make()
    assert await _left(op) == [("apps", "web-shop")]


async def test_a_name_of_an_app_that_was_disabled_long_ago_is_free_soon(op: Operator) -> None:
    await op.make(enabled=False)
    op.clock.now += 10_000
    await op.ask("DELETE", _SHOP_URL)
    op.clock.now += 60
    await op.make()


async def test_a_deletion_that_was_broken_off_goes_on(op: Operator) -> None:
    await op.make()
    key = await _fill(op)
    async with Admin(op.store, clock=op.clock).app_turn("web-shop", expected=None) as turn:
        await turn.write({"enabled": False, "deleting": True, "disabled_at": START})
    assert not await _works(op, key)
    [listed] = (await op.ask("GET", f"{_SHOP_URL}/keys")).json["data"]
    for method, url in [
        ("PATCH", _SHOP_URL),
        ("POST", f"{_SHOP_URL}/keys"),
        ("PATCH", f"{_SHOP_URL}/keys/{listed['id']}"),
    ]:
        answer = await op.ask(method, url, {"enabled": True} if method == "PATCH" else {}, if_match="*")
        assert answer.error[:2] == (409, "state_conflict")
        assert "is being deleted" in answer.error[3]
    assert (await op.ask("GET", _SHOP_URL)).json["deleting"] is True
    assert (await op.ask("DELETE", _SHOP_URL)).status == 200
    assert await _left(op) == []


class _InterruptedStore(SqliteStore):
    """Lets something happen just before a key is written."""

    interrupt: Callable[[], Awaitable[object]] | None = None

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        interrupt = self.interrupt if key.partition.startswith("keys/") else None
        if interrupt is not None:
            self.interrupt = None
            await interrupt()
        return await super().put(key, value, if_absent=if_absent, expires_at=expires_at)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_key_that_is_written_while_its_app_is_deleted_does_not_stay(
    op: Operator, tmp_path: Path, method: str
) -> None:
    await op.make()
    key = await op.make_key()
    store = _InterruptedStore(tmp_path / "store.sqlite3", clock=op.clock)
    slow = Admin(store, clock=op.clock)
    store.interrupt = functools.partial(op.ask, "DELETE", _SHOP_URL)
    creating = functools.partial(slow.create_key, "web-shop", label="", expires_at=None)
    changing = functools.partial(slow.change_key, "web-shop", key["id"], {"label": "x"}, expected=None)
    with pytest.raises(StateConflict, match="is being deleted"):
        await (creating() if method == "POST" else changing())
    assert store.interrupt is None
    store.close()
    assert await _left(op) == []
    op.clock.now += 10_000
    await op.make()
    assert not await _works(op, key["key"])


async def test_a_lowered_budget_holds_in_all_shards(op: Operator) -> None:
    await op.ask("POST", "/manage/apps", {"id": "web-shop", "limits": {"shards": 2, "budget_total_usd": "1"}})
    ledger = Ledger(op.store, clock=op.clock, choose=lambda _: 0)
    reservation = await ledger.reserve(await _record(op), "completions.create", "m", tokens=0, nano_usd=400_000_000)
    await ledger.settle(reservation, Usage(), 400_000_000)
    changed = await op.ask("PATCH", _SHOP_URL, {"limits": {"budget_total_usd": "0.4"}}, if_match="*")
    assert changed.status == 200
    for choose in (lambda _: 0, lambda _: 1):
        with pytest.raises(QuotaExceeded):
            await Ledger(op.store, clock=op.clock, choose=choose).reserve(
                await _record(op), "completions.create", "m", tokens=0, nano_usd=1
            )
