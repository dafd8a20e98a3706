"""The minutes, days and months in which an app's requests are counted, and the names of their counters. Pure.

All are UTC's, and begin on the clock: a budget of a month is that of a calendar month.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable
from functools import lru_cache

TOTAL = "all"
"""The counter of all that an app has ever spent and reserved, in nano-dollars."""

_MINUTE_SECONDS = 60
_DAY_SECONDS = 86_400
_KEPT_MINUTES = 2
_KEPT_DAYS = 1
"""So far back a counter may still be settled. A day is kept at least as long as its last requests can take."""


class Windows:
    """The windows that a moment lies in, and the names of their counters."""

    def __init__(self, at: int) -> None:
        """
        Args:
            at: seconds since the epoch, UTC.
        """
        minute, date = at // _MINUTE_SECONDS, iso_day(at)
        self.at = at
        self.date = date
        self.requests = f"m/{minute}/r"
        """The counter of this minute's requests."""
        self.tokens = f"m/{minute}/t"
        """The counter of this minute's tokens."""
        self.day = f"d/{date}"
        """The counter of this day's nano-dollars."""
        self.month = f"mo/{date[:7]}"
        """The counter of this month's nano-dollars."""

    @property
    def minute_ends_in_seconds(self) -> int:
        return _MINUTE_SECONDS - self.at % _MINUTE_SECONDS

    @property
    def day_ends_in_seconds(self) -> int:
        return _DAY_SECONDS - self.at % _DAY_SECONDS

    @property
    def month_ends_in_seconds(self) -> int:
        year, month, *_ = time.gmtime(self.at)
        beginning = calendar.timegm((year + month // 12, month % 12 + 1, 1, 0, 0, 0))
        return beginning - self.at

    def counts_minute_at(self, later: int) -> bool:
        """Whether at a later moment the counters of this minute are still looked at."""
        return later // _MINUTE_SECONDS - self.at // _MINUTE_SECONDS <= _KEPT_MINUTES

    def stale(self, names: Iterable[str]) -> list[str]:
        """Those counters of `names` whose window is over for good."""
        oldest_minute = self.at // _MINUTE_SECONDS - _KEPT_MINUTES
        oldest_day = iso_day(self.at - _KEPT_DAYS * _DAY_SECONDS)
        return [name for name in names if _is_stale(name, oldest_minute, oldest_day)]


def iso_day(at: int) -> str:
    """The day of a moment, such as `2026-11-25`."""
    return _written_day(at // _DAY_SECONDS)


@lru_cache(maxsize=16)  # each request asks for the same few, again and again
def _written_day(days: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(days * _DAY_SECONDS))


def _is_stale(name: str, oldest_minute: int, oldest_day: str) -> bool:
    kind, _, rest = name.partition("/")
    if kind == "m":
        return int(rest.partition("/")[0]) < oldest_minute
    if kind == "d":
        return rest < oldest_day
    return kind == "mo" and rest < oldest_day[:7]
