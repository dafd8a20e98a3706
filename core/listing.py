"""Lists of an app's own stored objects, made page by page from its records: upstream's lists show those of all apps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from core import errors
from core.kinds import Kind

_LONGEST_PAGE = 100
_DEFAULT_PAGE = 20
_AT_ONCE = 10
_ASCENDING_BY_DEFAULT = {Kind.CHAT_COMPLETION}
_FILTERS: Mapping[Kind, tuple[str, ...]] = {
    Kind.CHAT_COMPLETION: ("model",),
    Kind.CONTAINER: ("name",),
    Kind.FILE: ("purpose",),
}

Fetch = Callable[[str, str | None], Awaitable[bytes | None]]
"""Gives the object with an id, of an upstream, as JSON, or None where upstream has it no longer."""


class Page(NamedTuple):
    """What a list request asks for."""

    limit: int
    ascending: bool
    after: str | None = None
    before: str | None = None
    wanted: Mapping[str, str] = {}
    """Fields that an object must have."""
    metadata: Mapping[str, str] = {}

    @classmethod
    def read(cls, kind: Kind, query: str) -> Page:
        """
        Raises:
            InvalidRequest: a parameter makes no sense.
        """
        given = dict(parse_qsl(query, keep_blank_values=True))
        limit = given.get("limit", str(_DEFAULT_PAGE))
        if not (limit.isascii() and limit.isdigit()):
            raise errors.InvalidRequest("'limit' must be a whole number.", param="limit", code="invalid_value")
        order = given.get("order", "asc" if kind in _ASCENDING_BY_DEFAULT else "desc")
        if order not in ("asc", "desc"):
            raise errors.InvalidRequest("'order' must be 'asc' or 'desc'.", param="order", code="invalid_value")
        return cls(
            limit=min(int(limit), _LONGEST_PAGE),
            ascending=order == "asc",
            after=given.get("after"),
            before=given.get("before"),
            wanted={name: given[name] for name in _FILTERS.get(kind, ()) if name in given},
            metadata={
                name[len("metadata[") : -1]: value
                for name, value in given.items()
                if name.startswith("metadata[") and name.endswith("]")
            },
        )

    def select(self, ids: Iterable[str]) -> list[str]:
        """Those of `ids`, in the order of their making, that may be on the page, in the page's order.

        Raises:
            NotFound: the page is to begin or end at an id that is not among them.
        """
        ordered = list(ids)
        if not self.ascending:
            ordered.reverse()
        start = 0 if self.after is None else _index(ordered, self.after, "after") + 1
        end = len(ordered) if self.before is None else _index(ordered, self.before, "before")
        return ordered[start:end]

    def shows(self, found: Mapping[str, Any]) -> bool:
        metadata = found.get("metadata") or {}
        return all(found.get(name) == value for name, value in self.wanted.items()) and all(
            metadata.get(name) == value for name, value in self.metadata.items()
        )


async def make(page: Page, places: Mapping[str, str | None], fetch: Fetch) -> bytes:
    """The page as JSON, of the objects with these ids, in the order of their making, each with its upstream."""
    candidates, shown = page.select(places), list[Mapping[str, Any]]()
    while candidates and len(shown) <= page.limit:
        some, candidates = candidates[:_AT_ONCE], candidates[_AT_ONCE:]
        found = await asyncio.gather(*(fetch(object_id, places[object_id]) for object_id in some))
        shown += [one for one in map(json.loads, filter(None, found)) if page.shows(one)]
    data = shown[: page.limit]
    return json.dumps(
        {
            "object": "list",
            "data": data,
            "first_id": data[0].get("id") if data else None,
            "last_id": data[-1].get("id") if data else None,
            "has_more": len(shown) > page.limit,
        },
        ensure_ascii=False,
    ).encode()


def _index(ids: Sequence[str], wanted: str, param: str) -> int:
    try:
        return ids.index(wanted)
    except ValueError:
        raise errors.NotFound(f"There is no object with the id '{wanted}'.", param=param) from None
