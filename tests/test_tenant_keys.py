"""App keys and the admin key: kept as hashes alone, gone within the stated time, compared without telling anything."""

from __future__ import annotations

import asyncio
import gc
import hmac
import re
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from core import app_keys, errors
from core.admin import Admin
from core.auth import Authenticator
from core.http import Request
from core.ports import AppKey, Limits
from core.sqlite_store import SqliteStore
from local.keys import ensure_keys
from manage_client import ADMIN_KEY as OPERATORS_KEY
from manage_client import CACHE_SECONDS, START, Operator, operator
from recording_store import RecordingStore
from two_tenants import ADMIN_KEY, UPSTREAM_KEY, tenants

pytestmark = pytest.mark.anyio

_HINT = 4
_ANY_KEY = re.compile(rb"tfl_[0-9A-Za-z]{5,}")


@pytest.fixture
async def op(tmp_path: Path) -> AsyncIterator[Operator]:
    async with operator(tmp_path) as one:
        yield one


def _auth(op: Operator) -> Authenticator:
    return Authenticator(op.store, cache_seconds=CACHE_SECONDS, clock=op.clock)


async def _works(auth: Authenticator, key: str) -> bool:
    try:
        await auth.identify({"authorization": f"Bearer {key}"})
    except errors.NotAuthenticated:
        return False
    return True


def _check_at_rest(folder: Path, *keys: str) -> None:
    """No file holds more of a key than its hint."""
    files = {file: file.read_bytes() for file in folder.rglob("store.sqlite3*")}
    assert any(files.values())
    for content in files.values():
        assert _ANY_KEY.search(content) is None
        for key in keys:
            assert key[:-_HINT].encode() not in content


async def test_of_a_key_that_an_operator_makes_only_the_hash_is_kept(op: Operator, tmp_path: Path) -> None:
    await op.make()
    made = await op.make_key(label="web")
    rotated = (await op.ask("POST", f"/manage/apps/web-shop/keys/{made['id']}/rotate", {})).json
    assert rotated["key"] != made["key"]
    for shown in ((await op.ask("GET", "/manage/apps/web-shop/keys")).text, (await op.ask("GET", "/manage/apps")).text):
        assert made["key"][:-_HINT] not in shown + rotated["key"]
        assert rotated["key"][:-_HINT] not in shown
    _check_at_rest(tmp_path, made["key"], rotated["key"], OPERATORS_KEY)


async def test_of_a_local_run_s_key_only_the_hash_is_in_the_store(tmp_path: Path) -> None:
    keys = await ensure_keys(tmp_path, tmp_path / "store.sqlite3")
    _check_at_rest(tmp_path, keys.app_key, keys.admin_key)


async def test_what_requests_leave_in_the_store_holds_no_key(tmp_path: Path) -> None:
    limits = Limits(total_nano_usd=10**12)
    async with tenants(tmp_path, {"shop": limits}) as setup:
        key = setup.keys["shop"]
        for headers in ({"idempotency-key": key}, {"idempotency-key": "one", "x-api-key": key}):
            assert (await setup.chat("shop", headers)).status == 200
        _check_at_rest(tmp_path, key, UPSTREAM_KEY, ADMIN_KEY)


