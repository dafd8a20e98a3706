"""What all tests share: versions in the header, and the local deployment that the end-to-end tests call."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator

import pytest

from local_deployment import LocalDeployment
from log_watch import LogWatch, leaks_in, service_lines

_LONGEST = ("test_overspend.py", "test_local.py", "test_http_client.py", "test_streaming.py", "test_tenants.py")
"""The files that take longest, half a minute or so. What of them began last, one process alone would end with."""

_SHOWN = ("openai", "pydantic", "azure-functions", "azure-functions-runtime", "functions-framework", "uvicorn")


def pytest_report_header() -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _SHOWN)
    return f"on Python {platform.python_version()}: {versions}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in _LONGEST)  # the rest keeps its order


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def log_watch() -> Iterator[LogWatch]:
    """Whatever the tests do, nothing that is logged holds a prompt, an answer or a key."""
    with LogWatch.listening() as watch:
        yield watch
        watch.check()


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDeployment]:
    """The three clouds and the offline upstream, as `python -m local` starts them."""
    with LocalDeployment.started(tmp_path_factory.mktemp("deployment")) as running:
        yield running
    assert leaks_in(service_lines(running.log)) == []
