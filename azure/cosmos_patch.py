"""How a change of counters is said in Cosmos DB's language. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.ports import Change, Value
from cosmos_item import escape

_MOST_OPERATIONS = 10
"""In one PATCH (https://learn.microsoft.com/azure/cosmos-db/partial-document-update-faq)."""


def patch(change: Change, now: int) -> dict[str, Any] | None:
    """The body of the one PATCH that makes `change` where it may be made; None where it has too many parts for one.

    Cosmos DB also refuses what may be made if `is_refused_anyway` says so.
    """
    operations = list(_operations(change))
    if not 0 < len(operations) <= _MOST_OPERATIONS:
        return None
    return {"condition": f"from c where {' AND '.join(_conditions(change, now))}", "operations": operations}


def is_refused_anyway(change: Change, value: Value) -> bool:
    """Whether the PATCH does not fit `value` for other reasons than those of a store: a ceiling is checked on a counter
    that is there, and a mark left where there is none of its id, so that a PATCH sent twice is not carried out twice.
    """
    is_marked = change.mark is not None and change.mark[0] != change.unmark and change.mark[0] in value["marks"]
    return is_marked or not change.ceilings.keys() <= value["counters"].keys()


def _operations(change: Change) -> Iterator[dict[str, Any]]:
    for name, amount in change.amounts.items():
        yield {"op": "incr", "path": f"/counters/{escape(name)}", "value": amount}
    if change.unmark is not None:
        yield {"op": "remove", "path": f"/marks/{escape(change.unmark)}"}
    if change.mark is not None:
        yield {"op": "set", "path": f"/marks/{escape(change.mark[0])}", "value": change.mark[1]}


def _conditions(change: Change, now: int) -> Iterator[str]:
    """What must be true. It holds numbers and escaped names only, which need no quoting, and no parentheses, which the
    emulator takes long to read.
    """
    yield f"c.expires_at > {now}"
    for name, ceiling in change.ceilings.items():
        yield f'c["counters"]["{escape(name)}"] <= {ceiling - change.amounts.get(name, 0)}'
    if change.unmark is not None:
        yield f'IS_DEFINED(c["marks"]["{escape(change.unmark)}"])'
    if change.mark is not None and change.mark[0] != change.unmark:
        yield f'NOT IS_DEFINED(c["marks"]["{escape(change.mark[0])}"])'
