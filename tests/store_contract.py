"""What any `Store` must do, as checks that every implementation's tests run."""

from __future__ import annotations

import asyncio

from core.ports import Change, Key, Outcome, Store
from manual_clock import ManualClock

_KEY = Key("apps/a/things", "one")


async def check_store(store: Store, clock: ManualClock) -> None:
    """Run all checks on an empty store whose time is `clock`."""
    await _keeps_what_it_is_given(store)
    await _writes_only_if_absent(store)
    await _lists_one_partition_in_order(store)
    await _forgets_what_has_expired(store, clock)
    await _gives_an_absent_place_to_one_writer(store)
    await _adds_and_says_where_it_stands(store)
    await _adds_all_or_nothing(store)
    await _makes_a_change_once(store)
    await _starts_anew_when_counters_have_expired(store, clock)
    await _passes_no_ceiling_in_a_race(store)
    await _settles_once_in_a_race(store)


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


async def _adds_and_says_where_it_stands(store: Store) -> None:
    key = Key("apps/a/counters", "adding")
    assert await store.add_within(key, Change({"tokens": 5, "money": 2**40})) == Outcome(
        True, {"tokens": 5, "money": 2**40}
    )
    assert await store.add_within(key, Change({"tokens": -2})) == Outcome(True, {"tokens": 3, "money": 2**40})
    assert await store.get(key) == {"counters": {"tokens": 3, "money": 2**40}, "marks": {}}


async def _adds_all_or_nothing(store: Store) -> None:
    key, ceilings = Key("apps/a/counters", "bounded"), {"requests": 2, "tokens": 10}
    assert await store.add_within(key, Change({"requests": 1, "tokens": 11}, ceilings)) == Outcome(False, {}, "tokens")
    assert await store.get(key) is None
    assert (await store.add_within(key, Change({"requests": 1, "tokens": 10}, ceilings))).done  # up to it, not past it
    refused = await store.add_within(key, Change({"requests": 1, "tokens": 1}, ceilings))
    assert refused == Outcome(False, {"requests": 1, "tokens": 10}, "tokens")
    assert (await store.add_within(key, Change({"requests": 1, "tokens": 0}, ceilings))).done
    refused = await store.add_within(key, Change({"requests": 1}, ceilings))
    assert refused == Outcome(False, {"requests": 2, "tokens": 10}, "requests")


async def _makes_a_change_once(store: Store) -> None:
    key = Key("apps/a/counters", "marked")
    reserve = Change({"money": 100}, {"money": 150}, mark=("req-1", {"money": 100, "at": 7}))
    assert (await store.add_within(key, reserve)).done
    assert await store.get(key) == {"counters": {"money": 100}, "marks": {"req-1": {"money": 100, "at": 7}}}
    settle = Change({"money": -60}, unmark="req-1")
    assert await store.add_within(key, settle) == Outcome(True, {"money": 40})
    assert await store.add_within(key, settle) == Outcome(False, {"money": 40})
    assert await store.get(key) == {"counters": {"money": 40}, "marks": {}}
    assert await store.add_within(Key("apps/a/counters", "never"), settle) == Outcome(False, {})


async def _starts_anew_when_counters_have_expired(store: Store, clock: ManualClock) -> None:
    key, start = Key("apps/a/counters", "window"), int(clock.now)
    await store.add_within(key, Change({"requests": 1}, mark=("m", {})), expires_at=start + 60)
    clock.now = start + 59
    assert await store.add_within(key, Change({"requests": 1}), expires_at=start + 999) == Outcome(
        True, {"requests": 2}
    )
    clock.now = start + 60
    assert await store.get(key) is None
    assert not (await store.add_within(key, Change({"requests": 1}, unmark="m"))).done
    assert await store.add_within(key, Change({"requests": 1}), expires_at=start + 120) == Outcome(
        True, {"requests": 1}
    )
    assert await store.get(key) == {"counters": {"requests": 1}, "marks": {}}


async def _passes_no_ceiling_in_a_race(store: Store) -> None:
    key = Key("apps/a/counters", "raced")
    changes = [Change({"money": 7, "requests": 1}, {"money": 300}, mark=(str(n), {"n": n})) for n in range(100)]
    outcomes = await asyncio.gather(*(store.add_within(key, change) for change in changes))
    granted = [number for number, outcome in enumerate(outcomes) if outcome.done]
    assert len(granted) == 300 // 7
    value = await store.get(key)
    assert value is not None
    assert value["counters"] == {"money": 7 * len(granted), "requests": len(granted)}
    assert value["marks"] == {str(number): {"n": number} for number in granted}


async def _settles_once_in_a_race(store: Store) -> None:
    key = Key("apps/a/counters", "settled")
    await store.add_within(key, Change({"money": 10}, mark=("one", {})))
    outcomes = await asyncio.gather(*(store.add_within(key, Change({"money": -10}, unmark="one")) for _ in range(20)))
    assert [outcome.done for outcome in outcomes].count(True) == 1
    assert await store.get(key) == {"counters": {"money": 0}, "marks": {}}
