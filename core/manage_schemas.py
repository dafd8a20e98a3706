"""What an operator sends about apps and keys, and how both are shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from core import usd
from core.admin import ListedKey
from core.cors import is_origin
from core.endpoints import ENDPOINTS
from core.ports import App, Limits
from core.shards import MOST_SHARDS

_MODEL_PATTERN = re.compile(r"[!-~]{1,256}")
_OWN_TASK = re.compile(r"tasks\.[a-z_*]{1,50}")
"""The operator's own tasks are rows of `trefoil.toml`, which this API need not know."""
_NOT_IN_PATTERNS = re.compile(r"[\[\]?]")
_MOST_IN_A_LIST = 200
_MOST_COUNTED = 10**12
_LONGEST_LABEL = 100
LONGEST_LIFETIME_SECONDS = 10 * 366 * 86_400
_LONGEST_OVERLAP_SECONDS = 90 * 86_400
_ONE_DAY_SECONDS = 86_400

_MOST_NEAR = 3
_MOST_ADDED = 2**53
_MOST_COUNTERS = 50
_COUNTER = (
    r"^(all|m/[0-9]{1,10}/[rt]|d/[0-9]{4}-[0-9]{2}-[0-9]{2}|mo/[0-9]{4}-[0-9]{2}"
    r"|u/[0-9]{4}-[0-9]{2}-[0-9]{2}/[a-z_.]{1,100}/[^/]{1,1000}/(n|i|c|o|usd))$"
)

_FIELDS: Mapping[str, str] = {
    "requests_per_minute": "requests_per_minute",
    "tokens_per_minute": "tokens_per_minute",
    "budget_day_usd": "day_nano_usd",
    "budget_month_usd": "month_nano_usd",
    "budget_total_usd": "total_nano_usd",
    "models": "models",
    "endpoints": "endpoints",
    "max_output_tokens": "output_tokens",
    "shards": "shards",
}
"""The limits as the API calls them, and as `Limits` does."""


def _is_origin(value: str) -> str:
    if not is_origin(value):
        raise ValueError("write an origin, such as https://shop.example, or *")
    return value


def _is_model_pattern(value: str) -> str:
    if not _MODEL_PATTERN.fullmatch(value) or _NOT_IN_PATTERNS.search(value):
        raise ValueError("write a model's name, or a pattern with * in it, such as gpt-4o*")
    return value


def _is_endpoint_pattern(value: str) -> str:
    names = [row.name for row in ENDPOINTS if not row.public]
    is_known = any(fnmatchcase(name, value) for name in names) or _OWN_TASK.fullmatch(value)
    if is_known and not _NOT_IN_PATTERNS.search(value):
        return value
    import difflib  # noqa: PLC0415 - of use for a mistake alone

    near = [name for name in names if value.strip("*.") in name][:_MOST_NEAR]
    near = near or difflib.get_close_matches(value, names, n=_MOST_NEAR, cutoff=0.4)
    advice = f"the nearest are {', '.join(near)}" if near else "write such as chat.completions.create, or responses.*"
    raise ValueError(f"no endpoint is called '{value[:100]}': {advice}")


def _is_label(value: str) -> str:
    if not value.isprintable():
        raise ValueError("write one line of printable characters")
    return value


