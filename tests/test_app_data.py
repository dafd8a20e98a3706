"""What is kept of an app is known to those who delete it."""

from __future__ import annotations

import re

from core import app_data
from local.staging import REPOSITORY

_ELSEWHERE = {
    "keys": "deleted with the keys themselves",
    "ledger": "core.books",
    "usage": "core.books",
    "versions": "claims, which end by themselves within a minute",
    "name": "what keeps the name free",
}


def test_every_place_that_the_core_writes_to_is_known() -> None:
    sources = [file.read_text("utf-8") for file in (REPOSITORY / "core").glob("*.py") if file.name != "app_data.py"]
    written = {place for source in sources for place in re.findall(r'"apps/\{[\w.]+\}/(\w+)', source)}
    assert written | {"name"} == {partition.partition("/")[0] for partition in app_data.PARTITIONS} | set(_ELSEWHERE)
