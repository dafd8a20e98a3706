"""The Cosmos DB emulator as a process, and stores on its container."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2

from cosmos_credential import MasterKey
from cosmos_store import CosmosStore
from local.cosmos_emulator import CONTAINER, DATABASE, KEY, command
from local.failure import Failure
from local.staging import REPOSITORY
from manual_clock import ManualClock
from missing import Missing

CLOCK = ManualClock(1_800_000_000)
TIMEOUT_SECONDS = 30.0
"""The emulator does one thing at a time, and takes 10 ms of processor time to read a condition."""


def _client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, verify=False)  # there is no TLS, which takes 60 ms to prepare


@contextmanager
def emulator() -> Iterator[str]:
    """Its URL. It runs for as long as the block.

    Raises:
        Missing: it is not installed.
    """
    try:
        command("127.0.0.1", 0)
    except Failure as failure:
        raise Missing(str(failure)) from None
    start = [sys.executable, "-m", "local.cosmos_emulator", "--port", "0"]
    process = subprocess.Popen(start, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process, process.stdout:
        try:
            yield process.stdout.readline().partition(": ")[2].strip()
        finally:
            process.terminate()
            process.wait(20)


def open_store(
    url: str, *, clock: Callable[[], float] = CLOCK, client: Callable[[], httpx2.AsyncClient] = _client
) -> CosmosStore:
    return CosmosStore(url, DATABASE, CONTAINER, MasterKey(KEY), clock=clock, client=client)