_ENDS: dict[str, Callable[[Operator, str], Awaitable[Any]]] = {
    "key disabled": lambda op, at: op.ask("PATCH", at, {"enabled": False}, if_match='"1"'),
    "key deleted": lambda op, at: op.ask("DELETE", at),
    "key expires": lambda op, at: op.ask("PATCH", at, {"lifetime_seconds": CACHE_SECONDS // 2}, if_match='"1"'),
    "key rotated": lambda op, at: op.ask("POST", f"{at}/rotate", {"overlap_seconds": 0}),
    "app disabled": lambda op, at: op.ask("PATCH", "/manage/apps/web-shop", {"enabled": False}, if_match='"1"'),
    "app deleted": lambda op, at: op.ask("DELETE", "/manage/apps/web-shop"),
}


@pytest.mark.parametrize("how", _ENDS)
async def test_a_key_stops_within_the_stated_seconds(op: Operator, how: str) -> None:
    await op.make()
    made = await op.make_key()
    running, idle = _auth(op), _auth(op)
    assert await _works(running, made["key"])
    answer = await _ENDS[how](op, f"/manage/apps/web-shop/keys/{made['id']}")
    assert answer.status in (200, 201), answer.text
    assert answer.json["effective_within_seconds"] == CACHE_SECONDS
    if how != "key expires":
        assert not await _works(idle, made["key"])  # a process that had not heard of it
    op.clock.now += CACHE_SECONDS
    assert not await _works(running, made["key"])
    assert not await _works(idle, made["key"])


async def test_a_rotated_key_works_during_its_overlap(op: Operator) -> None:
    await op.make()
    made = await op.make_key()
    auth = _auth(op)
    answer = await op.ask("POST", f"/manage/apps/web-shop/keys/{made['id']}/rotate", {"overlap_seconds": 3600})
    for seconds, old_works in ((0, True), (3599, True), (1, False)):
        op.clock.now += seconds
        assert (await _works(auth, made["key"]), await _works(auth, answer.json["key"])) == (old_works, True)


async def test_a_record_is_as_old_as_its_reading_began(op: Operator) -> None:
    """A store that takes its time to answer must not let a key live longer."""
    await op.make()
    made = await op.make_key()

    class Slow(RecordingStore):
        async def get(self, key: Any) -> Any:
            found = await RecordingStore.get(self, key)
            op.clock.now += 10
            return found

    auth = Authenticator(Slow(op.store), cache_seconds=CACHE_SECONDS, clock=op.clock)
    assert await _works(auth, made["key"])
    await op.ask("DELETE", f"/manage/apps/web-shop/keys/{made['id']}")
    op.clock.now = START + CACHE_SECONDS
    assert not await _works(auth, made["key"])


async def test_a_key_that_is_deleted_while_a_stream_is_open(tmp_path: Path) -> None:
    """The stream ends as it would have; the next call is refused."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def script(exchange: Any) -> None:
        arrived.set()
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await exchange.send_chunk(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
        await go_on.wait()
        await exchange.send_chunk(b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n')
        await exchange.send_chunk(b"data: [DONE]\n\n")
        await exchange.send(b"0\r\n\r\n")

    async with tenants(tmp_path, {"shop": Limits(total_nano_usd=10**12)}, script) as setup:
        stream = asyncio.create_task(setup.chat("shop", stream=True))
        await arrived.wait()
        admin = Admin(setup.store.behind)
        [listed] = [key async for key in admin.keys("shop")]
        await admin.delete_key(listed.id)
        go_on.set()
        response = await stream
        assert isinstance(response.body, bytes)
        assert response.body.endswith(b"data: [DONE]\n\n")
        assert (await setup.spending("shop")).reserved_nano_usd == 0
        fresh = Authenticator(setup.store.behind, cache_seconds=30)
        assert not await _works(fresh, setup.keys["shop"])


async def test_an_unknown_key_costs_one_read_and_no_memory(tmp_path: Path) -> None:
    """There is no memory of unknown keys: whoever floods the service makes a new one each time, for which it would be
    of no use, and a key that was just made must work at once.
    """
    behind = SqliteStore(tmp_path / "store.sqlite3")
    store = RecordingStore(behind)
    auth = Authenticator(store, cache_seconds=30)
    keys = [app_keys.generate() for _ in range(5)]
    for key in keys * 2:
        assert not await _works(auth, key)
    assert [(call.verb, call.partition) for call in store.calls] == [
        ("get", f"keys/{app_keys.digest(key)}") for key in keys * 2
    ]
    await Admin(behind).add_key("shop", keys[0])
    assert await _works(auth, keys[0])
    behind.close()


class _EmptyStore:
    """A store without a thread, so that what a lookup does can be counted."""

    def __init__(self, real: str) -> None:
        self._real = AppKey.key(app_keys.digest(real))
        self.asked: list[Any] = []

    async def get(self, key: Any) -> None:
        self.asked.append(key)
        assert key != self._real


async def _steps(work: Coroutine[Any, Any, Any]) -> int:
    """How many of the interpreter's steps it takes to refuse a key."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    gc.disable()  # what other tests have left would be finalized in between
    sys.settrace(trace)
    try:
        with pytest.raises(errors.NotAuthenticated):
            await work
    finally:
        sys.settrace(before)
        gc.enable()
    return count


def _nearly(key: str, right: int) -> str:
    """A well-formed key whose first characters are those of `key`, so many of them."""
    while True:
        stem = key[:right] + app_keys.generate()[right:36]
        made = stem + app_keys._checksum(stem)
        if made != key and made[: right + 1] != key[: right + 1]:
            return made


async def test_a_wrong_app_key_takes_as_much_work_however_much_of_it_is_right() -> None:
    real = app_keys.generate()
    store: Any = _EmptyStore(real)
    auth = Authenticator(store, cache_seconds=30)
    await _steps(auth.identify({"authorization": f"Bearer {app_keys.generate()}"}))  # what is done once is done
    wrong = [_nearly(real, right) for right in range(len(app_keys.PREFIX), 36)]
    [steps] = {await _steps(auth.identify({"authorization": f"Bearer {key}"})) for key in wrong}
    assert steps > 100
    # And the store is asked by nothing but the hash, of which nobody can guess a part.
    assert store.asked[1:] == [AppKey.key(app_keys.digest(key)) for key in wrong]


async def test_a_wrong_checksum_takes_as_much_work_however_much_of_it_is_right() -> None:
    real = app_keys.generate()
    auth = Authenticator(_NoStore(), cache_seconds=30)
    other = "".join("x" if character != "x" else "y" for character in real)
    wrong = [real[:place] + other[place] + real[place + 1 :] for place in range(36, 42)]
    [steps] = {await _steps(auth.identify({"authorization": f"Bearer {key}"})) for key in wrong}
    assert steps > 100


class _NoStore(RecordingStore):
    def __init__(self) -> None:
        pass


async def test_a_wrong_admin_key_takes_as_much_work_however_much_of_it_is_right(
    op: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return secrets.compare_digest(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)

    def ask(key: str) -> Coroutine[Any, Any, Any]:
        return op.manage.handle(Request("GET", "/manage/apps", headers={"authorization": f"Bearer {key}"}))

    await _steps(ask("~"))  # what is done once is done
    wrong = [OPERATORS_KEY[:right] + "~" * (len(OPERATORS_KEY) - right) for right in range(len(OPERATORS_KEY))]
    wrong += ["~", "~" * 1000, OPERATORS_KEY[:-1], f"{OPERATORS_KEY}~", app_keys.generate()]
    compared.clear()
    [steps] = {await _steps(ask(key)) for key in wrong}
    assert steps > 100
    assert compared == [(32, 32)] * len(wrong)  # digests, whatever was sent
