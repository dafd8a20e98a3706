"""The Cosmos DB emulator as a process, and stores on its container."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.store_client import StoreClient
from cosmos_credential import MasterKey
from cosmos_store import CosmosStore
from local.cosmos_emulator import CONTAINER, DATABASE, KEY, command
from local.failure import Failure
from local.staging import REPOSITORY
from manual_clock import ManualClock
from missing import Missing

CLOCK = ManualClock(1_800_000_000)
_TIMEOUT_SECONDS = 30.0
"""The emulator does one thing at a time, and takes 10 ms of processor time to read a condition."""


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


class PatientClient(StoreClient):
    def __init__(self, url: str) -> None:
        super().__init__(url, at_once=100, connect_seconds=_TIMEOUT_SECONDS, silence_seconds=_TIMEOUT_SECONDS)


def open_store(
    url: str, *, clock: Callable[[], float] = CLOCK, client: Callable[[str], StoreClient] = PatientClient
) -> CosmosStore:
    return CosmosStore(url, DATABASE, CONTAINER, MasterKey(KEY), clock=clock, client=client(url))
