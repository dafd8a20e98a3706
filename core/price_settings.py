"""What a model costs, as `[prices."MODEL"]` of `trefoil.toml` says it: for models and deployments that the table of
prices does not have, or has with another price."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

from core.model import limited
from core.upstream_settings import Section

_NANO_USD = 1_000_000_000

Usd = Annotated[Decimal, limited(ge=0, le=1_000_000, decimal_places=9, allow_inf_nan=False)]
"""Dollars, which are a whole number of nano-dollars. A TOML number is taken as it is written, not as a binary float."""


class PriceSettings(Section):
    """A model's prices. What is left out is that of `same_as`; without one, it costs nothing."""

    same_as: Annotated[str, limited(min_length=1)] | None = None
    """The model of the table that this one is or costs as much as."""
    upstream: str | None = None
    """The only upstream that this price is for; by default all."""
    input_usd_per_million: Usd | None = None
    cached_input_usd_per_million: Usd | None = None
    cache_write_usd_per_million: Usd | None = None
    input_audio_usd_per_million: Usd | None = None
    cached_audio_usd_per_million: Usd | None = None
    input_image_usd_per_million: Usd | None = None
    cached_image_usd_per_million: Usd | None = None
    output_usd_per_million: Usd | None = None
    reasoning_usd_per_million: Usd | None = None
    output_audio_usd_per_million: Usd | None = None
    output_image_usd_per_million: Usd | None = None
    usd_per_million_characters: Usd | None = None
    usd_per_minute: Usd | None = None
    usd_per_image: Usd | None = None
    usd_per_thousand_web_searches: Usd | None = None
    usd_per_thousand_file_searches: Usd | None = None
    usd_per_container: Usd | None = None
    context_tokens: Annotated[int, limited(gt=0)] | None = None
    """The most tokens that one call can take in and put out together."""
    output_tokens: Annotated[int, limited(ge=0)] | None = None
    """The most tokens that the model itself puts out for one call."""

    def nano_usd(self) -> Mapping[str, int]:
        """The prices that are written, by their names in `core.price.Rates`."""
        written = {rate: getattr(self, name) for rate, name in _RATES.items()}
        rates = {rate: int(usd * _NANO_USD) for rate, usd in written.items() if usd is not None}
        if self.usd_per_minute is not None:
            rates["audio_hours"] = int(self.usd_per_minute * _NANO_USD) * 60
        return rates

    def _fits_together(self, _context: None) -> None:
        if self.same_as is None:
            if not self.nano_usd():
                raise ValueError("write a price (0 if it is free), or same_as")
            if (self.input_usd_per_million is None) != (self.output_usd_per_million is None):
                raise ValueError(
                    "write both input_usd_per_million and output_usd_per_million (0 if one is free), or same_as"
                )


_RATES: Mapping[str, str] = {
    "input": "input_usd_per_million",
    "cached_input": "cached_input_usd_per_million",
    "cache_write": "cache_write_usd_per_million",
    "input_audio": "input_audio_usd_per_million",
    "cached_audio": "cached_audio_usd_per_million",
    "input_image": "input_image_usd_per_million",
    "cached_image": "cached_image_usd_per_million",
    "output": "output_usd_per_million",
    "reasoning": "reasoning_usd_per_million",
    "output_audio": "output_audio_usd_per_million",
    "output_image": "output_image_usd_per_million",
    "characters": "usd_per_million_characters",
    "images": "usd_per_image",
    "web_searches": "usd_per_thousand_web_searches",
    "file_searches": "usd_per_thousand_file_searches",
    "containers": "usd_per_container",
}
"""The settings that differ from a rate only by nine digits."""
