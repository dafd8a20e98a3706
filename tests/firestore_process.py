"""The Firestore emulator as a process, and what a test has it do."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from missing import Missing

PACKAGE = "google-cloud-firestore"
SKIPPED = f"the Firestore emulator is made of Google's messages: pip install {PACKAGE}"

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class FirestoreEmulator:
    url: str
    grpc_address: str

    def calls(self) -> dict[str, int]:
        """How often each method was called since this was asked last."""
        counted: dict[str, int] = self.ask("GET", "/emulator/v1/calls")
        self.ask("DELETE", "/emulator/v1/calls")
        return counted

    def fail(self, method: str, status: str, *, times: int = 1, after: bool = False) -> None:
        """Answer so many calls with `status` instead; `after` the call was carried out, if that is set."""
        self.ask("POST", "/emulator/v1/failures", method=method, status=status, times=times, after=after)

    def sweep(self, unix_time: float) -> int:
        """Delete what the TTL policy says is over; how many documents that were."""
        return int(self.ask("POST", f"/emulator/v1/sweep?field=expire_at&at={unix_time}")["deleted"])

    def clear(self) -> None:
        self.ask("DELETE", "/emulator/v1/documents")

    def ask(self, verb: str, path: str, **body: object) -> Any:
        content = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.url}{path}", content, method=verb)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


@contextmanager
def running(*options: str) -> Iterator[FirestoreEmulator]:
    """
    Raises:
        Missing: Google's package.
    """
    command = [sys.executable, "-m", "local.firestore_emulator", "--port", "0", "--grpc-port", "0", *options]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        rest, grpc = process.stdout.readline(), process.stdout.readline()
        try:
            if not grpc:
                raise Missing(f"{SKIPPED} ({process.stderr.read().strip().rpartition(chr(10))[2]})")
            yield FirestoreEmulator(rest.split()[-1], grpc.split()[-1])
        finally:
            process.terminate()
            process.wait(20)
