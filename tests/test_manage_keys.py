"""Keys through the admin API: a key's life, and who may still use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.app_keys import is_well_formed
from core.auth import Authenticator
from core.errors import NotAuthenticated
from manage_client import CACHE_SECONDS, START, Operator, operator

pytestmark = pytest.mark.anyio

_KEYS = "/manage/apps/web-shop/keys"


@pytest.fixture
async def op(tmp_path: Path) -> AsyncIterator[Operator]:
    async with operator(tmp_path) as one:
        await one.make()
        yield one


async def _works(op: Operator, key: str) -> bool:
    try:
        app = await Authenticator(op.store, cache_seconds=0, clock=op.clock).identify({"api-key": key})
    except NotAuthenticated:
        return False
    return app.id == "web-shop"


async def _listed(op: Operator) -> list[Any]:
    data: list[Any] = (await op.ask("GET", _KEYS)).json["data"]
    return data


async def test_a_key_s_life(op: Operator) -> None:
    made = await op.make_key(label="CI")
    secret = made.pop("key")
    assert is_well_formed(secret)
    assert made == {
        "object": "key",
        "id": made["id"],
        "app": "web-shop",
        "version": 1,
        "label": "CI",
        "hint": secret[-4:],
        "enabled": True,
        "expired": False,
        "created_at": START,
        "expires_at": None,
    }
    assert await _listed(op) == [made]
    assert await _works(op, secret)

    url = f"{_KEYS}/{made['id']}"
    off = await op.ask("PATCH", url, {"enabled": False}, if_match='"1"')
    assert off.json == made | {"enabled": False, "version": 2, "effective_within_seconds": CACHE_SECONDS}
    assert off.headers["etag"] == '"2"'
    assert not await _works(op, secret)
    await op.ask("PATCH", url, {"enabled": True, "label": "CI, again"}, if_match='"2"')
    assert await _works(op, secret)
    assert (await _listed(op))[0]["label"] == "CI, again"

    gone = await op.ask("DELETE", url)
    assert gone.json == {
        "object": "key.deleted",
        "id": made["id"],
        "deleted": True,
        "effective_within_seconds": CACHE_SECONDS,
    }
    assert not await _works(op, secret)
    assert await _listed(op) == []
    assert (await op.ask("DELETE", url)).error[:3] == (404, "not_found", "key")


async def test_a_key_ends(op: Operator) -> None:
    ends: list[dict[str, Any]] = [{"expires_at": START + 100}, {"lifetime_seconds": 100}]
    for fields in ends:
        key = await op.make_key(**fields)
        assert key["expires_at"] == START + 100
    assert await _works(op, key["key"])
    op.clock.now += 100
    assert not await _works(op, key["key"])
    assert [one["expired"] for one in await _listed(op)] == [True, True]


async def test_an_end_is_changed_and_taken_away(op: Operator) -> None:
    key = await op.make_key(lifetime_seconds=100)
    url = f"{_KEYS}/{key['id']}"
    assert (await op.ask("PATCH", url, {"lifetime_seconds": 50}, if_match="*")).json["expires_at"] == START + 50
    assert (await op.ask("PATCH", url, {"label": "x"}, if_match="*")).json["expires_at"] == START + 50
    assert (await op.ask("PATCH", url, {"expires_at": None}, if_match="*")).json["expires_at"] is None


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"expires_at": START}, "invalid_value", "expires_at"),
        ({"expires_at": 10**12}, "invalid_value", "expires_at"),
        ({"expires_at": START + 5, "lifetime_seconds": 5}, "invalid_value", "expires_at"),
        ({"expires_at": "2027-01-01"}, "invalid_type", "expires_at"),
        ({"lifetime_seconds": 0}, "invalid_value", "lifetime_seconds"),
        ({"lifetime_seconds": 10**9}, "invalid_value", "lifetime_seconds"),
        ({"label": "x" * 101}, "invalid_value", "label"),
        ({"label": "two\nlines"}, "invalid_value", "label"),
        ({"key": "tfl_of_my_own"}, "unknown_parameter", "key"),
    ],
)
async def test_a_mistake_in_a_new_key(op: Operator, fields: dict[str, Any], code: str, param: str) -> None:
    assert (await op.ask("POST", _KEYS, fields)).error[:3] == (400, code, param)
    assert await _listed(op) == []


async def test_a_rotated_key_works_beside_the_new_one_for_a_day(op: Operator) -> None:
    old = await op.make_key(label="CI")
    answer = await op.ask("POST", f"{_KEYS}/{old['id']}/rotate")
    assert answer.status == 201
    new = answer.json
    assert (new["label"], new["expires_at"]) == ("CI", None)
    assert new["replaces"]["id"] == old["id"]
    assert new["replaces"]["expires_at"] == START + 86_400
    op.clock.now += 86_399
    assert await _works(op, old["key"])
    op.clock.now += 1
    assert not await _works(op, old["key"])
    assert await _works(op, new["key"])


async def test_a_new_key_lasts_as_long_as_the_one_it_replaces(op: Operator) -> None:
    old = await op.make_key(lifetime_seconds=1000)
    op.clock.now += 400
    url = f"{_KEYS}/{old['id']}/rotate"
    new = (await op.ask("POST", url, {"overlap_seconds": 3600})).json
    assert new["expires_at"] == START + 1400
    assert new["replaces"]["expires_at"] == START + 1000  # an overlap prolongs nothing
    other = (await op.ask("POST", url, {"overlap_seconds": 0, "lifetime_seconds": 50})).json
    assert other["expires_at"] == START + 450
    assert not await _works(op, old["key"])
    assert (await op.ask("POST", url)).error[:3] == (409, "state_conflict", "key")


async def test_a_disabled_key_is_not_rotated(op: Operator) -> None:
    key = await op.make_key()
    await op.ask("PATCH", f"{_KEYS}/{key['id']}", {"enabled": False}, if_match="*")
    assert (await op.ask("POST", f"{_KEYS}/{key['id']}/rotate")).error[:3] == (409, "state_conflict", "key")
    assert len(await _listed(op)) == 1


async def test_a_key_is_rotated_once_in_a_race(op: Operator) -> None:
    key = await op.make_key()
    answers = await asyncio.gather(*(op.ask("POST", f"{_KEYS}/{key['id']}/rotate") for _ in range(6)))
    won = [answer for answer in answers if answer.status == 201]
    assert {answer.status for answer in answers} <= {201, 409, 412}
    assert len(await _listed(op)) == 1 + len(won)
    assert won


async def test_of_two_operators_one_changes_a_key(op: Operator) -> None:
    key = await op.make_key()
    answers = await asyncio.gather(
        *(op.ask("PATCH", f"{_KEYS}/{key['id']}", {"label": f"{n}"}, if_match='"1"') for n in range(8))
    )
    assert sorted(answer.status for answer in answers) == [200] + [412] * 7
    [won] = [n for n, answer in enumerate(answers) if answer.status == 200]
    assert (await _listed(op))[0]["label"] == f"{won}"
    assert (await op.ask("PATCH", f"{_KEYS}/{key['id']}", {})).error[:2] == (428, "version_required")
    assert (await op.ask("DELETE", f"{_KEYS}/{key['id']}", if_match='"1"')).error[:2] == (412, "version_conflict")


async def test_a_deleted_key_is_not_brought_back_by_a_change(op: Operator) -> None:
    for _ in range(5):
        key = await op.make_key()
        url = f"{_KEYS}/{key['id']}"
        deletion, *_ = await asyncio.gather(
            op.ask("DELETE", url), *(op.ask("PATCH", url, {"label": f"{n}"}, if_match="*") for n in range(5))
        )
        assert deletion.status in (200, 409, 412)
        if deletion.status == 200:
            assert not await _works(op, key["key"])
            assert key["id"] not in [one["id"] for one in await _listed(op)]


async def test_keys_are_listed_page_by_page_and_by_app(op: Operator) -> None:
    await op.make("other")
    await op.make_key("other")
    ids = sorted([(await op.make_key())["id"] for _ in range(5)])
    first = (await op.ask("GET", f"{_KEYS}?limit=3")).json
    second = (await op.ask("GET", f"{_KEYS}?limit=3&after={first['last_id']}")).json
    assert [one["id"] for one in first["data"] + second["data"]] == ids
    assert (first["has_more"], second["has_more"]) == (True, False)


async def test_another_app_s_key_is_not_there(op: Operator) -> None:
    await op.make("other")
    key = await op.make_key("other")
    for method, url in [("PATCH", key["id"]), ("DELETE", key["id"]), ("POST", f"{key['id']}/rotate"), ("DELETE", "x")]:
        assert (await op.ask(method, f"{_KEYS}/{url}", if_match="*")).error[:3] == (404, "not_found", "key")
