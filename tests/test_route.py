"""In which order targets are tried, and which ones are left alone."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from core.route import Rests, Target, order, routes
from core.settings import Settings
from manual_clock import ManualClock

_A, _B, _C = Target("a", "m"), Target("b", "m", priority=1), Target("c", "m", priority=2)


def _never() -> Rests:
    return Rests(30, ManualClock(0.0))


def test_the_order_of_preference() -> None:
    assert order([_B, _C, _A], _never(), Random(1).random) == [_A, _B, _C]


def test_a_single_target_needs_no_lottery_and_no_rest() -> None:
    def no_random() -> float:
        raise AssertionError

    rests = _never()
    rests.ended(_A, failed=True)
    assert order([_A], rests, no_random) == [_A]


def test_equal_priorities_share_by_weight() -> None:
    three, one, last = Target("a", weight=3), Target("b", weight=1), Target("c", priority=1)
    random = Random(7).random
    orders = Counter(tuple(order([three, one, last], _never(), random)) for _ in range(4000))
    assert set(orders) == {(three, one, last), (one, three, last)}
    assert orders[(three, one, last)] == pytest.approx(3000, abs=120)


def test_a_failed_target_rests_and_one_call_probes_it() -> None:
    clock, random = ManualClock(100.0), Random(1).random
    rests = Rests(30, clock)
    rests.began(_A)
    rests.ended(_A, failed=True)
    assert order([_A, _B], rests, random) == [_B, _A]
    clock.now = 129.9
    assert order([_A, _B], rests, random) == [_B, _A]
    clock.now = 130.0
    assert order([_A, _B], rests, random) == [_A, _B]
    rests.began(_A)  # the probe
    assert order([_A, _B], rests, random) == [_B, _A]
    rests.ended(_A, failed=False)
    assert order([_A, _B], rests, random) == [_A, _B]


@pytest.mark.parametrize("ends", [True, False], ids=["failed", "never heard of again"])
def test_a_probe_without_success_begins_a_new_rest(ends: bool) -> None:
    clock = ManualClock(0.0)
    rests = Rests(30, clock)
    rests.ended(_A, failed=True)
    clock.now = 30.0
    rests.began(_A)
    if ends:
        rests.ended(_A, failed=True)
    clock.now = 59.9
    assert rests.has(_A)
    clock.now = 60.0
    assert not rests.has(_A)


def test_if_all_rest_all_are_used() -> None:
    rests = _never()
    for target in (_B, _A, _C):
        rests.ended(target, failed=True)
    assert order([_C, _A, _B], rests, Random(1).random) == [_A, _B, _C]


def test_the_routes_of_the_settings() -> None:
    settings = Settings.read(
        {
            "upstreams": {"openai": {}, "spare": {"kind": "compatible", "base_url": "http://x"}},
            "models": {
                "fast": {"targets": [{"upstream": "openai", "weight": 2}, {"upstream": "spare", "weight": 1}]},
                "slow": {"targets": [{"upstream": "spare", "model": "big"}, {"upstream": "openai"}]},
            },
        },
        {"OPENAI_API_KEY": "sk-secret"},
    )
    assert routes(settings) == {
        "fast": [Target("openai", "fast", 0, 2), Target("spare", "fast", 0, 1)],
        "slow": [Target("spare", "big", 0, 1), Target("openai", "slow", 1, 1)],
    }
