"""Generate `core/prices.json` from genai-prices, a maintained collection of the prices of models: `make prices`.

What that collection lacks is added here by hand, from the pages that are named beside it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from genai_prices import types
from genai_prices.data import providers

from core.prices import TABLE_FILE

PARTS = ("openai", "azure", "aws", "google")
"""The library's providers that are taken over."""

TIERS = ("flex", "priority", "fast")
"""The service tiers that a request can ask for. Batch prices are left out: batches are not offered."""

RATES: Mapping[str, str] = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cached_audio",
    "input_image_mtok": "input_image",
    "cache_image_read_mtok": "cached_image",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
    "input_mchars": "characters",
    "audio_hours": "audio_hours",
    "web_searches_kcount": "web_searches",
    "storage_searches_kcount": "file_searches",
}
"""The library's prices, by the names of `core.price.Rates`."""

IGNORED = {
    "cache_write_1h_mtok",  # no usage in OpenAI's form tells for how long a cache was written
    "input_audio_hours",  # always what audio_hours is
    "input_video_mtok",  # no usage in OpenAI's form counts video apart
    "output_video_mtok",
}

Rates = dict[str, int]
Steps = list[tuple[int, Rates]]

_PRICING = "https://developers.openai.com/api/docs/pricing"
_MODELS = "https://developers.openai.com/api/docs/models"

_OPENAI_TOOLS = {"web_searches": "10", "file_searches": "2.5", "containers": "0.03"}
"""_PRICING, "Built-in tools". The container is the smallest, of 1 GB; one of so many GB costs so many times more."""

TOOLS: Mapping[str, Mapping[str, str]] = {
    "openai": _OPENAI_TOOLS,
    # https://azure.microsoft.com/pricing/details/cognitive-services/openai-service/, "Built-in tools";
    # https://www.microsoft.com/bing/apis/grounding-pricing for the searches
    "azure": {"web_searches": "14", "file_searches": "2.5", "containers": "0.033"},
    "compatible": _OPENAI_TOOLS,  # for a model that is `same_as` one of the table's
}
"""What tools cost, in dollars, with models of which the library does not say it, by the kind of the upstream."""

ADDED: Mapping[str, Mapping[str, str]] = {
    # Per image, of the dearest size and quality: _MODELS/dall-e-2 and _MODELS/dall-e-3
    "dall-e-2": {"images": "0.02"},
    "dall-e-3": {"images": "0.12"},
    # Free: https://developers.openai.com/api/docs/guides/moderation
    "omni-moderation-latest": {"input": "0", "output": "0"},
    "omni-moderation-2024-09-26": {"input": "0", "output": "0"},
    "text-moderation-latest": {"input": "0", "output": "0"},
    "text-moderation-stable": {"input": "0", "output": "0"},
    "text-moderation-007": {"input": "0", "output": "0"},
    # Fine-tuned models: _PRICING, "Fine-tuning"
    "ft:gpt-4.1-2025-04-14": {"input": "3", "cached_input": "0.75", "output": "12"},
    "ft:gpt-4.1-mini-2025-04-14": {"input": "0.8", "cached_input": "0.2", "output": "3.2"},
    "ft:gpt-4.1-nano-2025-04-14": {"input": "0.2", "cached_input": "0.05", "output": "0.8"},
    "ft:o4-mini-2025-04-16": {"input": "4", "cached_input": "1", "output": "16"},
    "ft:davinci-002": {"input": "12", "output": "12"},
    "ft:babbage-002": {"input": "1.6", "output": "1.6"},
    # The library has it among the names of gpt-4o-mini, whose searches cost less: _PRICING, "Web search preview"
    "gpt-4o-mini-search-preview": {"input": "0.15", "output": "0.6", "web_searches": "25"},
    "gpt-4o-mini-search-preview-2025-03-11": {"input": "0.15", "output": "0.6", "web_searches": "25"},
}
"""OpenAI's models that the library does not have, in dollars."""