Count = Annotated[StrictInt, Field(ge=1, le=_MOST_COUNTED)]
NanoUsd = Annotated[int, BeforeValidator(usd.to_nano)]
"""Nano-dollars, sent as dollars."""
_SOME = Field(min_length=1, max_length=_MOST_IN_A_LIST)
"""A list that is empty, perhaps by mistake, must not come to mean that everything is allowed: null says that."""
Origins = Annotated[list[Annotated[StrictStr, AfterValidator(_is_origin)]], _SOME]
Models = Annotated[list[Annotated[StrictStr, AfterValidator(_is_model_pattern)]], _SOME]
Endpoints = Annotated[list[Annotated[StrictStr, AfterValidator(_is_endpoint_pattern)]], _SOME]
Counter = Annotated[StrictStr, Field(pattern=_COUNTER)]
"""One of a ledger's counters."""
Amount = Annotated[StrictInt, Field(ge=-_MOST_ADDED, le=_MOST_ADDED)]
Label = Annotated[StrictStr, Field(max_length=_LONGEST_LABEL), AfterValidator(_is_label)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitsBody(_Body):
    """Limits to set. What is not there stays as it is; null is no limit."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    budget_day_usd: NanoUsd | None = None
    budget_month_usd: NanoUsd | None = None
    budget_total_usd: NanoUsd | None = None
    models: Models | None = None
    endpoints: Endpoints | None = None
    max_output_tokens: Count | None = None
    shards: Annotated[StrictInt, Field(ge=1, le=MOST_SHARDS)] | None = None

    def changed(self, limits: Limits) -> Limits:
        """`limits` with what is set here."""
        given: dict[str, Any] = {
            field: getattr(self, name) for name, field in _FIELDS.items() if name in self.model_fields_set
        }
        for name in ("models", "endpoints"):
            if name in given:
                given[name] = tuple(dict.fromkeys(given[name] or ()))
        if "shards" in given:
            given["shards"] = given["shards"] or 1
        return limits.model_copy(update=given)


class AppChange(_Body):
    """What to change of an app. What is not there stays as it is."""

    enabled: StrictBool = True
    origins: Origins | None = None
    limits: LimitsBody = LimitsBody()

    def changes(self, limits: Limits) -> dict[str, object]:
        """The fields of an app's record, whose limits are `limits`, that are to be changed."""
        changes: dict[str, object] = {}
        if "enabled" in self.model_fields_set:
            changes["enabled"] = self.enabled
        if "origins" in self.model_fields_set:
            changes["origins"] = tuple(dict.fromkeys(self.origins or ()))
        if "limits" in self.model_fields_set:
            changes["limits"] = self.limits.changed(limits)
        return changes


class NewApp(AppChange):
    id: StrictStr


class WithEnd(_Body):
    expires_at: StrictInt | None = None
    lifetime_seconds: Annotated[StrictInt, Field(ge=1, le=LONGEST_LIFETIME_SECONDS)] | None = None

    @property
    def says_end(self) -> bool:
        return bool({"expires_at", "lifetime_seconds"} & self.model_fields_set)


class NewKey(WithEnd):
    label: Label = ""


class Rotation(WithEnd):
    overlap_seconds: Annotated[StrictInt, Field(ge=0, le=_LONGEST_OVERLAP_SECONDS)] = _ONE_DAY_SECONDS


class KeyChange(WithEnd):
    enabled: StrictBool = True
    label: Label = ""


class Settlement(_Body):
    """What a process could not settle, as it logged it."""

    shard: Annotated[StrictInt, Field(ge=0, lt=MOST_SHARDS)]
    amounts: Annotated[
        dict[Counter, Annotated[StrictInt, Field(ge=-_MOST_ADDED, le=_MOST_ADDED)]], Field(max_length=50)
    ]
    unmark: Annotated[StrictStr, Field(pattern=r"^r/[0-9a-f]{16}$")]


def show_limits(limits: Limits) -> dict[str, Any]:
    """Limits as JSON: money in dollars, a list that lets everything pass as null."""
    shown: dict[str, Any] = {}
    for name, field in _FIELDS.items():
        value = getattr(limits, field)
        if isinstance(value, tuple):
            value = list(value) or None
        shown[name] = usd.write(value) if name.endswith("_usd") and value is not None else value
    return shown


def show_app(app: App) -> dict[str, Any]:
    return {
        "object": "app",
        "id": app.id,
        "version": app.version,
        "enabled": app.enabled,
        "deleting": app.deleting,
        "created_at": app.created_at,
        "updated_at": app.updated_at,
        "disabled_at": app.disabled_at,
        "origins": list(app.origins) or None,
        "limits": show_limits(app.limits),
    }


def show_key(key: ListedKey, *, now: int) -> dict[str, Any]:
    record = key.record
    expired = record.expires_at is not None and record.expires_at <= now
    return {
        "object": "key",
        "id": key.id,
        "app": record.app_id,
        "version": record.version,
        "label": record.label,
        "hint": record.hint,
        "enabled": record.enabled,
        "expired": expired,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
    }
