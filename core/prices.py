"""Which price a model has: the operator's, where `trefoil.toml` gives one, otherwise that of the table in
`prices.json`, which `make prices` generates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic_core import from_json

from core.price import Price, Rates, Step
from core.price_settings import PriceSettings

TABLE_FILE = Path(__file__).resolve().with_name("prices.json")

PARTS_OF_KINDS: Mapping[str, tuple[str, ...]] = {
    "openai": ("openai",),
    "azure": ("azure", "openai"),
    "bedrock": ("aws",),
    "vertex": ("google",),
    "compatible": (),
}
"""Where each kind of upstream finds its models in the table. Of other servers, only the operator knows the prices."""

_PARTS = ("openai", "azure", "aws", "google")

_MAX_NAME_CHARACTERS = 300
"""No model has a longer name, and a client can write one that is as long as a body can be."""

_VERSION = re.compile(
    r"(?:[-@]\d{4}-\d{2}-\d{2}|[-@]\d{8}|-\d{2}-\d{2}|-\d{3,4}|-v1|:\d{1,2}(?::\d+k)?|-preview|[-@]latest|@default)*"
)
"""What may follow the name of a model and leave it the same model: a date, a revision. Never a size, or a word that
could make it a dearer one."""
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_REGION = re.compile(r"(?:global|us|us-gov|eu|apac|au|jp|in|ca|sa|me|af|uk)\.")
"""What stands before a model's name in the ids of Amazon Bedrock's inference profiles."""


class Prices:
    """The prices of all models. The table is read when it is first needed."""

    def __init__(self, overrides: Mapping[str, PriceSettings], file: Path = TABLE_FILE) -> None:
        self._overrides = overrides
        self._file = file
        self._found: dict[tuple[str, str | int], Price] = {}  # never more than the operator's and the table's

    def find(self, kind: str, model: str, upstream: str | None = None) -> Price | None:
        """The price of `model`, named as the upstream of that kind names it; None where it is not known.

        An override that is for one upstream is found under that `upstream` name only.
        """
        override = self._overrides.get(model)
        if override is not None and override.upstream in (None, upstream):
            return self._overridden(kind, model, override)
        entry = self._table.find(kind, model)
        return None if entry is None else self._built(kind, entry)

    def has(self, model: str) -> bool:
        """Whether the table has the model, for some kind of upstream."""
        return self._table.find_anywhere(model) is not None

    @cached_property
    def _table(self) -> Table:
        return Table(cast("dict[str, Any]", from_json(self._file.read_bytes())))

    def _overridden(self, kind: str, model: str, override: PriceSettings) -> Price | None:
        key = (kind, model)
        if key not in self._found:
            price = _own(override) if override.same_as is None else self._same(kind, override.same_as, override)
            if price is None:
                return None
            self._found[key] = price
        return self._found[key]

    def _same(self, kind: str, model: str, override: PriceSettings) -> Price | None:
        entry = self._table.find(kind, model)
        if entry is None:
            entry = self._table.find_anywhere(model)
        return None if entry is None else _price(self._table.entry(entry), self._table.tools(kind), override)

    def _built(self, kind: str, entry: int) -> Price:
        key = (kind, entry)
        if key not in self._found:
            self._found[key] = _price(self._table.entry(entry), self._table.tools(kind), None)
        return self._found[key]


class Table(NamedTuple):
    """`prices.json`.

    `names` leads from a part of the table and a model's name to the number of its entry in `prices`. A name that ends
    with `*` may be followed by a version, one that ends with `-YYYY-MM-DD` by a date, and one that begins with `*` may
    be preceded by a region.
    """

    values: dict[str, Any]

    def find(self, kind: str, model: str) -> int | None:
        if len(model) > _MAX_NAME_CHARACTERS:
            return None
        return self.find_in(PARTS_OF_KINDS[kind], _name(kind, model))

    def find_anywhere(self, model: str) -> int | None:
        return self.find_in(_PARTS, model.lower())

    def entry(self, number: int) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", self.values["prices"][number])

    def tools(self, kind: str) -> Mapping[str, int]:
        """The rates of what an upstream of that kind charges for with any model."""
        return cast("Mapping[str, int]", self.values["tools"].get(kind, {}))

    def find_in(self, parts: tuple[str, ...], name: str) -> int | None:
        """The number of the entry of the model that those parts call so, the first part first."""
        if "*" in name:
            return None
        for part in parts:
            names: Mapping[str, int] = self.values["names"][part]
            for candidate in _candidates(name):
                if candidate in names:
                    return names[candidate]
        return None


def _name(kind: str, model: str) -> str:
    """The model's name as the table writes it, from what a kind of upstream lets it be called."""
    name = model.lower()
    if kind == "openai" and name.startswith("ft:"):
        return ":".join(name.split(":", 2)[:2])  # ft:BASE:ORGANIZATION:NAME:ID
    if kind == "bedrock" and name.startswith("arn:"):
        return name.rpartition("/")[2]
    if kind == "vertex":
        return name.rpartition("/")[2]  # PUBLISHER/MODEL
    return name


def _candidates(name: str) -> Iterator[str]:
    """What the table may call `name`, the most exact first."""
    yield name
    yield _DATE.sub("-YYYY-MM-DD", name)
    yield from _stems(name)
    region = _REGION.match(name)
    for model in (name, name[region.end() :]) if region else (name,):
        yield f"*{model}"
        yield from (f"*{stem}" for stem in _stems(model))


def _stems(name: str) -> Iterator[str]:
    for end in range(len(name), 0, -1):
        if (end == len(name) or name[end] in "-@:") and _VERSION.fullmatch(name, end):
            yield f"{name[:end]}*"


def _own(override: PriceSettings) -> Price:
    step = Step(0, Rates.of(override.nano_usd()))
    return Price((step,), {}, override.context_tokens, override.output_tokens)


def _price(entry: Mapping[str, Any], tools: Mapping[str, int], override: PriceSettings | None) -> Price:
    """The entry's price. What the operator writes holds for all service tiers, and for inputs of any length."""
    own: Mapping[str, int] = {}
    limits = {"context_tokens": entry.get("context_tokens"), "output_tokens": entry.get("output_tokens")}
    if override is not None:
        own = override.nano_usd()
        limits |= {name: most for name in limits if (most := getattr(override, name)) is not None}
    lists = {
        tier: tuple(Step(above, Rates.of({**tools, **rates, **own})) for above, rates in steps)
        for tier, steps in entry["lists"].items()
    }
    return Price(lists.pop("default"), lists, **limits)
