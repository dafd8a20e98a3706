"""Prices: the table against the library that it comes from, what usages cost, and what the operator can say."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from genai_prices import types
from genai_prices.data import providers

from core.errors import ConfigurationError
from core.price import Price, Rates, Step
from core.prices import TABLE_FILE, Prices, Table
from core.settings import Settings
from core.usage import Usage
from local.prices import ADDED, ALIASES, COMPLETED, IGNORED, PARTS, RATES, generate, written

_TABLE: dict[str, Any] = json.loads(TABLE_FILE.read_text("utf-8"))
_DAY = datetime.fromisoformat(_TABLE["date"]).replace(tzinfo=UTC)
_LIBRARY = {provider.id: provider for provider in providers if provider.id in PARTS}
_KIND_OF_PART = {"openai": "openai", "azure": "azure", "aws": "bedrock", "google": "vertex"}
_PRICES = Prices({})

_IN_THE_LIBRARY = {
    "input_tokens": "input_tokens",
    "cached_input_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "cached_audio_tokens": "cache_audio_read_tokens",
    "input_image_tokens": "input_image_tokens",
    "cached_image_tokens": "cache_image_read_tokens",
    "output_tokens": "output_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "output_image_tokens": "output_image_tokens",
    "characters": "input_characters",
    "web_searches": "web_searches",
    "file_searches": "storage_searches",
}
"""Our counts, and the library's names for them."""

