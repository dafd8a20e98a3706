"""What one model costs: its rates, and what a call's usage comes to. Pure, and in whole numbers throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from core.usage import Usage

_SCALE = 18_000_000
"""Amounts are summed in parts of a nano-dollar so small that a price for a million, for a thousand, and one for an hour
counted in milliseconds (3,600,000) all divide into them: 18,000,000 is their least common multiple."""
_PER_MILLION = _SCALE // 1_000_000
_PER_THOUSAND = _SCALE // 1_000
_PER_HOUR = _SCALE // 3_600_000

_DEFAULT_TIERS = (None, "default")
"""What a service tier is called that costs the standard price."""


class Rates(NamedTuple):
    """Nano-dollars for a million tokens of a kind, and for what else is paid. (At a cold start, a named tuple takes a
    fifth of the time that a dataclass takes to be made.)"""

    input: int
    """Text, and what has no rate of its own."""
    cached_input: int
    cache_write: int
    input_audio: int
    cached_audio: int
    input_image: int
    cached_image: int
    output: int
    reasoning: int
    output_audio: int
    output_image: int
    characters: int
    """For a million of them."""
    audio_hours: int
    """For an hour."""
    images: int
    """For one, as those below are."""
    containers: int
    web_searches: int
    """For a thousand, as those below are."""
    file_searches: int
    dearest_input: int
    """That of the dearest of the kinds that input can be of."""
    dearest_output: int

    @classmethod
    def of(cls, given: Mapping[str, int]) -> Rates:
        """The rates that a model's list names; tokens of a kind that it does not name cost what their wider kind does,
        and anything else that it does not name costs nothing."""
        text = given.get("input", 0)
        output = given.get("output", 0)
        cached = given.get("cached_input", text)
        audio = given.get("input_audio", text)
        image = given.get("input_image", text)
        inputs = {
            "input": text,
            "cached_input": cached,
            "cache_write": given.get("cache_write", text),
            "input_audio": audio,
            "cached_audio": given.get("cached_audio", audio if "input_audio" in given else cached),
            "input_image": image,
            "cached_image": given.get("cached_image", image if "input_image" in given else cached),
        }
        outputs = {
            "output": output,
            "reasoning": given.get("reasoning", output),
            "output_audio": given.get("output_audio", output),
            "output_image": given.get("output_image", output),
        }
        return cls(
            **inputs,
            **outputs,
            characters=given.get("characters", 0),
            audio_hours=given.get("audio_hours", 0),
            images=given.get("images", 0),
            containers=given.get("containers", 0),
            web_searches=given.get("web_searches", 0),
            file_searches=given.get("file_searches", 0),
            dearest_input=max(inputs.values()),
            dearest_output=max(outputs.values()),
        )


class Step(NamedTuple):
    """The rates of all of a call's tokens where its input is longer than `above_input_tokens`."""

    above_input_tokens: int
    rates: Rates


class Price(NamedTuple):
    """What a model costs, and the most that it can take in and put out."""

    standard: Sequence[Step]
    """From the shortest input up; the first step's is any."""
    tiers: Mapping[str, Sequence[Step]]
    """The same for the service tiers that have prices of their own."""
    context_tokens: int | None = None
    """The most tokens that one call can take in; at times rounded up. None where it is not known."""
    output_tokens: int | None = None
    """The most tokens that one call can put out. None where it is not known."""

    def cost_nano_usd(self, usage: Usage) -> int:
        """What the usage costs, rounded up to a whole nano-dollar. A service tier of no known price costs what the
        dearest known one does."""
        return _round_up(max([_cost(_rates(steps, usage), usage) for steps in self._lists(usage.service_tier)]))

    def most_nano_usd(self, bound: Usage) -> int:
        """The most that any usage within `bound` can cost, whatever kinds its tokens turn out to be of.

        Of `bound`, the tokens count as sums only, without their kinds. A call that asks for its service tier may be
        served by the default one, so the bound holds for both; for a tier of no known price, such as `auto`, it holds
        for all.
        """
        lists = self._lists(bound.service_tier)
        reached = [
            step.rates
            for steps in (lists if self.standard in lists else (self.standard, *lists))
            for number, step in enumerate(steps)
            if number == 0 or bound.input_tokens > step.above_input_tokens
        ]
        return _round_up(max([_most(rates, bound) for rates in reached]))

    def _lists(self, tier: str | None) -> Sequence[Sequence[Step]]:
        """The price lists of which the dearest is to be paid."""
        if tier in _DEFAULT_TIERS:
            return (self.standard,)
        if tier in self.tiers:
            return (self.tiers[tier],)
        return (self.standard, *self.tiers.values())


def _rates(steps: Sequence[Step], usage: Usage) -> Rates:
    rates = steps[0].rates
    for step in steps[1:]:
        if usage.input_tokens > step.above_input_tokens:
            rates = step.rates
    return rates


def _cost(rates: Rates, usage: Usage) -> int:
    """In parts of a nano-dollar.

    Each token is paid once. Where the kinds that upstream reports come to more than all tokens, those that are named
    first here have precedence: a usage never costs more than as many tokens can.
    """
    cached_text = usage.cached_input_tokens - usage.cached_audio_tokens - usage.cached_image_tokens
    tokens = _split(
        usage.input_tokens,
        rates.input,
        (usage.cached_audio_tokens, rates.cached_audio),
        (usage.cached_image_tokens, rates.cached_image),
        (usage.input_audio_tokens - usage.cached_audio_tokens, rates.input_audio),
        (usage.input_image_tokens - usage.cached_image_tokens, rates.input_image),
        (usage.cache_write_tokens, rates.cache_write),
        (cached_text, rates.cached_input),
    )
    tokens += _split(
        usage.output_tokens,
        rates.output,
        (usage.output_audio_tokens, rates.output_audio),
        (usage.output_image_tokens, rates.output_image),
        (usage.reasoning_tokens, rates.reasoning),
    )
    return tokens * _PER_MILLION + _other(rates, usage)


def _most(rates: Rates, bound: Usage) -> int:
    tokens = bound.input_tokens * rates.dearest_input + bound.output_tokens * rates.dearest_output
    return tokens * _PER_MILLION + _other(rates, bound)


def _split(tokens: int, rate: int, *kinds: tuple[int, int]) -> int:
    """`tokens` times the rates of the kinds that they are of, and times `rate` those that are of none."""
    cost = 0
    for count, rate_of_kind in kinds:
        if count > 0:
            taken = min(count, tokens)
            tokens -= taken
            cost += taken * rate_of_kind
    return cost + tokens * rate


def _other(rates: Rates, usage: Usage) -> int:
    searches = usage.web_searches * rates.web_searches + usage.file_searches * rates.file_searches
    pieces = usage.images * rates.images + usage.containers * rates.containers
    return (
        usage.characters * rates.characters * _PER_MILLION
        + usage.audio_milliseconds * rates.audio_hours * _PER_HOUR
        + searches * _PER_THOUSAND
        + pieces * _SCALE
    )


def _round_up(parts: int) -> int:
    return -(-parts // _SCALE)
