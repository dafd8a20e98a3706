"""A clock that a test moves by hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ManualClock:
    now: float

    def __call__(self) -> float:
        return self.now
