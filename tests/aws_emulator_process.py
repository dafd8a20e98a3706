"""The AWS emulator as a process, and the gates at which the sample function waits for a test."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Emulator:
    process: subprocess.Popen[str]
    port: int
    log: Path
    """What it and its sandboxes wrote to stderr."""
    cleanup: ExitStack

    def send(self, target: str, body: bytes = b"", *, method: str = "POST", **headers: str) -> HTTPConnection:
        """Send a request on a connection of its own, to be asked for the response. In header names _ stands for -."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.cleanup.callback(connection.close)
        connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return connection

    def ask(self, target: str, body: bytes = b"", *, method: str = "POST", **headers: str) -> tuple[int, bytes]:
        response = self.send(target, body, method=method, **headers).getresponse()
        return response.status, response.read()


@contextmanager
def emulator(task_root: Path, log: Path, *options: str) -> Iterator[Emulator]:
    """Runs for as long as the block; its log is complete after it."""
    command = [sys.executable, "-m", "local.aws_emulator", "--port", "0", "--task-root", str(task_root), *options]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout
    with process, process.stdout, ExitStack() as cleanup:
        port = int(process.stdout.readline().rstrip("/\n").rpartition(":")[2])
        try:
            yield Emulator(process, port, log, cleanup)
        finally:
            process.terminate()
            process.wait(20)


def stage_sample(into: Path) -> Path:
    """A task root whose function is `aws_sample_function.py`."""
    into.mkdir()
    for name in ("run", "streaming_runtime.py"):
        (into / name).symlink_to(ROOT / "aws" / name)
    shutil.copy(Path(__file__).with_name("aws_sample_function.py"), into / "lambda_function.py")
    return into


class Gate:
    """A place where the sample function waits: `arrived`, then `open`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self._waiting: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]

    def arrived(self) -> None:
        """Wait until one more function stands here."""
        self._waiting.append(self._listener.accept()[0])

    def has_visitors(self) -> bool:
        """Whether a function stands here that `arrived` has not seen."""
        self._listener.setblocking(False)
        try:
            self._waiting.append(self._listener.accept()[0])
        except BlockingIOError:
            return False
        finally:
            self._listener.settimeout(20)
        return True

    def ended(self) -> None:
        """Wait until all are gone that stand here: their processes have ended."""
        for visitor in self._waiting:
            visitor.settimeout(20)
            assert visitor.recv(1) == b""

    def open(self) -> None:
        """Let all go on that stand here."""
        while self._waiting:
            self._waiting.pop().close()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        self._listener.close()
