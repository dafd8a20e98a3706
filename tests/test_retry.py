"""When a failed attempt is made again, and after how long."""

from __future__ import annotations

from typing import Any

import pytest

from core.retry import Cause, Failure, retry_after_seconds, wait_seconds
from core.settings import RetrySettings

_SETTINGS = RetrySettings(max_retries=2, first_wait_seconds=0.5, max_wait_seconds=5)
_UNIX_TIME = 1_448_467_200.0  # Wed, 25 Nov 2015 16:00:00 GMT
_HALF = 0.25  # of a random number of 0.5, and the first wait


def _status(status: int, code: str | None = None, **headers: str) -> Failure:
    return Failure(Cause.STATUS, status, {name.replace("_", "-"): value for name, value in headers.items()}, code)


def _wait(failure: Failure, **changes: Any) -> float | None:
    defaults = {"retries": 0, "left_seconds": None, "repeatable": True, "unix_time": _UNIX_TIME, "random": 0.5}
    return wait_seconds(failure, _SETTINGS, **{**defaults, **changes})


@pytest.mark.parametrize(
    ("failure", "repeatable", "otherwise"),
    [
        (Failure(Cause.UNREACHABLE), _HALF, _HALF),
        (Failure(Cause.DROPPED), _HALF, None),
        (Failure(Cause.SILENT), None, None),
        (Failure(Cause.BROKEN), None, None),
        (Failure(Cause.DENIED, 401), None, None),
        (Failure(Cause.DENIED), None, None),
        (_status(408), _HALF, None),
        (_status(409), None, None),
        (_status(409, x_should_retry="true"), _HALF, None),
        (_status(429), _HALF, _HALF),
        (_status(429, x_should_retry="false"), None, None),
        (_status(429, "rate_limit_exceeded"), _HALF, _HALF),
        (_status(429, "insufficient_quota"), None, None),
        (_status(429, "insufficient_quota", x_should_retry="true"), None, None),
        (_status(500), _HALF, None),
        (_status(500, x_should_retry="false"), None, None),
        (_status(500, x_should_retry="maybe"), _HALF, None),
        (_status(501), None, None),
        (_status(502), _HALF, None),
        (_status(503), _HALF, None),
        (_status(503, retry_after="2"), 2, 2),
        (_status(504), _HALF, None),
        (_status(529), _HALF, None),
    ],
    ids=repr,
)
def test_what_is_tried_again(failure: Failure, repeatable: float | None, otherwise: float | None) -> None:
    assert _wait(failure) == repeatable
    assert _wait(failure, repeatable=False) == otherwise


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "2"}, 2),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "Wed, 25 Nov 2015 16:00:04 GMT"}, 4),
        ({"retry-after": "Wed, 25 Nov 2015 15:00:00 GMT"}, 0),
        ({"retry-after": "Wed, 99 Nov 99999 99:00:00 GMT"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, float("inf")),
        ({"retry-after": "7", "retry-after-ms": "120"}, 0.12),
        ({"retry-after": "7", "retry-after-ms": "?"}, 7),
    ],
    ids=repr,
)
def test_how_long_upstream_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, _UNIX_TIME) == seconds


@pytest.mark.parametrize(
    ("retries", "random", "seconds"), [(0, 0.0, 0), (0, 0.99, 0.495), (1, 0.5, 0.5), (2, 0.5, None)]
)
def test_the_wait_doubles_until_there_have_been_enough(retries: int, random: float, seconds: float | None) -> None:
    assert _wait(_status(500), retries=retries, random=random) == seconds


def test_the_wait_has_a_limit() -> None:
    many = RetrySettings(max_retries=20, max_wait_seconds=3)
    wait = wait_seconds(
        _status(500), many, retries=10, left_seconds=None, repeatable=True, unix_time=_UNIX_TIME, random=0.5
    )
    assert wait == 1.5


@pytest.mark.parametrize(
    ("failure", "left_seconds", "seconds"),
    [
        (_status(429, retry_after="5"), None, 5),
        (_status(429, retry_after="6"), None, None),
        (_status(429, retry_after="inf"), None, None),
        (_status(429, retry_after="3"), 3.1, 3),
        (_status(429, retry_after="3"), 3.0, None),
        (_status(500), 0.25, None),
        (_status(500), 0.0, None),
    ],
    ids=repr,
)
def test_nothing_is_waited_for_that_comes_too_late(
    failure: Failure, left_seconds: float | None, seconds: float | None
) -> None:
    assert _wait(failure, left_seconds=left_seconds) == seconds


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Failure(Cause.UNREACHABLE), True),
        (Failure(Cause.DENIED), True),
        (_status(429), True),
        (_status(503, retry_after="1"), True),
        (_status(503), False),
        (_status(500), False),
        (Failure(Cause.DROPPED), False),
        (Failure(Cause.SILENT), False),
        (Failure(Cause.BROKEN, 200), False),
    ],
    ids=repr,
)
def test_what_upstream_has_surely_not_taken(failure: Failure, expected: bool) -> None:
    assert failure.surely_not_taken is expected
