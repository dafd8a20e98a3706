"""Who is let in: app keys against the real embedded store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core import app_keys, errors
from core.admin import Admin
from core.auth import Authenticator
from core.ports import Change, Key, Outcome, Store, StoreError, Value
from core.sqlite_store import SqliteStore
from manual_clock import ManualClock

pytestmark = pytest.mark.anyio


class CountingStore:
    """Counts what is asked of the store behind it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reads = 0

    async def get(self, key: Key) -> Value | None:
        self.reads += 1
        return await self._store.get(key)

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        return await self._store.put(key, value, if_absent=if_absent, expires_at=expires_at)

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        return await self._store.add_within(key, change, expires_at=expires_at)

    def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        return self._store.list(partition)

    async def delete(self, key: Key) -> bool:
        return await self._store.delete(key)


class UnreachableStore(CountingStore):
    async def get(self, key: Key) -> Value | None:
        raise StoreError("connection refused")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000)


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[CountingStore]:
    sqlite = SqliteStore(tmp_path / "store.sqlite3", clock=clock)
    yield CountingStore(sqlite)
    sqlite.close()


@pytest.fixture
def admin(store: CountingStore, clock: ManualClock) -> Admin:
    return Admin(store, clock=clock)


@pytest.fixture
def auth(store: CountingStore, clock: ManualClock) -> Authenticator:
    return Authenticator(store, cache_seconds=30, clock=clock)


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_key_names_its_app(admin: Admin, auth: Authenticator) -> None:
    first, second = await admin.new_key("web-shop"), await admin.new_key("intranet")
    assert (await auth.identify(_bearer(first))).id == "web-shop"
    assert (await auth.identify(_bearer(second))).id == "intranet"


@pytest.mark.parametrize(
    "header",
    [
        ("authorization", "Bearer {}"),
        ("authorization", "bearer {}"),
        ("authorization", "BEARER   {} "),
        ("api-key", "{}"),
        ("x-api-key", "{}"),
    ],
)
async def test_the_places_where_a_key_may_stand(header: tuple[str, str], admin: Admin, auth: Authenticator) -> None:
    key = await admin.new_key("web-shop")
    assert (await auth.identify({header[0]: header[1].format(key)})).id == "web-shop"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer  "},
        {"authorization": "Basic eDp5"},
    ],
)
async def test_no_key(headers: dict[str, str], auth: Authenticator) -> None:
    with pytest.raises(errors.NotAuthenticated) as caught:
        await auth.identify(headers)
    assert caught.value.code == "missing_api_key"


@pytest.mark.parametrize("key", ["sk-proj-1234", "tfl_short", "tfl_é", "\xff\xfe", "\udc80", "x" * 100_000])
async def test_a_malformed_key_costs_no_read(key: str, auth: Authenticator, store: CountingStore) -> None:
    with pytest.raises(errors.NotAuthenticated) as caught:
        await auth.identify(_bearer(key))
    assert key not in caught.value.message
    assert caught.value.code == "invalid_api_key"
    assert store.reads == 0


async def test_an_unknown_key(auth: Authenticator) -> None:
    with pytest.raises(errors.NotAuthenticated):
        await auth.identify(_bearer(app_keys.generate()))


async def test_a_key_expires_even_where_it_is_cached(admin: Admin, auth: Authenticator, clock: ManualClock) -> None:
    key = await admin.new_key("web-shop", lifetime_seconds=10)
    clock.now += 9
    await auth.identify(_bearer(key))
    clock.now += 1
    with pytest.raises(errors.NotAuthenticated, match="expired"):
        await auth.identify(_bearer(key))


async def test_the_record_is_read_once_in_its_time(
    admin: Admin, auth: Authenticator, store: CountingStore, clock: ManualClock
) -> None:
    key = await admin.new_key("web-shop")
    store.reads = 0
    for _ in range(3):
        await auth.identify(_bearer(key))
    assert store.reads == 2
    clock.now += 30
    await auth.identify(_bearer(key))
    assert store.reads == 4


async def test_a_disabled_key_stops_within_the_stated_time(
    admin: Admin, auth: Authenticator, clock: ManualClock
) -> None:
    key, other = await admin.new_key("web-shop"), await admin.new_key("web-shop")
    await auth.identify(_bearer(key))
    (listed,) = [entry async for entry in admin.keys("web-shop") if key.endswith(entry.record.hint)]
    await admin.set_key_enabled(listed.id, enabled=False)
    clock.now += 30
    with pytest.raises(errors.NotAuthenticated, match="disabled"):
        await auth.identify(_bearer(key))
    await auth.identify(_bearer(other))


async def test_a_disabled_app_takes_all_its_keys_with_it(admin: Admin, auth: Authenticator) -> None:
    keys = [await admin.new_key("web-shop"), await admin.new_key("web-shop")]
    await admin.set_app_enabled("web-shop", enabled=False)
    for key in keys:
        with pytest.raises(errors.NotAuthenticated, match="disabled"):
            await auth.identify(_bearer(key))


async def test_a_deleted_key(admin: Admin, auth: Authenticator) -> None:
    key = await admin.new_key("web-shop")
    (listed,) = [entry async for entry in admin.keys("web-shop")]
    await admin.delete_key(listed.id)
    with pytest.raises(errors.NotAuthenticated, match="Incorrect"):
        await auth.identify(_bearer(key))
    assert [entry async for entry in admin.keys("web-shop")] == []


def _all_bytes_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_the_store_holds_no_key(admin: Admin, tmp_path: Path) -> None:
    key = await admin.new_key("web-shop")
    stored = _all_bytes_in(tmp_path)
    assert app_keys.digest(key).encode() in stored
    assert key.encode() not in stored
    assert key[:-4].encode() not in stored


async def test_a_store_that_cannot_be_reached_lets_nobody_in(clock: ManualClock, store: CountingStore) -> None:
    auth = Authenticator(UnreachableStore(store), cache_seconds=30, clock=clock)
    with pytest.raises(StoreError):
        await auth.identify(_bearer(app_keys.generate()))
