"""Which upstream a call goes to, under which model's name, and which one is next if it fails there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from core.settings import Settings


class Target(NamedTuple):
    """One place where a model can be had."""

    upstream: str
    model: str | None = None
    """The model's name there; None where the call names none."""
    priority: int = 0
    """Lower is asked first."""
    weight: float = 1
    """Its share of the calls among those of equal priority."""


class Rests:
    """Which targets are left alone for a while after they failed. It holds as many as have failed, and each only once.

    A rest ends with one call that probes the target: the others go on avoiding it until that one has succeeded.
    """

    def __init__(self, rest_seconds: float, clock: Callable[[], float]) -> None:
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._until: dict[Target, float] = {}

    def has(self, target: Target) -> bool:
        return self._until.get(target, 0.0) > self._clock()

    def began(self, target: Target) -> None:
        """A call goes to `target` now. If it had failed, this is the probe, and its rest begins anew for the others."""
        if target in self._until:
            self._rest(target)

    def ended(self, target: Target, *, failed: bool) -> None:
        if failed:
            self._rest(target)
        else:
            self._until.pop(target, None)

    def _rest(self, target: Target) -> None:
        self._until[target] = self._clock() + self._rest_seconds


def routes(settings: Settings) -> Mapping[str, Sequence[Target]]:
    """The targets of each alias."""
    return {
        alias: [
            Target(target.upstream, target.model or alias, priority, target.weight or 1)
            for target, priority in zip(model.targets, model.priorities(), strict=True)
        ]
        for alias, model in settings.models.items()
    }


def order(targets: Sequence[Target], rests: Rests, random: Callable[[], float]) -> Sequence[Target]:
    """`targets` as they are to be tried: by priority, within it by a lottery of the weights, and resting ones last."""
    if len(targets) == 1:
        return targets
    # The largest of random ** (1 / weight) is each target's with the probability of its share, and so on for the rest
    # (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006).
    lots = {target: -(random() ** (1 / target.weight)) for target in targets}
    return sorted(targets, key=lambda target: (rests.has(target), target.priority, lots[target]))
