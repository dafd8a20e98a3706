"""What apps have used, summed up by day, model, endpoint or app: for the operator, and for an app itself."""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from core import usd
from core.books import Books, Spending
from core.http import Response
from core.ledger_item import UsageRow
from core.manage_call import answer, invalid, read_query
from core.manage_schemas import show_limits
from core.ports import App
from core.windows import Windows, iso_day

PARAMETERS = ("from", "to", "group_by", "format")
_GROUPS = ("day", "app", "endpoint", "model")
_MEASURES = ("requests", "input_tokens", "cached_input_tokens", "output_tokens")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST_DAYS = 800
"""So long usage is kept."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula: a model's name is whatever a client wrote."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a report is asked for."""

    first_day: str
    last_day: str
    group_by: tuple[str, ...]
    format: str

    @classmethod
    def read(cls, given: Mapping[str, str], *, groups: Sequence[str], default_group: str, now: int) -> Question:
        """Without `from` and `to`, this month up to today.

        Raises:
            InvalidRequest: a parameter makes no sense.
        """
        today = iso_day(now)
        last = _day(given, "to", today)
        first = _day(given, "from", min(f"{today[:7]}-01", last))
        days = (datetime.date.fromisoformat(last) - datetime.date.fromisoformat(first)).days
        if days < 0:
            raise invalid("from", "write a day that is not after 'to'")
        if days >= _MOST_DAYS:
            raise invalid("from", f"ask for {_MOST_DAYS} days at most: older usage is not kept")
        wanted = given.get("group_by", default_group).split(",")
        if not set(wanted) <= set(groups) or len(set(wanted)) < len(wanted):
            raise invalid("group_by", f"write one or more of {', '.join(groups)}, each once, separated by commas")
        form = given.get("format", "json")
        if form not in ("json", "csv"):
            raise invalid("format", "write json or csv")
        return cls(first, last, tuple(wanted), form)

    def sum_up(self, used: Mapping[str, Iterable[UsageRow]]) -> list[dict[str, Any]]:
        """The report's rows, made of the rows of each app."""
        sums: dict[tuple[str, ...], list[int]] = {}
        for app_id, rows in used.items():
            for row in rows:
                places = {"day": row.day, "app": app_id, "endpoint": row.endpoint, "model": row.model}
                amounts = [*(getattr(row, name) for name in _MEASURES), row.nano_usd]
                place = tuple(places[name] for name in self.group_by)
                sums[place] = [had + more for had, more in zip(sums.get(place, [0] * 5), amounts, strict=True)]
        return [dict(zip(self.group_by, place, strict=True)) | _measured(sums[place]) for place in sorted(sums)]

    def answer(self, used: Mapping[str, Iterable[UsageRow]], more: Mapping[str, object]) -> Response:
        """The report. `more` stands in its JSON beside the rows."""
        rows = self.sum_up(used)
        if self.format == "csv":
            return Response(
                HTTPStatus.OK,
                {
                    "content-type": "text/csv; charset=utf-8",
                    "content-disposition": 'attachment; filename="usage.csv"',
                    "cache-control": "no-store",
                },
                _csv(rows, [*self.group_by, *_MEASURES, "cost_usd"]),
            )
        flat = [row for rows_of_app in used.values() for row in rows_of_app]
        total = [*(sum(getattr(row, name) for row in flat) for name in _MEASURES), sum(row.nano_usd for row in flat)]
        return answer(
            HTTPStatus.OK,
            {
                "object": "usage",
                "from": self.first_day,
                "to": self.last_day,
                "group_by": list(self.group_by),
                "data": rows,
                "total": _measured(total),
                **more,
            },
        )


async def of_app(app: App, query: str, books: Books, *, clock: Callable[[], float]) -> Response:
    """What one app used, its limits, and what is left of its budgets: `GET /v1/usage`.

    Raises:
        InvalidRequest: the query makes no sense.
        StoreError: the store cannot be asked.
    """
    now = int(clock())
    groups = [name for name in _GROUPS if name != "app"]
    question = Question.read(read_query(query, PARAMETERS), groups=groups, default_group="day", now=now)
    rows = await books.usage(app.id, question.first_day, question.last_day)
    if question.format == "csv":
        return question.answer({app.id: rows}, {})
    budgets = budgets_of(app, await books.spending(app), now=now)
    return question.answer({app.id: rows}, {"app": app.id, "limits": show_limits(app.limits), "budgets": budgets})


def budgets_of(app: App, spending: Spending, *, now: int) -> dict[str, Any]:
    """For each window what may be spent, is spent, is reserved for requests at work, and remains; and when the window
    ends. Without a limit nothing is said to remain.
    """
    windows, limits = Windows(now), app.limits
    known = {
        "day": (limits.day_nano_usd, spending.day_nano_usd, now + windows.day_ends_in_seconds),
        "month": (limits.month_nano_usd, spending.month_nano_usd, now + windows.month_ends_in_seconds),
        "total": (limits.total_nano_usd, spending.total_nano_usd, None),
    }
    return {
        name: {
            "limit_usd": None if limit is None else usd.write(limit),
            "spent_usd": usd.write(spent),
            "reserved_usd": usd.write(spending.reserved_nano_usd),
            "remaining_usd": None if limit is None else usd.write(max(0, limit - spent - spending.reserved_nano_usd)),
            "resets_at": resets_at,
        }
        for name, (limit, spent, resets_at) in known.items()
    }


def _day(given: Mapping[str, str], name: str, default: str) -> str:
    written = given.get(name, default)
    try:
        if not _DAY.fullmatch(written):
            raise ValueError(written)
        datetime.date.fromisoformat(written)
    except ValueError:
        raise invalid(name, "write a day, such as 2026-11-25") from None
    return written


def _measured(amounts: Sequence[int]) -> dict[str, Any]:
    *counts, nano_usd = amounts
    return dict(zip(_MEASURES, counts, strict=True)) | {"cost_usd": usd.write(nano_usd)}


def _csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in columns])
    return written.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