COMPLETED: Mapping[str, Mapping[str, str]] = {
    # The library has their prices for text alone: _MODELS/gpt-4o-audio-preview, _MODELS/gpt-4o-mini-audio-preview
    "gpt-4o-audio-preview": {"input_audio": "40", "output_audio": "80"},
    "gpt-4o-mini-audio-preview": {"input_audio": "10", "output_audio": "20"},
    "gpt-4o-search-preview": {"web_searches": "25"},  # _PRICING, "Web search preview"
}
"""OpenAI's models that the library has only in part."""

NAMES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "openai": {
        "ft:gpt-4o-2024-": ("ft:gpt-4o-2024-08-06", "ft:gpt-4o-2024-11-20"),
        "ft:gpt-4o-mini-2024-": ("ft:gpt-4o-mini-2024-07-18",),
        "ft:gpt-4-0": ("ft:gpt-4-0613",),
        "gpt-4o-mini-2024-07-18.ft-": (),
        "gpt-5-nano-": ("gpt-5-nano-2025-08-07",),
        "moderation": (),
    },
    "azure": {},
    "aws": {},
    "google": {
        "claude-fable-5@": (),
        "claude-fable-5-1@": (),
        "claude-fable-5-2@": (),
        "claude-opus-5@": (),
        "claude-opus-5-5@": (),
        "claude-opus-4@": ("claude-opus-4@20250514",),
        "claude-opus-4-1": ("claude-opus-4-1", "claude-opus-4-1@20250805"),
        "claude-sonnet-4@": ("claude-sonnet-4@20250514",),
        "claude-sonnet-4-2025": ("claude-sonnet-4-20250514",),
        "gemini-2.0-flash-0": ("gemini-2.0-flash-001",),
        "gemini-3-flash-preview-": (),
        "gemma-3-": ("gemma-3-1b-it", "gemma-3-4b-it", "gemma-3-12b-it", "gemma-3-27b-it"),
        "gemma-3n": ("gemma-3n-e2b-it", "gemma-3n-e4b-it"),
    },
}
"""What clauses of the library that end within a word or a number stand for."""

ALIASES: Mapping[str, Mapping[str, str]] = {
    "openai": {
        "tts-1-1106": "tts-1",
        "tts-1-hd-1106": "tts-1-hd",
        "gpt-4o-mini-tts-2025-03-20": "gpt-4o-mini-tts",
        "gpt-4o-mini-tts-2025-12-15": "gpt-4o-mini-tts",
        "gpt-4o-mini-transcribe-2025-03-20": "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15": "gpt-4o-mini-transcribe",
        "gpt-5-search-api-2025-10-14": "gpt-5-search-api",
    },
    # Bedrock's mantle endpoint names them without a version:
    # https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html
    "aws": {"openai.gpt-oss-120b": "*openai.gpt-oss-120b-1*", "openai.gpt-oss-20b": "*openai.gpt-oss-20b-1*"},
}
"""Names of models that the table has under others."""

CONTEXT_TOKENS: Mapping[str, int | None] = {
    "gpt-4.1": 1_047_576,
    "gpt-4.1-mini": 1_047_576,
    "gpt-4.1-nano": 1_047_576,
    "gpt-5.3": 400_000,
    "gpt-5.5": 1_050_000,
    "gpt-5.5-pro": 1_050_000,
    # Of all texts of one call together: https://developers.openai.com/api/reference/resources/embeddings
    "text-embedding-3-large": 300_000,
    "text-embedding-3-small": 300_000,
    "text-embedding-ada-002": 300_000,
}
"""What the library does not have, or has rounded down; from _MODELS."""

OUTPUT_TOKENS: tuple[tuple[str, int], ...] = (
    (r"text-embedding-.*|(omni|text)-moderation-.*", 0),
    (r"computer-use", 1_024),
    (r"gpt-4o(-mini)?-transcribe", 2_000),
    (r"gpt-3\.5-.*|ft:gpt-3\.5-.*|gpt-4-turbo|gpt-4-vision-preview|gpt-4o-2024-05-13", 4_096),
    (r"gpt-4", 8_192),
    (r"gpt-4o(-mini)?|gpt-4o(-mini)?-(audio|search)-preview.*|ft:gpt-4o.*|chatgpt-4o-latest", 16_384),
    (r"gpt-4\.5-preview|gpt-audio(-mini)?|(ft:)?(davinci|babbage)-002", 16_384),
    (r"(ft:)?gpt-4\.1(-.*)?|o1-preview|gpt-4-32k", 32_768),
    (r"o1-mini", 65_536),
    (r"o1|o1-pro|o3(-.*)?|(ft:)?o4-mini(-.*)?|codex-mini", 100_000),
    (r"gpt-5-pro", 272_000),
    (
        r"gpt-[56](\.\d)?(-(mini|nano|pro|codex|codex-mini|search-api|luna|sol|terra|astra|cyber))?|gpt-chat-latest",
        128_000,
    ),
)
"""The most tokens that OpenAI's models put out, by the library's ids for them: "max output tokens" of _MODELS."""

_PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9.:/@_-]*[a-z0-9])?")
_DATED = re.compile(r"\^(?P<stem>[a-z0-9\\.-]+)-\\d\{4\}-\\d\{2\}-\\d\{2\}\$")
_NO_SPEECH = "^(?!.*-[tT][tT][sS](?:$|-))"
"""Part of a clause for models other than those that speak: no version that `core.prices` knows contains `-tts`."""
_NEXT_DIGIT = re.compile(r"\^[a-z0-9\\.-]+-\\d")
"""Any revision: left out, since it could be another model's name."""
_REVISION = re.compile(r"-v(?:[02-9]|\d\d)(?::\d+)?$")


def generate(day: datetime) -> dict[str, Any]:
    """The table, with the prices that hold on `day`."""
    names: dict[str, dict[str, int]] = {part: {} for part in PARTS}
    prices: list[dict[str, Any]] = []
    for provider in _providers():
        for model in provider.models:
            if lists := _lists(model, day):
                for name in _names_of(provider, model):
                    names[provider.id].setdefault(name, len(prices))
                prices.append(_entry(model.id, _context_tokens(model), lists))
    for name, usd in ADDED.items():
        names["openai"][name] = len(prices)
        prices.append(_entry(name, None, {"default": [(0, _nano(usd))]}))
    for part, aliases in ALIASES.items():
        names[part].update({alias: names[part][name] for alias, name in aliases.items()})
    return {
        "source": f"genai-prices {version('genai-prices')}",
        "date": f"{day:%Y-%m-%d}",
        "tools": {kind: _nano(usd) for kind, usd in TOOLS.items()},
        "names": names,
        "prices": prices,
    }


def written(table: Mapping[str, Any]) -> str:
    """The table as JSON, with an entry on a line, so that a change can be read."""
    lines = ["{"]
    lines += [f" {json.dumps(key)}: {_json(table[key])}," for key in ("source", "date", "tools")]
    lines.append(' "names": {')
    for part, names in table["names"].items():
        entries = ",\n".join(f"   {json.dumps(name)}: {number}" for name, number in names.items())
        lines.append(f'  "{part}": {{\n{entries}\n  }}{"" if part == PARTS[-1] else ","}')
    lines += [" },", ' "prices": [', ",\n".join(f"  {_json(entry)}" for entry in table["prices"]), " ]", "}"]
    return "\n".join(lines) + "\n"


def _providers() -> list[types.Provider]:
    by_id = {provider.id: provider for provider in providers}
    return [by_id[part] for part in PARTS]


def _entry(model: str, context_tokens: int | None, lists: Mapping[str, Steps]) -> dict[str, Any]:
    output_tokens = next((most for ids, most in OUTPUT_TOKENS if re.fullmatch(ids, model)), None)
    limits = {"context_tokens": context_tokens, "output_tokens": output_tokens}
    return {"model": model, **{name: most for name, most in limits.items() if most is not None}, "lists": lists}


def _context_tokens(model: types.ModelInfo) -> int | None:
    """The library writes some of these as multiples of a thousand that are really multiples of 1,024: these are rounded
    up, since what counts here is the most."""
    if model.id in CONTEXT_TOKENS:
        return CONTEXT_TOKENS[model.id]
    tokens = model.context_window
    if model.id.startswith("text-embedding-") or not tokens:
        return None
    for decimal, binary in ((1_000_000, 1_048_576), (1_000, 1_024)):
        if tokens % decimal == 0:
            return tokens // decimal * binary
    return tokens


