"""What any `Store` must do, as checks that every implementation's tests run."""

from __future__ import annotations

import asyncio

from core.ports import Change, Key, Outcome, Store
from manual_clock import ManualClock

_KEY = Key("apps/a/things", "one")

_ODD_NAMES = [
    "u/20417/chat.completions.create/meta-llama%2FLlama/input",
    "m/29384738/requests",
    "A",
    "a",
    ".",
    "..",
    "~0~1/",
    "%",
    "50%",
    "it's",
    '"] OR 1=1',
    "`a`.`b`",
    "\\",
    "#n0",
    ":v0",
    "__x__",
    "=",
    "select",
    "_61",
    "größe 漢字 🍀",
    " ",
    "counters",
    "x" * 300,
]
_MOST_DROPPED = 50
"""In one change: see `Change.drop`."""
_TURNS = 8
"""How often the race to carry a counter over must have been won."""
_MOST_ADDED = 30


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
    await _drops_counters(store)
    await _drops_nothing_with_a_refused_change(store)
    await _bears_long_items_with_names_of_all_kinds(store)
    await _loses_nothing_that_is_carried_over(store)


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


async def _drops_counters(store: Store) -> None:
    key = Key("apps/a/counters", "dropped")
    assert await store.add_within(key, Change({}, drop={"x"})) == Outcome(True, {})
    assert await store.get(key) == {"counters": {}, "marks": {}}
    await store.add_within(key, Change({"x": 5, "y": 5, "z": -1, "money": 5}, mark=("m", {})))
    assert await store.add_within(key, Change({"money": 1}, drop={"x", "absent"})) == Outcome(
        True, {"y": 5, "z": -1, "money": 6}
    )
    assert await store.add_within(key, Change({}, drop={"x", "absent"})) == Outcome(True, {"y": 5, "z": -1, "money": 6})
    settle = Change({"money": -6}, {"y": 5, "absent": 0}, ("n", {"of": 1}), "m", {"y", "z", "absent"})
    assert await store.add_within(key, settle) == Outcome(True, {"money": 0})
    assert await store.get(key) == {"counters": {"money": 0}, "marks": {"n": {"of": 1}}}
    assert await store.add_within(key, Change({"x": 1, "y": 0}, {"x": 1}, drop={"money"})) == Outcome(
        True, {"x": 1, "y": 0}
    )


async def _drops_nothing_with_a_refused_change(store: Store) -> None:
    key, counters = Key("apps/a/counters", "kept"), {"x": 5, "money": 10}
    await store.add_within(key, Change(counters, mark=("m", {})))
    for change, over in [
        (Change({}, {"x": 4}, drop={"x"}), "x"),
        (Change({}, {"absent": -1}, drop={"x", "absent"}), "absent"),
        (Change({"money": 1}, {"money": 10}, drop={"x"}), "money"),
        (Change({"money": -10}, {"x": 4}, ("n", {}), "m", {"x", "absent"}), "x"),
        (Change({"money": -10}, unmark="never", drop={"x"}), None),
    ]:
        assert await store.add_within(key, change) == Outcome(False, counters, over)
    assert await store.get(key) == {"counters": counters, "marks": {"m": {}}}
    never = Change({}, unmark="never", drop={"x"})
    assert await store.add_within(Key("apps/a/counters", "nothing"), never) == Outcome(False, {})
    assert await store.get(Key("apps/a/counters", "nothing")) is None


async def _bears_long_items_with_names_of_all_kinds(store: Store) -> None:
    key = Key("apps/a/counters", "long")
    old = {f"u/{20_000 + n // 60}/chat.completions.create/meta-llama%2FLlama-{n % 60}/output": n for n in range(600)}
    marks = {f"req_{n:032}": {"at": 1_800_000_000, "endpoint": "chat.completions.create", "of": n} for n in range(50)}
    await store.put(key, {"counters": old, "marks": marks})
    counters = dict(old)
    for number, name in enumerate(_ODD_NAMES, start=1):
        counters[name] = number
        change = Change({name: number}, {name: number}, mark=(name, {"of": name}))
        assert await store.add_within(key, change) == Outcome(True, counters)
    dropped = [*_ODD_NAMES, *sorted(old)][:_MOST_DROPPED]
    seen = {name: counters[name] for name in dropped}
    settle = Change(dict.fromkeys(sorted(old)[-9:], 1), seen, ("new", {}), _ODD_NAMES[0], frozenset(dropped))
    counters |= {name: counters[name] + 1 for name in settle.amounts}
    counters = {name: count for name, count in counters.items() if name not in seen}
    assert await store.add_within(key, settle) == Outcome(True, counters)
    marks |= {name: {"of": name} for name in _ODD_NAMES[1:]}
    assert await store.get(key) == {"counters": counters, "marks": {**marks, "new": {}}}


async def _loses_nothing_that_is_carried_over(store: Store) -> None:
    """Adders race with carriers, each of which sees what a counter holds, adds that to the total and drops the counter.

    A ceiling alone tells a carrier that nothing was added since, but not that another one has carried it over and that
    it was added to again. So the carriers count what they do, and each bounds that count as well.
    """
    key, enough = Key("apps/a/counters", "carried"), asyncio.Event()

    async def add(amount: int) -> int:
        added = 0
        while not enough.is_set() and added < _MOST_ADDED:
            assert (await store.add_within(key, Change({"x": amount}))).done
            added += 1
            for _ in range(added):  # ever longer moments for the carriers
                await store.get(key)
        return amount * added

    async def carry() -> int:
        turns = 0
        while not enough.is_set():
            counters = (await store.add_within(key, Change({}))).counters
            while "x" in counters:
                seen, before = counters["x"], counters.get("turns", 0)
                move = Change({"total": seen, "turns": 1}, {"x": seen, "turns": before + 1}, drop={"x"})
                outcome = await store.add_within(key, move)
                counters, turns = outcome.counters, turns + outcome.done
            if counters.get("turns", 0) >= _TURNS:
                enough.set()
        return turns

    carriers = [asyncio.create_task(carry()) for _ in range(2)]
    added = await asyncio.gather(*(add(amount) for amount in (3, 5, 7)))
    enough.set()
    turns = sum(await asyncio.gather(*carriers))
    value = await store.get(key)
    assert value is not None
    assert value["counters"]["turns"] == turns >= _TURNS
    assert value["counters"]["total"] + value["counters"].get("x", 0) == sum(added)
