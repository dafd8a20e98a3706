"""Dollars and nano-dollars: exact both ways."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core import usd


@pytest.mark.parametrize(
    ("written", "nano_usd", "shown"),
    [
        ("250.00", 250_000_000_000, "250.00"),
        ("0", 0, "0.00"),
        ("0.000123", 123_000, "0.000123"),
        ("0.000000001", 1, "0.000000001"),
        (Decimal("1.10"), 1_100_000_000, "1.10"),
        (Decimal("2e1"), 20_000_000_000, "20.00"),
        (7, 7_000_000_000, "7.00"),
        ("9000000", 9_000_000_000_000_000, "9000000.00"),
    ],
)
def test_there_and_back(written: object, nano_usd: int, shown: str) -> None:
    assert usd.to_nano(written) == nano_usd
    assert usd.write(nano_usd) == shown
    assert usd.to_nano(shown) == nano_usd


def test_what_is_less_than_nothing() -> None:
    assert usd.write(-1_500_000_000) == "-1.50"
    assert usd.write(-1) == "-0.000000001"


@pytest.mark.parametrize(
    "written",
    [
        "",
        "-1",
        "1.",
        ".5",
        "1,000",
        "1e3",
        "\u0661",
        " 1",
        "NaN",
        "1" * 50,
        "0.0000000001",
        "9000000.1",
        None,
        True,
        0.5,
        [],
    ],
)
def test_what_is_no_amount(written: object) -> None:
    with pytest.raises(ValueError, match=r"^write "):
        usd.to_nano(written)
