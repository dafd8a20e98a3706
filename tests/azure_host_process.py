"""The Azure host as a process of its own, for the tests: the worker library takes one app in the life of a process."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
_READY = "azure host: http://127.0.0.1:"
_PATIENCE_SECONDS = 20


def stage_sample(folder: Path) -> Path:
    """An app folder with the sample app beside the real extension."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("http_stream.py", "host.json"):
        shutil.copy(ROOT / "azure" / name, folder)
    shutil.copy(ROOT / "tests" / "azure_sample_app.py", folder / "function_app.py")
    return folder


class AzureHost:
    """`python -m local.azure_host`, ended at the latest with its `with` block."""

    def __init__(self, app_dir: Path, *options: str, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "local.azure_host", "--port", "0", "--app-dir", str(app_dir), *options]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env or dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.errors: list[str] = []
        self._ports: queue.Queue[int | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith(_READY):
                self._ports.put(int(line.removeprefix(_READY)))
            else:
                self.errors.append(line)
        self._ports.put(None)

    def __enter__(self) -> AzureHost:
        port = self._ports.get(timeout=_PATIENCE_SECONDS)
        if port is None:
            self.end()
            raise AssertionError("the host did not start:\n" + "".join(self.errors))
        self.port = port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.end()

    def end(self) -> int:
        """Wait for the process's end; its exit code."""
        try:
            return self.process.wait(timeout=_PATIENCE_SECONDS)
        finally:
            self.process.kill()
            self._reader.join()
            assert self.process.stderr is not None
            self.process.stderr.close()

    @contextmanager
    def connection(self) -> Iterator[HTTPConnection]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_SECONDS)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def stream(self, target: str, method: str = "GET") -> Iterator[HTTPResponse]:
        """The response with its body still to be read."""
        with self.connection() as connection:
            connection.request(method, target)
            with connection.getresponse() as response:
                yield response

    def get(self, target: str) -> tuple[int, bytes]:
        with self.stream(target) as response:
            return response.status, response.read()
