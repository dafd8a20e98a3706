"""US dollars as people write them, and the integer nano-dollars that are counted: exact both ways. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_NANO = 1_000_000_000
_DECIMALS = 9
_MOST_USD = 9_000_000
"""Its nano-dollars are exact in JSON, whose numbers many read as floating point: 2**53 is little more."""
_MOST_DIGITS = 20
_WRITTEN = re.compile(r"[0-9]+(\.[0-9]+)?")


def to_nano(value: object) -> int:
    """Nano-dollars of `"250.00"`, or of such a number that JSON gave as an int or a Decimal.

    Raises:
        ValueError: says what to write instead.
    """
    text = _text(value)
    if text is None or not _WRITTEN.fullmatch(text) or len(text) > 2 * _MOST_DIGITS:
        raise ValueError('write US dollars, such as "250.00"')
    whole, _, decimals = text.partition(".")
    if len(decimals) > _DECIMALS:
        raise ValueError(f"write at most {_DECIMALS} decimals: smaller amounts are not counted")
    nano = int(whole) * _NANO + int(decimals.ljust(_DECIMALS, "0"))
    if nano > _MOST_USD * _NANO:
        raise ValueError(f"write {_MOST_USD} US dollars at most")
    return nano


def write(nano_usd: int) -> str:
    """Such as `250.00` or `0.000123`: exact, with two decimals at least."""
    whole, rest = divmod(abs(nano_usd), _NANO)
    decimals = f"{rest:0{_DECIMALS}}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano_usd < 0 else ''}{whole}.{decimals}"


def _text(value: object) -> str | None:
    if isinstance(value, Decimal):
        # Written out, 1e999999999 would fill the memory.
        return f"{value:f}" if abs(value.adjusted()) < _MOST_DIGITS else None
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value)
