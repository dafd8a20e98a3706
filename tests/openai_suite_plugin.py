"""A pytest plugin that runs inside OpenAI's own test suite, whose files stay as they are: it gives the suite's clients
another key, and tells the recording proxy which test is running.
"""

from __future__ import annotations

import http.client
import os
import sys
from urllib.parse import quote

import pytest

KEY_VARIABLE = "TREFOIL_SUITE_KEY"
RECORDER_VARIABLE = "TREFOIL_SUITE_RECORDER"
"""Host and port of the recording proxy."""
TEST_PATH = "/__test__/"
"""Before a test's name, percent-encoded: what the recording proxy does not pass on."""


class _Announcer:
    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=30)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._connection.request("PUT", TEST_PATH + quote(item.nodeid, safe=""))
        self._connection.getresponse().read()

    def pytest_sessionfinish(self) -> None:
        self._connection.close()


def pytest_configure(config: pytest.Config) -> None:
    if address := os.environ.get(RECORDER_VARIABLE):
        config.pluginmanager.register(_Announcer(address))


def pytest_sessionstart() -> None:
    """The suite's fixtures read the key from their module when they are set up, which is later."""
    if key := os.environ.get(KEY_VARIABLE):
        sys.modules["tests.conftest"].api_key = key  # type: ignore[attr-defined]