_USAGES = {
    "none": Usage(),
    "input": Usage(input_tokens=1_001),
    "output": Usage(output_tokens=777),
    "cached": Usage(input_tokens=1_001, cached_input_tokens=1_000),
    "cache_write": Usage(input_tokens=1_001, cache_write_tokens=999),
    "input_audio": Usage(input_tokens=1_001, input_audio_tokens=501),
    "cached_audio": Usage(input_tokens=1_001, cached_input_tokens=400, input_audio_tokens=501, cached_audio_tokens=300),
    "input_image": Usage(input_tokens=1_001, input_image_tokens=501),
    "cached_image": Usage(input_tokens=1_001, cached_input_tokens=400, input_image_tokens=501, cached_image_tokens=300),
    "reasoning": Usage(output_tokens=777, reasoning_tokens=333),
    "output_audio": Usage(output_tokens=777, output_audio_tokens=333),
    "output_image": Usage(output_tokens=777, output_image_tokens=333),
    "characters": Usage(characters=12_345),
    "audio": Usage(audio_milliseconds=61_234),
    "web_searches": Usage(web_searches=3),
    "file_searches": Usage(file_searches=7),
    "all": Usage(
        input_tokens=9_001,
        cached_input_tokens=3_003,
        cache_write_tokens=1_000,
        input_audio_tokens=2_000,
        cached_audio_tokens=999,
        input_image_tokens=1_001,
        cached_image_tokens=501,
        output_tokens=5_005,
        reasoning_tokens=1_111,
        output_audio_tokens=1_112,
        output_image_tokens=1_113,
        audio_milliseconds=3_601_001,
        characters=17,
        web_searches=1,
        file_searches=2,
    ),
    **{
        f"{name}, {tokens} long": Usage(
            input_tokens=tokens, output_tokens=100, cached_input_tokens=cached, cache_write_tokens=cached // 7
        )
        for tokens in (100_000, 100_001, 128_000, 128_001, 200_000, 200_001, 272_000, 272_001, 1_000_000)
        for name, cached in (("input", 0), ("cached", tokens // 3))
    },
}


@dataclass(frozen=True)
class _Model:
    part: str
    info: types.ModelInfo
    name: str
    """One that leads to it."""

    def price(self) -> Price:
        price = _PRICES.find(_KIND_OF_PART[self.part], self.name)
        assert price is not None
        return price


def _models() -> Iterator[_Model]:
    for part in PARTS:
        named: dict[int, str] = {}
        for name, number in _TABLE["names"][part].items():
            named.setdefault(number, name.strip("*").replace("YYYY-MM-DD", "2030-01-01"))
        for name in named.values():
            info = _LIBRARY[part].find_model(name)
            if info is not None and name not in ADDED:
                yield _Model(part, info, name)


_MODELS = list(_models())


def _tiers(model: _Model) -> Iterator[str | None]:
    yield from (None, "default")
    for variant in model.info.price_variants or ():
        active = variant.constraint is None or variant.constraint.active(_DAY)
        if active and variant.when.get("service_tier", "default") != "default":
            yield variant.when["service_tier"]


def _library_nano_usd(model: _Model, usage: Usage) -> Decimal:
    prices = model.info.get_prices(_DAY, {"service_tier": usage.service_tier} if usage.service_tier else None)
    counts: dict[str, int | Decimal] = {name: getattr(usage, ours) for ours, name in _IN_THE_LIBRARY.items()}
    counts["audio_seconds"] = counts["input_audio_seconds"] = Decimal(usage.audio_milliseconds) / 1000
    return prices.calc_price(types.Usage(**counts))["total_price"] * 1_000_000_000


def _comparable(model: _Model, usage: Usage) -> Usage:
    """`usage` without what the library has no price for where we have one: the tools of a model for which it names
    none, and what `local/prices.py` completes."""
    prices = vars(model.info.get_prices(_DAY))
    ours = COMPLETED.get(model.info.id, {}) if model.part == "openai" else {}
    left_out: dict[str, Any] = {}
    for name, key in (("web_searches", "web_searches_kcount"), ("file_searches", "storage_searches_kcount")):
        if key not in prices:
            left_out[name] = 0
    if "input_audio" in ours:
        left_out |= {"input_audio_tokens": 0, "cached_audio_tokens": 0, "output_audio_tokens": 0}
    return usage._replace(**left_out)


@pytest.mark.parametrize("part", PARTS)
def test_each_model_costs_what_the_library_says(part: str) -> None:
    compared = 0
    for model in (model for model in _MODELS if model.part == part):
        price = model.price()
        for (label, usage), tier in product(_USAGES.items(), _tiers(model)):
            asked = _comparable(model, usage)._replace(service_tier=tier)
            ours, theirs = price.cost_nano_usd(asked), _library_nano_usd(model, asked)
            assert theirs - Decimal("0.000001") <= ours < theirs + 1, (model.name, label, tier)
            compared += 1
    assert compared > 500


def test_every_price_and_every_model_of_the_library_is_taken_over() -> None:
    for part in PARTS:
        taken = {model.info.id for model in _MODELS if model.part == part}
        priced = {model.id: vars(model.get_prices(_DAY)) for model in _LIBRARY[part].models}
        for model, prices in priced.items():
            assert set(prices) <= {*RATES, *IGNORED}, model
            assert prices.get("input_audio_hours", prices.get("audio_hours")) == prices.get("audio_hours"), model
        left_out = {model for model, prices in priced.items() if prices} - taken
        assert left_out <= {"gpt-4o-mini-2024-07-18.ft-"}


def test_the_table_is_what_the_generator_makes() -> None:
    """Of the library's locked version, for the day it was made: otherwise, `make prices` is due."""
    assert TABLE_FILE.read_text("utf-8") == written(generate(_DAY))


_BEFORE = ("", "us.", "global.", "apac.", "xx.", "anthropic.", "us.anthropic.", "openai/", "my-")
_AFTER = (
    *("", "-2030-01-01", "-20300101", "@20300101", "-v1:0", "-v2:0", "-v1", ":0", "-001", "-0125", "-preview"),
    *("-latest", "-mini", "-pro", "-nano", "-audio", "-tts", "-preview-tts", "-deep-research", ".1", "-1", "0", "x"),
)


@pytest.mark.parametrize("part", PARTS)
def test_a_name_that_is_found_is_the_same_model_in_the_library(part: str) -> None:
    """The library's clauses take more names than the table; none that the table takes is another model there."""
    table = Table(_TABLE)
    ours = {*ADDED, *ALIASES.get(part, {})}
    found = 0
    for name, before, after in product(_TABLE["names"][part], _BEFORE, _AFTER):
        asked = before + name.strip("*").replace("YYYY-MM-DD", "2030-01-01") + after
        number = table.find_in((part,), asked)
        if number is not None and asked not in ours:
            model = _LIBRARY[part].find_model(asked)
            assert model is not None, asked
            assert _TABLE["prices"][number]["model"] == model.id, asked
            found += 1
    assert found > 20


@pytest.mark.parametrize("part", PARTS)
def test_a_word_more_makes_another_model(part: str) -> None:
    """It could be a dearer one, though the library's clauses often take it for the same."""
    table = Table(_TABLE)
    known = {name.strip("*") for name in _TABLE["names"][part]}
    for name, word in product(known, ("mini", "pro", "nano", "audio", "tts", "ultra", "search", "max", "5")):
        asked = f"{name}-{word}"
        assert asked in known or table.find_in((part,), asked) is None, asked


@pytest.mark.parametrize(
    ("kind", "name", "input_nano_usd"),
    [
        ("openai", "gpt-4o-mini", 150),
        ("openai", "gpt-4o-mini-2024-07-18", 150),
        ("openai", "GPT-4o-Mini", 150),
        ("openai", "gpt-4o-2024-05-13", 5_000),
        ("openai", "gpt-4o-2024-08-06", 2_500),
        ("openai", "gpt-4o-audio-preview-2024-12-17", 2_500),
        ("openai", "gpt-5.6-sol-2026-07-01", 4_000),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme:support:9abc", 300),
        ("openai", "ft:gpt-4.1-2025-04-14:acme::9abc", 3_000),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme:support:9abc:ckpt-step-90", 300),
        ("openai", "omni-moderation-latest", 0),
        ("azure", "gpt-35-turbo", 500),
        ("azure", "gpt-5.4", 2_500),
        ("azure", "o4-mini-deep-research", 2_000),
        ("bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0", 3_000),
        ("bedrock", "us.anthropic.claude-opus-4-5-20251101-v1:0", 5_500),
        ("bedrock", "global.anthropic.claude-opus-4-5-20251101-v1:0", 5_000),
        ("bedrock", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0", 60),
        ("bedrock", "openai.gpt-oss-120b", 150),
        ("vertex", "google/gemini-2.5-flash", 300),
        ("vertex", "gemini-2.0-flash-001", 100),
        ("vertex", "claude-haiku-4-5@20251001", 1_000),
    ],
)
def test_models_are_found_by_the_names_of_their_upstreams(kind: str, name: str, input_nano_usd: int) -> None:
    price = _PRICES.find(kind, name)
    assert price is not None
    assert price.cost_nano_usd(Usage(input_tokens=1)) == input_nano_usd


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("openai", name) for name in ("", "*", "gpt-4o*", "computer-use*", "gpt", "gpt-4o-ultra", "my-gpt-4o")),
        *(("openai", name) for name in ("gpt-4o-mini-mini", "gpt-4o-2030-01-01", "ft:gpt-9:acme::1", "x" * 100_000)),
        ("openai", "gpt-5.6-sol-yyyy-mm-dd"),
        ("openai", "claude-opus-5"),
        ("openai", "my-moderation-model"),
        ("azure", "my-deployment"),
        ("azure", "o4-mini-ultra"),
        ("bedrock", "amazon.nova-lite-v2:0"),
        ("bedrock", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/ab12cd34"),
        ("vertex", "gemini-2.5-pro-max"),
        ("compatible", "gpt-4o-mini"),
    ],
)
def test_a_model_that_is_not_known_has_no_price(kind: str, name: str) -> None:
    assert _PRICES.find(kind, name) is None


def test_a_dearer_model_among_the_names_of_another_has_its_own_price() -> None:
    search = _PRICES.find("openai", "gpt-4o-mini-search-preview")
    assert search is not None
    assert search.cost_nano_usd(Usage(web_searches=1)) == 25_000_000


@pytest.mark.parametrize(
    ("model", "usage", "nano_usd"),
    [
        ("dall-e-3", Usage(images=2), 240_000_000),
        ("dall-e-2", Usage(images=1), 20_000_000),
        ("whisper-1", Usage(audio_milliseconds=60_000), 6_000_000),
        ("tts-1", Usage(characters=1), 15_000),
        ("gpt-4o-audio-preview", Usage(input_tokens=3, input_audio_tokens=1), 45_000),
        ("gpt-4.1", Usage(containers=1, file_searches=1, web_searches=1), 42_500_000),
        ("gpt-3.5-turbo", Usage(web_searches=1), 10_000_000),  # of which the library says nothing
        ("omni-moderation-latest", Usage(input_tokens=1_000), 0),
    ],
)
def test_what_is_not_paid_by_the_token(model: str, usage: Usage, nano_usd: int) -> None:
    price = _PRICES.find("openai", model)
    assert price is not None
    assert price.cost_nano_usd(usage) == nano_usd


def test_limits_of_models() -> None:
    mini, embeddings, gemini = (
        _PRICES.find(kind, name)
        for kind, name in (
            ("openai", "gpt-4o-mini"),
            ("openai", "text-embedding-3-small"),
            ("vertex", "gemini-2.5-pro"),
        )
    )
    assert mini is not None
    assert (mini.context_tokens, mini.output_tokens) == (131_072, 16_384)
    assert embeddings is not None
    assert (embeddings.context_tokens, embeddings.output_tokens) == (300_000, 0)
    assert gemini is not None
    assert gemini.output_tokens is None


def test_a_cost_is_rounded_up_to_a_whole_nano_dollar() -> None:
    nano = Price((Step(0, Rates.of({"input": 1, "audio_hours": 1, "web_searches": 1})),), {})
    assert nano.cost_nano_usd(Usage()) == 0
    assert nano.cost_nano_usd(Usage(input_tokens=1)) == 1
    assert nano.cost_nano_usd(Usage(input_tokens=1_000_000)) == 1
    assert nano.cost_nano_usd(Usage(input_tokens=1_000_001)) == 2
    assert nano.cost_nano_usd(Usage(audio_milliseconds=3_600_001)) == 2
    assert nano.cost_nano_usd(Usage(input_tokens=500_000, audio_milliseconds=900_000, web_searches=250)) == 1


def test_a_service_tier_of_no_known_price_costs_what_the_dearest_does() -> None:
    price = _PRICES.find("openai", "gpt-5.4")
    assert price is not None
    usage = Usage(input_tokens=1_000, output_tokens=1_000)
    flex, standard, priority, unknown = (
        price.cost_nano_usd(usage._replace(service_tier=tier)) for tier in ("flex", None, "priority", "turbo")
    )
    assert flex < standard < priority == unknown


def test_kinds_that_come_to_more_than_all_tokens_cost_no_more_than_these_can() -> None:
    price = _PRICES.find("openai", "gpt-4o-audio-preview")
    assert price is not None
    absurd = Usage(
        input_tokens=10, input_audio_tokens=1_000, cached_input_tokens=99, output_tokens=5, reasoning_tokens=9
    )
    assert price.cost_nano_usd(absurd) == 10 * 40_000 + 5 * 10_000


_TOKEN_KINDS = {
    "input_tokens": (
        *("cached_input_tokens", "cache_write_tokens", "input_audio_tokens"),
        *("cached_audio_tokens", "input_image_tokens", "cached_image_tokens"),
    ),
    "output_tokens": ("reasoning_tokens", "output_audio_tokens", "output_image_tokens"),
}
_OTHERS = ("images", "audio_milliseconds", "characters", "web_searches", "file_searches", "containers")
_LONGEST = (0, 1, 999, 100_001, 128_001, 200_001, 272_001, 300_000, 2_000_000)


def _bound(chance: random.Random, tiers: tuple[str | None, ...]) -> Usage:
    tokens = {name: chance.choice(_LONGEST) for name in _TOKEN_KINDS}
    others = {name: chance.choice((0, 1, 7, 100_003)) for name in _OTHERS}
    return Usage(**tokens, **others, service_tier=chance.choice(tiers))


def _within(chance: random.Random, bound: Usage, tiers: tuple[str | None, ...]) -> Usage:
    """Any usage within the bound, consistent or not."""
    counts = {
        name: chance.choice((0, chance.randint(0, getattr(bound, name)), getattr(bound, name)))
        for name in (*_TOKEN_KINDS, *_OTHERS)
    }
    for whole, kinds in _TOKEN_KINDS.items():
        for kind in kinds:
            counts[kind] = chance.choice((0, chance.randint(0, counts[whole]), counts[whole]))
    tier = chance.choice(tiers if bound.service_tier == "auto" else (None, "default", bound.service_tier))
    return Usage(**counts, service_tier=tier)


def test_no_usage_within_a_bound_costs_more_than_the_most() -> None:
    chance = random.Random(4)
    reached = 0
    for model in _MODELS:
        price = model.price()
        tiers = (None, "default", "auto", "turbo", *price.tiers)
        for _ in range(60):
            bound = _bound(chance, tiers)
            usage = _within(chance, bound, tiers)
            cost, most = price.cost_nano_usd(usage), price.most_nano_usd(bound)
            assert cost <= most, (model.name, bound, usage)
            reached += 0 < cost == most
    assert reached > 100  # it is no looser than it has to be


def test_the_most_of_a_bound_is_that_of_its_dearest_kinds() -> None:
    price = _PRICES.find("openai", "gpt-4o-audio-preview")
    assert price is not None
    assert price.most_nano_usd(Usage(input_tokens=10, output_tokens=2)) == 10 * 40_000 + 2 * 80_000


def _overridden(tmp_path: Path, toml: str) -> Prices:
    file = tmp_path / "trefoil.toml"
    azure = "[upstreams.azure]\nbase_url = 'https://r.openai.azure.com'\napi_key_env = 'AZURE_KEY'\n"
    file.write_text(f"[upstreams.openai]\n{azure}{toml}", "utf-8")
    variables = {"OPENAI_API_KEY": "sk-1", "AZURE_KEY": "secret", "TREFOIL_CONFIG": str(file)}
    return Prices(Settings.load(variables).prices)


def test_a_deployment_that_costs_what_a_model_does(tmp_path: Path) -> None:
    prices = _overridden(tmp_path, '[prices."My-Mini"]\nsame_as = "gpt-4o-mini"\noutput_tokens = 500\n')
    price, model = prices.find("azure", "My-Mini"), _PRICES.find("azure", "gpt-4o-mini")
    assert price is not None
    assert model is not None
    assert price == model._replace(output_tokens=500)
    assert prices.find("azure", "My-Mini") is price
    assert prices.find("compatible", "My-Mini") is not None


def test_what_is_written_holds_for_all_tiers_and_lengths(tmp_path: Path) -> None:
    prices = _overridden(tmp_path, '[prices."gpt-5.4"]\nsame_as = "gpt-5.4"\ninput_usd_per_million = 2.75\n')
    price, table = prices.find("openai", "gpt-5.4"), _PRICES.find("openai", "gpt-5.4")
    assert price is not None
    assert table is not None
    for tier, tokens in product((None, "flex", "priority"), (1_000, 300_000)):
        assert price.cost_nano_usd(Usage(input_tokens=tokens, service_tier=tier)) == tokens * 2_750
    long = Usage(output_tokens=10, service_tier="flex")
    assert price.cost_nano_usd(long) == table.cost_nano_usd(long)


def test_prices_of_ones_own_are_exact(tmp_path: Path) -> None:
    prices = _overridden(
        tmp_path,
        "[prices.house]\ninput_usd_per_million = 0.1\noutput_usd_per_million = 0.000000007\nusd_per_minute = 0.006\n"
        "usd_per_image = 1\ncontext_tokens = 9\n[prices.free]\ninput_usd_per_million = 0\noutput_usd_per_million = 0\n",
    )
    house, free = prices.find("compatible", "house"), prices.find("compatible", "free")
    assert house is not None
    assert house.cost_nano_usd(Usage(input_tokens=3)) == 300
    assert house.cost_nano_usd(Usage(output_tokens=1_000_000)) == 7
    assert house.cost_nano_usd(Usage(audio_milliseconds=1_000)) == 100_000
    assert house.cost_nano_usd(Usage(images=1)) == 1_000_000_000
    assert (house.context_tokens, house.output_tokens) == (9, None)
    assert free is not None
    assert free.cost_nano_usd(_USAGES["all"]) == 0


def test_a_price_can_be_for_one_upstream(tmp_path: Path) -> None:
    toml = '[prices."gpt-4o"]\nupstream = "azure"\nsame_as = "gpt-4o"\ninput_usd_per_million = 9\n'
    prices = _overridden(tmp_path, toml)
    found = [
        prices.find("azure", "gpt-4o", "azure"),
        prices.find("openai", "gpt-4o", "openai"),
        prices.find("openai", "gpt-4o"),
    ]
    assert [price and price.cost_nano_usd(Usage(input_tokens=1)) for price in found] == [9_000, 2_500, 2_500]


@pytest.mark.parametrize(
    ("price", "mistake"),
    [
        ("", "prices.m: write a price (0 if it is free), or same_as."),
        ("context_tokens = 5", "prices.m: write a price (0 if it is free), or same_as."),
        ("input_usd_per_million = 1", "prices.m: write both input_usd_per_million and output_usd_per_million"),
        ("output_usd_per_million = 1", "prices.m: write both input_usd_per_million and output_usd_per_million"),
        ("usd_per_image = -1", "prices.m.usd_per_image: input should be greater than or equal to 0."),
        ("usd_per_image = nan", "prices.m.usd_per_image: input should be a finite number."),
        ("usd_per_image = inf", "prices.m.usd_per_image: input should be a finite number."),
        ("usd_per_image = 1e99", "prices.m.usd_per_image: input should be less than or equal to 1000000."),
        ("usd_per_image = 0.0000000001", "prices.m.usd_per_image: decimal input should have no more than 9 decimal"),
        ('usd_per_image = "dear"', "prices.m.usd_per_image: input should be a valid decimal."),
        ("usd_per_imag = 1", "prices.m.usd_per_imag: there is no such setting."),
        ('same_as = "gpt-9"', "prices.m.same_as: no price of 'gpt-9' is known: write another model's name"),
        (
            'same_as = "gpt-4o"\nupstream = "gcp"',
            "prices.m.upstream: 'gcp' is none of the upstreams, which are openai,",
        ),
    ],
)
def test_a_mistake_in_a_price_is_named(tmp_path: Path, price: str, mistake: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        _overridden(tmp_path, f"[prices.m]\n{price}\n")
    assert mistake in str(raised.value)


def test_a_price_has_to_be_a_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"prices\.m is no table"):
        _overridden(tmp_path, "[prices]\nm = 5\n")


def test_the_table_is_read_when_it_is_first_needed(tmp_path: Path) -> None:
    missing = Prices({}, tmp_path / "missing.json")
    with pytest.raises(FileNotFoundError):
        missing.find("openai", "gpt-4o")
