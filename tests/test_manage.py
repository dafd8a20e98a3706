"""The admin API's door: who may come in, what it refuses, and what it never tells."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import manage_service
from core import endpoints, errors
from core.auth import Authenticator
from core.http import Request
from core.settings import Settings
from manage_client import ADMIN_KEY, Operator, operator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def op(tmp_path: Path) -> AsyncIterator[Operator]:
    async with operator(tmp_path) as one:
        yield one


async def test_without_an_admin_key_it_is_a_path_like_any_unknown_one(tmp_path: Path) -> None:
    async with operator(tmp_path, admin_key=None) as op:
        for authorization in (f"Bearer {ADMIN_KEY}", "Bearer ", ""):
            answer = await op.ask("GET", "/manage/apps", authorization=authorization)
            with pytest.raises(errors.UnknownEndpoint) as unknown:
                endpoints.find("GET", "/manage/apps")
            assert answer.error == (404, "unknown_url", None, unknown.value.message)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", "missing_api_key"),
        ("Bearer", "missing_api_key"),
        ("Bearer  ", "missing_api_key"),
        (f"Basic {ADMIN_KEY}", "missing_api_key"),
        ("Bearer wrong", "invalid_admin_key"),
        (f"Bearer {ADMIN_KEY}x", "invalid_admin_key"),
        (f"Bearer {ADMIN_KEY[:-1]}", "invalid_admin_key"),
        ("Bearer \udcff\u00e9", "invalid_admin_key"),
    ],
)
async def test_a_wrong_key(op: Operator, authorization: str, code: str) -> None:
    for path in ("/manage/apps", "/manage/nothing"):
        answer = await op.ask("GET", path, authorization=authorization)
        assert answer.error[:2] == (401, code)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert ADMIN_KEY not in answer.text


async def test_an_app_key_is_no_admin_key_and_the_other_way_round(op: Operator) -> None:
    await op.make()
    key = (await op.make_key())["key"]
    assert (await op.ask("GET", "/manage/apps", authorization=f"Bearer {key}")).status == 401
    with pytest.raises(errors.NotAuthenticated):
        await Authenticator(op.store, cache_seconds=0).identify({"authorization": f"Bearer {ADMIN_KEY}"})


@pytest.mark.parametrize(
    "path", ["/manage", "/manage/", "/manage/apps/", "/manage//", "/manage/apps//keys", "/manage/apps/a/keys/b/c/d"]
)
async def test_an_unknown_path(op: Operator, path: str) -> None:
    assert (await op.ask("GET", path)).error[:2] == (404, "unknown_url")


async def test_a_method_that_is_not_there(op: Operator) -> None:
    answer = await op.ask("PUT", "/manage/apps/web-shop")
    assert answer.error[:2] == (405, "method_not_supported")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b'{"id": NaN}', "invalid_json"),
        (b'{"id": "a", "id": "b"}', "invalid_json"),
        (b'{"id": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "invalid_json"),
        (b'{"id": ' + b"1" * 5000 + b"}", "invalid_json"),
        (b"[]", "invalid_type"),
        (b"null", "invalid_type"),
        (b"", "missing_required_parameter"),
    ],
)
async def test_a_body_that_is_none(op: Operator, body: bytes, code: str) -> None:
    answer = await op.ask("POST", "/manage/apps", body)
    assert answer.error[:2] == (400, code)


async def test_a_body_that_is_too_large(op: Operator) -> None:
    assert (await op.ask("POST", "/manage/apps", b" " * 70_000)).error[:2] == (413, "request_too_large")


@pytest.mark.parametrize("url", ["/manage/apps?x=1", "/manage/apps?limit=1&limit=2", "/manage/apps/web-shop?limit=1"])
async def test_an_unknown_or_repeated_parameter(op: Operator, url: str) -> None:
    await op.make()
    assert (await op.ask("GET", url)).status == 400


async def test_answers_are_not_for_caches(op: Operator) -> None:
    assert (await op.make()).headers["cache-control"] == "no-store"


async def test_a_key_is_told_once_and_stands_in_no_log(op: Operator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = await op.make()
    key = await op.make_key(label="CI")
    others = [
        made,
        await op.ask("GET", "/manage/apps"),
        await op.ask("GET", "/manage/apps/web-shop/keys"),
        await op.ask("PATCH", f"/manage/apps/web-shop/keys/{key['id']}", {"enabled": False}, if_match="*"),
        await op.ask("DELETE", f"/manage/apps/web-shop/keys/{key['id']}"),
    ]
    assert [answer.status for answer in others] == [201, 200, 200, 200, 200]
    assert not any(key["key"] in answer.text for answer in others)
    assert key["key"] not in caplog.text
    assert ADMIN_KEY not in caplog.text
    stored = [value async for _, value in op.store.list("apps/web-shop/keys")]
    assert key["key"] not in json.dumps(stored)


async def test_changes_are_logged_and_reading_is_not(op: Operator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await op.make()
    await op.ask("GET", "/manage/apps")
    [line] = [json.loads(record.message) for record in caplog.records if "managed" in record.message]
    assert (line["method"], line["path"]) == ("POST", "/manage/apps")


async def test_it_gives_a_request_s_own_names_decoded(op: Operator) -> None:
    request = Request("GET", "/manage/apps/web%2Dshop", headers={"authorization": f"bearer {ADMIN_KEY}"})
    await op.make()
    assert (await op.manage.handle(request)).status == 200


def _get(url: str, key: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


async def test_through_the_gateway(tmp_path: Path) -> None:
    async with operator(tmp_path) as op:
        await op.make(limits={"budget_month_usd": 5})
        key = (await op.make_key())["key"]
        with manage_service.running(tmp_path / "store.sqlite3") as url:
            status, app = await asyncio.to_thread(_get, f"{url}/manage/apps/web-shop", ADMIN_KEY)
            assert (status, app) == (200, (await op.ask("GET", "/manage/apps/web-shop")).json)
            status, usage = await asyncio.to_thread(_get, f"{url}/v1/usage", key)
            assert (status, usage["app"], usage["budgets"]["month"]["remaining_usd"]) == (200, "web-shop", "5.00")
            for path, given, expected in [
                ("/manage/apps", key, (401, "invalid_admin_key")),
                ("/v1/usage", ADMIN_KEY, (401, "invalid_api_key")),
                ("/v1/usage?group_by=app", key, (400, "invalid_value")),
                ("/admin/apps", ADMIN_KEY, (404, "unknown_url")),
            ]:
                status, error = await asyncio.to_thread(_get, url + path, given)
                assert (status, error["code"]) == expected
            assert "/manage" in error["message"]


@pytest.mark.parametrize("key", ["x" * 31, "x" * 16 + " " + "x" * 16, "x" * 32 + "\n", "é" * 32])
def test_an_admin_key_that_is_none_stops_the_start(key: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"^TREFOIL_ADMIN_KEY: write at least 32") as caught:
        Settings.load({"OPENAI_API_KEY": "sk-none", "TREFOIL_ADMIN_KEY": key})
    assert key not in str(caught.value)


def test_an_admin_key_is_optional() -> None:
    assert Settings.load({"OPENAI_API_KEY": "sk-none", "TREFOIL_ADMIN_KEY": ""}).admin_key is None
    settings = Settings.load({"OPENAI_API_KEY": "sk-none", "TREFOIL_ADMIN_KEY": ADMIN_KEY})
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == ADMIN_KEY
    assert ADMIN_KEY not in repr(settings)


def test_the_command_line_knows_how_long_processes_remember(tmp_path: Path) -> None:
    file = tmp_path / "trefoil.toml"
    file.write_text("[apps]\ncache_seconds = 7\n")
    assert Settings.load_apps({"TREFOIL_CONFIG": str(file)}).cache_seconds == 7
    file.write_text("[apps]\ncache_seconds = -1\n")
    with pytest.raises(errors.ConfigurationError, match=r"apps\.cache_seconds"):
        Settings.load_apps({"TREFOIL_CONFIG": str(file)})
