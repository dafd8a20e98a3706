"""What a change makes of counters: the rule of every store, for those that must work it out themselves. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from core.ports import Change, Outcome, Value


def apply(value: Value | None, change: Change) -> tuple[Value, Outcome]:
    """The item's value after `change` to `value`, which is None where there is none, and what is to be answered."""
    counters: Mapping[str, int] = value["counters"] if value else {}
    marks: Mapping[str, Value] = value["marks"] if value else {}
    before = {"counters": counters, "marks": marks}
    if change.unmark is not None and change.unmark not in marks:
        return before, Outcome(False, counters)
    after = dict(counters)
    for name, amount in change.amounts.items():
        after[name] = after.get(name, 0) + amount
    for name, ceiling in change.ceilings.items():
        if after.get(name, 0) > ceiling:
            return before, Outcome(False, counters, over=name)
    for name in change.drop:
        after.pop(name, None)
    kept = {name: said for name, said in marks.items() if name != change.unmark}
    if change.mark is not None:
        kept[change.mark[0]] = change.mark[1]
    return {"counters": after, "marks": kept}, Outcome(True, after)
