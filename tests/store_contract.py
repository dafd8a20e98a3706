"""What any `Store` must do, as checks that every implementation's tests run."""

from __future__ import annotations

import asyncio

from core.ports import Key, Store
from manual_clock import ManualClock

_KEY = Key("apps/a/things", "one")


async def check_store(store: Store, clock: ManualClock) -> None:
    """Run all checks on an empty store whose time is `clock`."""
    await _keeps_what_it_is_given(store)
    await _writes_only_if_absent(store)
    await _lists_one_partition_in_order(store)
    await _forgets_what_has_expired(store, clock)
    await _gives_an_absent_place_to_one_writer(store)


async def _keeps_what_it_is_given(store: Store) -> None:
    value = {"text": "naïve 漢字 🍀", "number": 2**53, "list": [1, None, True], "nested": {"": {}}}
    assert await store.get(_KEY) is None
    assert await store.put(_KEY, value)
    assert await store.get(_KEY) == value
    assert await store.put(_KEY, {"other": 1})
    assert await store.get(_KEY) == {"other": 1}
    assert await store.delete(_KEY)
    assert not await store.delete(_KEY)
    assert await store.get(_KEY) is None


async def _writes_only_if_absent(store: Store) -> None:
    assert await store.put(_KEY, {"by": 1}, if_absent=True)
    assert not await store.put(_KEY, {"by": 2}, if_absent=True)
    assert await store.get(_KEY) == {"by": 1}
    await store.delete(_KEY)


async def _lists_one_partition_in_order(store: Store) -> None:
    for partition, name in [("p", "b"), ("p", "a"), ("p", "c/d"), ("p2", "x"), ("p/q", "y")]:
        await store.put(Key(partition, name), {"is": name})
    assert [item async for item in store.list("p")] == [(name, {"is": name}) for name in ("a", "b", "c/d")]
    assert [item async for item in store.list("nothing")] == []


async def _forgets_what_has_expired(store: Store, clock: ManualClock) -> None:
    start = int(clock.now)
    key = Key("expiring", "one")
    await store.put(key, {"by": 1}, expires_at=start + 10)
    clock.now = start + 9
    assert await store.get(key) == {"by": 1}
    clock.now = start + 10
    assert await store.get(key) is None
    assert [item async for item in store.list("expiring")] == []
    assert await store.put(key, {"by": 2}, if_absent=True)
    assert await store.get(key) == {"by": 2}
    await store.put(key, {"by": 3}, expires_at=start + 20)
    clock.now = start + 20
    assert not await store.delete(key)


async def _gives_an_absent_place_to_one_writer(store: Store) -> None:
    key = Key("raced", "one")
    wins = await asyncio.gather(*(store.put(key, {"by": writer}, if_absent=True) for writer in range(50)))
    assert wins.count(True) == 1
    assert await store.get(key) == {"by": wins.index(True)}
