"""OpenAI's own test suite passes through each cloud as it does without, and upstream receives the same bytes."""

from __future__ import annotations

import pytest

from conformance import Conformance, table
from local.services import CLOUDS
from missing import Missing

pytestmark = pytest.mark.slow

_ONLY = "not loose"
"""A loose client sends what a strict one does and takes more: `make conformance` runs those tests too."""
_FEWEST_ON_THE_WIRE = 700
"""Fewer tests that reach upstream would mean that the suite did not run as it should."""


@pytest.fixture(scope="module")
def conformance(tmp_path_factory: pytest.TempPathFactory) -> Conformance:
    try:
        measured = Conformance.measure(tmp_path_factory.mktemp("conformance"), only=_ONLY)
    except Missing as missing:
        pytest.skip(str(missing))
    print(f"\n{table(measured)}")
    return measured


def test_the_suite_was_run(conformance: Conformance) -> None:
    assert len(conformance.on_the_wire) > _FEWEST_ON_THE_WIRE


@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_passes_without_the_service_passes_through_it(conformance: Conformance, cloud: str) -> None:
    assert conformance.lost(cloud) == {}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_upstream_receives_what_was_sent(conformance: Conformance, cloud: str) -> None:
    assert conformance.changed(cloud) == {}
