"""What an app is told whose limit a request would pass, and what every answer says of its limits. Pure.

The headers are OpenAI's: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
"""

from __future__ import annotations

from collections.abc import Mapping

from core import errors
from core.ports import App
from core.windows import TOTAL, Windows

_NANO = 1_000_000_000


def of(
    app: App, windows: Windows, over: str, *, limit: int, used: Mapping[str, int], wanted: int
) -> errors.TrefoilError:
    """The error for a request that would take the counter `over` beyond its limit.

    Args:
        used: what that counter and those of the minute stand at, reservations included.
        wanted: what the request would add to it.
    """
    error = _error(app, windows, over, limit=limit, used=used[over], wanted=wanted)
    error.headers.update(headers(app, windows, {name: -(-count // app.limits.shards) for name, count in used.items()}))
    return error


def _error(app: App, windows: Windows, over: str, *, limit: int, used: int, wanted: int) -> errors.TrefoilError:
    if over in (windows.requests, windows.tokens):
        return _rate_limited(app, windows, over, limit=limit, used=used, wanted=wanted)
    period, wait = {
        windows.day: ("today", windows.day_ends_in_seconds),
        windows.month: ("this month", windows.month_ends_in_seconds),
        TOTAL: ("in all", None),
    }[over]
    return errors.QuotaExceeded(
        f"The budget of '{app.id}' cannot bear this request: {_usd(limit)} may be spent {period}, {_usd(used)} is "
        f"spent or reserved for requests at work, and this request may cost up to {_usd(wanted)}. A smaller maximum of "
        "output tokens makes it cheaper; this service's operator can raise the budget.",
        retry_after_seconds=wait if wanted <= limit else None,
    )


def headers(app: App, windows: Windows, counters: Mapping[str, int]) -> dict[str, str]:
    """What is left to the app in this minute. Where its counters are split, as far as the answering shard can tell."""
    limits = {
        "requests": (app.limits.requests_per_minute, windows.requests),
        "tokens": (app.limits.tokens_per_minute, windows.tokens),
    }
    told = {}
    for what, (limit, counter) in limits.items():
        if limit is not None:
            used = counters.get(counter, 0) * app.limits.shards
            told[f"x-ratelimit-limit-{what}"] = str(limit)
            told[f"x-ratelimit-remaining-{what}"] = str(min(limit, max(0, limit - used)))
            told[f"x-ratelimit-reset-{what}"] = f"{windows.minute_ends_in_seconds}s"
    return told


def _rate_limited(app: App, windows: Windows, over: str, *, limit: int, used: int, wanted: int) -> errors.TrefoilError:
    kind, what = (
        (errors.RequestsLimited, "requests per min (RPM)")
        if over == windows.requests
        else (errors.TokensLimited, "tokens per min (TPM)")
    )
    wait = windows.minute_ends_in_seconds
    if wanted > limit:
        return kind(
            f"Request too large for '{app.id}' on {what}: limit {limit:,}, and this request may use {wanted:,}. A "
            "smaller maximum of output tokens makes it smaller.",
            retry_after_seconds=None,
        )
    return kind(
        f"Rate limit reached for '{app.id}' on {what}: limit {limit:,}, used {used:,}, requested {wanted:,}. Please "
        f"try again in {wait}s.",
        retry_after_seconds=wait,
    )


def _usd(nano_usd: int) -> str:
    """Such as `$0.0123`, rounded up, so that what is spent never looks like less."""
    ten_thousandths = -(-nano_usd * 10_000 // _NANO)
    return f"${ten_thousandths / 10_000:,.4f}"
