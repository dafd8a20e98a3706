"""What stands in an app's ledger: the names of its counters and marks, and how they are read. Pure.

An app's ledger is one item of counters for each of its shards. Its counters are those of `core.windows` and, for each
day that is not archived yet, what was used by endpoint and model. Its marks are the standing reservations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from core.ports import Key, Value
from core.usage import Usage

RESERVATION = "r/"
ARCHIVING = "archive/"
LENT = "lent/"
"""How the marks begin: of a reservation, of usage on its way to the archive, of money on its way to another shard."""
GIVEN = "given/"
"""How the counters begin that tell which money has come from another shard."""

_USAGE = "u/"
_MEASURES = ("n", "i", "c", "o", "usd")
_LONGEST_MODEL_BYTES = 64
_MOST_NAMES = 1000
"""So many names are remembered: each request needs the same few, again and again."""

MOST_ROWS = 200
"""So many rows of usage an item holds: clients choose the models' names, and DynamoDB takes no item beyond 400 KB."""
OTHER_MODELS = "(other)"
"""The model of the rows in which all further models are counted together, one for each endpoint."""


class UsageRow(NamedTuple):
    """What an app has used on one day, at one endpoint, with one model."""

    day: str
    """Such as `2026-11-25`, UTC."""
    endpoint: str
    model: str
    """As the client named it; empty where it named none."""
    requests: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    nano_usd: int


class Standing(NamedTuple):
    """A reservation that is not settled yet: its request is still at work, or its process has died."""

    id: str
    shard: int
    at: int
    """When it was made, in seconds since the epoch, UTC."""
    endpoint: str
    model: str
    tokens: int
    nano_usd: int


@lru_cache(_MOST_NAMES)
def key(app_id: str, shard: int) -> Key:
    """Each shard has a partition of its own: some stores bear only so much for all items of one."""
    return Key(f"apps/{app_id}/ledger/{shard:02}", "ledger")


def usage_amounts(day: str, endpoint: str, model: str, usage: Usage, nano_usd: int, requests: int) -> dict[str, int]:
    """What to add to which counters for one call; nothing is added to those that it does not change."""
    row = _row(day, endpoint, model)
    amounts = (requests, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, nano_usd)
    return {row + measure: amount for measure, amount in zip(_MEASURES, amounts, strict=True) if amount}


def fitting_model(counters: Mapping[str, int], day: str, endpoint: str, model: str) -> str:
    """`model`, or the others', where an item that has these counters is full and has no row for it."""
    if len(counters) < MOST_ROWS or any(_row(day, endpoint, model) + measure in counters for measure in _MEASURES):
        return model
    rows = {name.rpartition("/")[0] for name in counters if name.startswith(_USAGE)}
    return model if len(rows) < MOST_ROWS else OTHER_MODELS


def usage_day(counter: str) -> str | None:
    """The day of a counter of usage; None for any other counter."""
    return counter.split("/", 2)[1] if counter.startswith(_USAGE) else None


def rows(counters: Mapping[str, int]) -> Iterator[UsageRow]:
    """The rows that counters of usage make; others among them are passed over."""
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for name, count in counters.items():
        if usage_day(name) is not None:
            _, day, endpoint, model, measure = name.split("/")
            found.setdefault((day, endpoint, "" if model == "-" else unquote(model)), {})[measure] = count
    for place, amounts in found.items():
        yield UsageRow(*place, *(amounts.get(measure, 0) for measure in _MEASURES))


def reservation_mark(at: int, endpoint: str, model: str, tokens: int, nano_usd: int) -> Value:
    # Without names: every write to the ledger pays for each reservation that stands there.
    return {"of": [at, endpoint, _cut(model), tokens, nano_usd]}


def standing(shard: int, marks: Mapping[str, Value]) -> Iterator[Standing]:
    """The reservations among an item's marks."""
    for name, said in marks.items():
        if name.startswith(RESERVATION):
            yield Standing(name.removeprefix(RESERVATION), shard, *said["of"])


@lru_cache(_MOST_NAMES)
def _row(day: str, endpoint: str, model: str) -> str:
    """How the names of a row's counters begin."""
    return f"{_USAGE}{day}/{endpoint}/{quote(_cut(model), safe='') or '-'}/"


def _cut(model: str) -> str:
    """As much of a model's name as an item has room for."""
    return model.encode("utf-8", "replace")[:_LONGEST_MODEL_BYTES].decode("utf-8", "ignore")
