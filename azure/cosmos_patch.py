"""How a change of counters is said in Cosmos DB's language. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from core.ports import Change, Value
from cosmos_item import escape

_MOST_OPERATIONS = 10
"""In one PATCH (https://learn.microsoft.com/azure/cosmos-db/partial-document-update-faq)."""


def patch(change: Change, now: int, seen: Value | None = None) -> dict[str, Any] | None:
    """The body of the one PATCH that makes `change` where it may be made; None where no PATCH can.

    It cannot where it has too many parts, none at all, or leaves a mark that is there already: marks are left where
    there is none of their id, so that a PATCH sent twice is not carried out twice.

    Args:
        seen: the item as it was a moment ago; None for one in which every counter is that the change bounds or drops.
            Where the item has other ones of these counters, Cosmos DB refuses the PATCH, though the change may be made:
            there is no condition on a counter that may be there or not, and taking away what is not there is an error.
    """
    if seen is not None and _left(change) in seen["marks"]:
        return None
    minded = {*change.ceilings, *change.drop}
    absent = minded - seen["counters"].keys() if seen is not None else set()
    operations = list(_operations(change, absent))
    if not 0 < len(operations) <= _MOST_OPERATIONS:
        return None
    return {"condition": f"from c where {' AND '.join(_conditions(change, now, absent))}", "operations": operations}


def _left(change: Change) -> str | None:
    """The id of the mark that must not be there."""
    return change.mark[0] if change.mark is not None and change.mark[0] != change.unmark else None


def _operations(change: Change, absent: Set[str]) -> Iterator[dict[str, Any]]:
    for name, amount in change.amounts.items():
        yield {"op": "incr", "path": f"/counters/{escape(name)}", "value": amount}
    for name in change.drop:
        if name not in absent:
            yield {"op": "remove", "path": f"/counters/{escape(name)}"}
    if change.unmark is not None:
        yield {"op": "remove", "path": f"/marks/{escape(change.unmark)}"}
    if change.mark is not None:
        yield {"op": "set", "path": f"/marks/{escape(change.mark[0])}", "value": change.mark[1]}


def _conditions(change: Change, now: int, absent: Set[str]) -> Iterator[str]:
    """What must be true. It holds numbers and escaped names only, which need no quoting, and no parentheses, which the
    emulator takes long to read.
    """
    yield f"c.expires_at > {now}"
    for name in sorted(absent):
        yield f'NOT IS_DEFINED(c["counters"]["{escape(name)}"])'
    for name, ceiling in change.ceilings.items():
        if name not in absent:
            yield f'c["counters"]["{escape(name)}"] <= {ceiling - change.amounts.get(name, 0)}'
    for name in change.drop:
        if name not in absent and name not in change.ceilings:
            yield f'IS_DEFINED(c["counters"]["{escape(name)}"])'
    if change.unmark is not None:
        yield f'IS_DEFINED(c["marks"]["{escape(change.unmark)}"])'
    if (left := _left(change)) is not None:
        yield f'NOT IS_DEFINED(c["marks"]["{escape(left)}"])'
