"""steady, a mock of an OpenAPI description (npm `@stdy/cli`), as the upstream: it refuses what the description does not
allow, and answers at random what it does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from local.processes import die_with_parent
from local.staging import REPOSITORY
from missing import Missing

PACKAGE = "@stdy/cli@0.22.2"
SPEC_VARIABLE = "TREFOIL_OPENAI_SPEC"

_FOLDER = REPOSITORY / ".trefoil" / "steady"
_PROGRAM = _FOLDER / "node_modules" / ".bin" / "steady"
_SPEC_BESIDE_THE_CHECKOUT = REPOSITORY.parent / "shared" / "openai-spec" / "openapi.yml"
_START_SECONDS = 30.0
# OpenAI's own clients write lists and objects so.
_OPTIONS = [
    f"--validator-{place}-{kind}-format=brackets" for place in ("query", "form") for kind in ("array", "object")
]


def install() -> None:
    """
    Raises:
        Missing: npm, or what it installs.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not installed: it comes with Node.js 20 or later")
    quietly = ["--silent", "--no-save", "--no-package-lock", "--no-audit", "--no-fund"]
    try:
        subprocess.run([npm, "install", *quietly, "--prefix", _FOLDER, PACKAGE], check=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise Missing(f"npm could not install {PACKAGE}: {error}") from None


def find_spec() -> Path:
    """OpenAI's published description, which is no part of this project.

    Raises:
        Missing: it is not there.
    """
    path = Path(os.environ.get(SPEC_VARIABLE) or _SPEC_BESIDE_THE_CHECKOUT)
    if not path.is_file():
        raise Missing(f"OpenAI's OpenAPI description is not at {path}: set {SPEC_VARIABLE} to where it is")
    return path


@contextlib.contextmanager
def started(log: Path) -> Iterator[str]:
    """Its URL.

    Raises:
        Missing: the program, Node.js or the description.
    """
    if not _PROGRAM.exists() or shutil.which("node") is None:
        raise Missing("steady is not installed: install Node.js 20 or later, then run 'make suite'")
    port = _free_port()
    command = [str(_PROGRAM), "--quiet", "--no-color", "--host", "127.0.0.1", "--port", str(port), *_OPTIONS]
    with (
        log.open("w") as output,
        subprocess.Popen(
            [*command, str(find_spec())],
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock that another thread could hold
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process, log)
            yield url
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/models", timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"steady did not start:\n{log.read_text('utf-8')}") from None
            time.sleep(0.05)