def _lists(model: types.ModelInfo, day: datetime) -> dict[str, Steps]:
    """The model's prices in each service tier that has its own; empty where the library knows none."""
    standard = _steps(model.get_prices(day), model.id)
    if not any(rates for _, rates in standard):
        return {}
    lists = {"default": standard}
    for tier in TIERS:
        steps = _steps(model.get_prices(day, {"service_tier": tier}), model.id)
        if any(variant.when == {"service_tier": tier} for variant in model.price_variants or ()):
            lists[tier] = steps
    return lists


def _steps(prices: types.ModelPrice, model: str) -> Steps:
    given = {key: price for key, price in vars(prices).items() if price is not None and key not in IGNORED}
    tiered = [price for price in given.values() if isinstance(price, types.TieredPrices)]
    starts = sorted({0, *(tier.start for price in tiered for tier in price.tiers)})
    added = _nano(COMPLETED.get(model, {}))
    return [(above, {RATES[key]: _at(price, above) for key, price in given.items()} | added) for above in starts]


def _at(price: Decimal | types.TieredPrices, above: int) -> int:
    """The price of an input that is longer than `above` tokens, in nano-dollars."""
    if isinstance(price, types.TieredPrices):
        return _nano_usd(next((tier.price for tier in reversed(price.tiers) if tier.start <= above), price.base))
    return _nano_usd(price)


def _nano(usd: Mapping[str, str]) -> Rates:
    return {name: _nano_usd(Decimal(price)) for name, price in usd.items()}


def _nano_usd(usd: Decimal) -> int:
    nano_usd = usd * 1_000_000_000
    if nano_usd != int(nano_usd):
        raise ValueError(f"{usd} dollars are no whole number of nano-dollars")
    return int(nano_usd)


def _names_of(provider: types.Provider, model: types.ModelInfo) -> Iterator[str]:
    """The names that lead to the model, without those that the library gives to a model before it."""
    for name in _clauses(provider.id, model.match, model.id):
        plain = name.strip("*").replace("YYYY-MM-DD", "2030-01-01")
        if provider.find_model(plain) is model and plain not in ADDED:
            yield name


def _clauses(part: str, clause: Any, model: str) -> Iterator[str]:
    match clause:
        case types.ClauseOr(or_=clauses) | types.ClauseAnd(and_=clauses):
            for inner in clauses:
                yield from _clauses(part, inner, model)
        case types.ClauseEquals(equals=text):
            yield text.lower()
        case types.ClauseStartsWith(starts_with=text):
            yield from _open(part, text, "{}*", model)
        case types.ClauseContains(contains=text):
            yield from _open(part, text, "*{}*" if part == "aws" else "{}*", model)
        case types.ClauseEndsWith(ends_with=text):
            if text.startswith("/"):
                yield text.removeprefix("/").lower()  # the end of a path
            else:
                yield from _open(part, text, "*{}" if part == "aws" else "{}", model)
        case types.ClauseRegex(regex=regex):
            if dated := _DATED.fullmatch(regex):
                yield f"{dated['stem']}-YYYY-MM-DD".replace("\\", "")
            elif regex != _NO_SPEECH and not _NEXT_DIGIT.fullmatch(regex):
                raise ValueError(f"{model}: the names that {regex} means have to be written here")


def _open(part: str, text: str, pattern: str, model: str) -> Iterator[str]:
    """What a clause for the beginning, the end or the middle of a name stands for."""
    text = text.lower()
    if text in NAMES[part]:
        yield from NAMES[part][text]
        return
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"{model}: the names that {text} means have to be written here")
    revision = _REVISION.search(model)
    for prefix in ("", "anthropic.") if part == "aws" and text.startswith("claude-") else ("",):
        yield pattern.format(prefix + text)
        if revision and model.endswith(text + revision[0]):
            yield pattern.format(prefix + text + revision[0])


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def main() -> None:
    day = datetime.now(UTC)
    TABLE_FILE.write_text(written(generate(day)), "utf-8")
    sys.stdout.write(f"{TABLE_FILE.name}: the prices of {day:%Y-%m-%d}\n")


if __name__ == "__main__":
    main()
