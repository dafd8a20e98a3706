"""The minutes, days and months in which an app's requests are counted, and the names of their counters. Pure.

All are UTC's, and begin on the clock: a budget of a month is that of a calendar month.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

TOTAL = "all"
"""The counter of all that an app has ever spent and reserved, in nano-dollars."""

_MINUTE_SECONDS = 60
_DAY_SECONDS = 86_400
_KEPT_MINUTES = 2
_KEPT_DAYS = 1
"""So far back a counter may still be settled. A day is kept at least as long as its last requests can take."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows that a moment lies in."""

    at: int
    """Seconds since the epoch, UTC."""

    @property
    def date(self) -> str:
        return iso_day(self.at)

    @property
    def requests(self) -> str:
        """The counter of this minute's requests."""
        return f"m/{self.at // _MINUTE_SECONDS}/r"

    @property
    def tokens(self) -> str:
        """The counter of this minute's tokens."""
        return f"m/{self.at // _MINUTE_SECONDS}/t"

    @property
    def day(self) -> str:
        """The counter of this day's nano-dollars."""
        return f"d/{self.date}"

    @property
    def month(self) -> str:
        """The counter of this month's nano-dollars."""
        return f"mo/{self.date[:7]}"

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

    def counts_minute_of(self, earlier: Windows) -> bool:
        """Whether the counters of an earlier moment's minute are still looked at."""
        return self.at // _MINUTE_SECONDS - earlier.at // _MINUTE_SECONDS <= _KEPT_MINUTES

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
