"""What is made of measurements: medians, percentiles, ratios within a round, slopes. Pure."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them, between 0 and 1, do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line that fits `points` best, by least squares; 0 where there is no such line."""
    if len({x for x, _ in points}) < 2:
        return 0.0
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


@dataclass(slots=True)
class Samples:
    """What the rounds of one run measured: one value per variant, metric and round."""

    _values: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, variant: str, metric: str, value: float) -> None:
        self._values[variant, metric].append(value)

    def has(self, variant: str, metric: str) -> bool:
        return (variant, metric) in self._values

    def median(self, variant: str, metric: str) -> float:
        return statistics.median(self._values[variant, metric])

    def spread(self, variant: str, metric: str) -> tuple[float, float]:
        """The smallest and the largest."""
        values = self._values[variant, metric]
        return min(values), max(values)

    def ratio(self, metric: str, above: str, below: str) -> float:
        """The median of the rounds' own ratios, which a slow minute of the machine does not reach."""
        pairs = zip(self._values[above, metric], self._values[below, metric], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def difference(self, metric: str, variant: str, less: str) -> float:
        """The median of the rounds' own differences."""
        pairs = zip(self._values[variant, metric], self._values[less, metric], strict=True)
        return statistics.median(a - b for a, b in pairs)
