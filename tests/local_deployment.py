"""`python -m local` as a child process of the tests, and what it says of itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from local.running import free_port_base
from local.staging import REPOSITORY

_START_SECONDS = 90


@dataclass(frozen=True, slots=True)
class LocalDeployment:
    """Where it answers, and with which keys."""

    process: subprocess.Popen[str]
    upstream_url: str
    base_urls: Mapping[str, str]
    app_key: str
    admin_key: str
    stores: Mapping[str, str]
    """Each cloud's TREFOIL_STORE."""
    store_variables: Mapping[str, Mapping[str, str]]
    """What else each cloud's function finds its store by."""
    state: Path
    log: Path

    @classmethod
    @contextmanager
    def started(
        cls, folder: Path, *options: str, environ: Mapping[str, str] | None = None
    ) -> Iterator[LocalDeployment]:
        description, log = folder / "deployment.json", folder / "log.txt"
        state = folder / "state"
        with log.open("w+") as output:
            process = start(
                ["--json", str(description), "--state", str(state), *options],
                port_base=free_port_base(7),
                stdout=output,
                environ=environ,
            )
            try:
                _wait_for(description, process, log)
                values = json.loads(description.read_text("utf-8"))
                yield cls(process=process, state=state, log=log, **values)
            finally:
                process.terminate()
                process.wait(30)


def start(
    options: Sequence[str],
    *,
    port_base: int,
    stdout: int | IO[str] = subprocess.PIPE,
    environ: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """`python -m local` with `options`, and with no OpenAI key unless `environ` has one."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "TREFOIL_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "local", "--port-base", str(port_base), *options],
        cwd=REPOSITORY,
        env={**clean, **(environ or {})},
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for(file: Path, process: subprocess.Popen[str], log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while not file.exists():
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"python -m local did not start:\n{log.read_text('utf-8')}")
        time.sleep(0.05)
