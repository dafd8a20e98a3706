"""Where stored objects lie, by id and in the order they came, and the pages in which they are listed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

from local.offline.checks import Range, check_one_of, check_range, whole_number
from local.offline.refusal import Refusal

Json: TypeAlias = dict[str, Any]
_Stored = TypeVar("_Stored")
_KEPT: Final = 5_000  # a load test that stores a response with each call does not fill the memory


def new_id(prefix: str) -> str:
    """An id that no other run has given either: whoever remembers ids of the last run is not led to a new object."""
    return f"{prefix}{secrets.token_hex(16)}"


class Shelf(Generic[_Stored]):
    """The last objects of one kind. `unknown` is the service's message, with `{}` for the id; `param` what it names."""

    def __init__(self, unknown: str, param: str | None = None) -> None:
        self._unknown = unknown
        self._param = param
        self._stored: dict[str, _Stored] = {}  # oldest first

    def put(self, key: str, stored: _Stored) -> _Stored:
        """Keep an object under its id, and give it back; when there are too many, the oldest goes."""
        self._stored[key] = stored
        if len(self._stored) > _KEPT:
            del self._stored[next(iter(self._stored))]
        return stored

    def get(self, key: str) -> _Stored:
        """The object of this id; Refusal 404 if there is none."""
        if key not in self._stored:
            raise Refusal(404, self._unknown.format(key), param=self._param)
        return self._stored[key]

    def take(self, key: str) -> _Stored:
        """The same, and it is there no more."""
        found = self.get(key)
        del self._stored[key]
        return found

    def find(self, key: str) -> _Stored | None:
        """The object of this id, or None."""
        return self._stored.get(key)

    def keys(self) -> list[str]:
        """All ids, oldest first."""
        return list(self._stored)

    def values(self) -> list[_Stored]:
        """All objects, oldest first."""
        return list(self._stored.values())


_LIMIT: Final = 20
_HIGHEST: Final = 100


def page(
    objects: Sequence[Json], query: Mapping[str, str], *, limit: int = _LIMIT, highest: int = _HIGHEST,
    order: str = "desc",
) -> Json:  # fmt: skip
    """The page of a list that the query's `limit`, `order`, `after` and `before` choose; objects come oldest first.

    Refusal 400 where the query is wrong, 404 where `after` or `before` names an object that is not in the list.
    """
    size = _limit(query.get("limit"), limit, highest)
    order = query.get("order", order)
    check_one_of("order", order, ("asc", "desc"))
    rows = list(objects) if order == "asc" else list(reversed(objects))
    if after := query.get("after"):
        rows = rows[_place(rows, after, "after") + 1 :]
    if before := query.get("before"):
        rows = rows[: _place(rows, before, "before")]
        return _as_list(rows[-size:], has_more=len(rows) > size)
    return _as_list(rows[:size], has_more=len(rows) > size)


def matching(objects: Sequence[Json], condition: Callable[[Json], bool], *, wanted: object) -> list[Json]:
    """The objects that a filter lets through; all of them where nothing is wanted."""
    return [one for one in objects if not wanted or condition(one)]


def _as_list(rows: list[Json], *, has_more: bool) -> Json:
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    return {"object": "list", "data": rows, "first_id": first, "last_id": last, "has_more": has_more}


def _limit(text: str | None, default: int, highest: int) -> int:
    if text is None:
        return default
    number = whole_number("limit", text)
    check_range("limit", number, Range("integer", 1, highest))
    return number


def _place(rows: list[Json], key: str, param: str) -> int:
    for place, row in enumerate(rows):
        if row["id"] == key:
            return place
    raise Refusal(404, f"There is no object with id '{key}' in this list.", param=param)
