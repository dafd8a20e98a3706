"""Whether a failed attempt is made again, and after how long. Nothing here waits or calls."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz
from enum import Enum, auto
from http import HTTPStatus
from math import isnan
from typing import NamedTuple

from core.settings import RetrySettings

_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""Codes of a 429 that stand for an unpaid bill, which no wait of ours outlasts."""


_AT_ONCE_SECONDS = 1.0


class Cause(Enum):
    """What became of an attempt that has no usable answer. In none of these cases has the client seen a byte."""

    UNREACHABLE = auto()
    """No connection: refused, timed out, or no TLS. Upstream has not seen the request."""
    DROPPED = auto()
    """The connection ended before an answer began. Upstream may have taken the request."""
    SILENT = auto()
    """Upstream took the request and kept silent for longer than it may."""
    BROKEN = auto()
    """An answer began, but is no use: it was cut off, or it is not what this endpoint answers."""
    DENIED = auto()
    """This service's own access was refused: 401, 403, or no credential to be had."""
    STATUS = auto()
    """Upstream's own word that it failed, or would not now."""


class Failure(NamedTuple):
    cause: Cause
    status: int = 0
    """Upstream's status, where there is one."""
    headers: Mapping[str, str] = {}
    """Upstream's headers, with lower-case names."""
    code: str | None = None
    """The code in the body of a 429."""
    seconds: float = 0
    """How long the attempt took."""

    @property
    def surely_not_taken(self) -> bool:
        """Whether upstream has certainly not begun with the request, so that repeating it makes nothing twice.

        A 429 is decided before any work. A 503 alone may come from a proxy that gave up waiting; one that says when to
        come back is a refusal.
        """
        refused = self.status == 429 or (self.status == 503 and "retry-after" in self.headers)
        return self.cause in (Cause.UNREACHABLE, Cause.DENIED) or refused

    @property
    def may_cost(self) -> bool:
        """Whether upstream may have worked all the same, and want to be paid. An error status is free of charge, and
        so is a connection that ends at once: it was an old one, or nobody was there to work.
        """
        if self.cause is Cause.DROPPED:
            return self.seconds >= _AT_ONCE_SECONDS
        return self.cause is Cause.SILENT or (self.cause is Cause.BROKEN and self.status < HTTPStatus.MULTIPLE_CHOICES)

    @property
    def waiting_may_mend(self) -> bool:
        """Whether the same target may well answer the same request a moment later."""
        if self.cause in (Cause.UNREACHABLE, Cause.DROPPED):
            return True
        if self.cause is not Cause.STATUS or self.code in _QUOTA_CODES:
            return False
        advice = self.headers.get("x-should-retry")
        return advice == "true" if advice in ("true", "false") else is_transient(self.status)


def is_transient(status: int) -> bool:
    """Whether a status speaks of the moment, not of the request.

    409 does not: the SDKs retry it because it can mean a lock, but on stored objects it is a real conflict. Where it is
    a lock, upstream says so with `x-should-retry`.
    """
    return status in (408, 429) or (status >= 500 and status not in (501, 505))


def wait_seconds(
    failure: Failure,
    settings: RetrySettings,
    *,
    retries: int,
    left_seconds: float | None,
    repeatable: bool,
    unix_time: float,
    random: float,
) -> float | None:
    """How long to wait before the same target is asked again; None: it is not.

    Args:
        retries: how many there have been for this request, at any target.
        left_seconds: until this request has to be answered; None if there is no such time.
        repeatable: whether the request may be made twice.
        unix_time: now, to read a date by.
        random: from 0 up to 1. The wait is spread over its whole range ("full jitter"), so that callers who failed
            together do not come back together.
    """
    if retries >= settings.max_retries or not failure.waiting_may_mend:
        return None
    if not (repeatable or failure.surely_not_taken):
        return None
    wait = retry_after_seconds(failure.headers, unix_time)
    if wait is None:
        wait = random * min(settings.max_wait_seconds, settings.first_wait_seconds * 2**retries)
    if wait > settings.max_wait_seconds or (left_seconds is not None and wait >= left_seconds):
        return None
    return wait


def retry_after_seconds(headers: Mapping[str, str], unix_time: float) -> float | None:
    """What `retry-after-ms` or `retry-after` asks for, never below zero; None where neither can be read."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("retry-after", "")
    seconds = _number(value)
    if seconds is None:
        seconds = _seconds_until_date(value, unix_time)
    return None if seconds is None else max(0.0, seconds)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if isnan(number) else number


def _seconds_until_date(text: str, unix_time: float) -> float | None:
    date = parsedate_tz(text)
    try:
        return None if date is None else mktime_tz(date) - unix_time
    except (ValueError, OverflowError):
        return None
