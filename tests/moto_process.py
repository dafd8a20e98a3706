"""AWS's services as moto has them, in a process of its own, with a door to the code that Lambda was given."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto.core.config import default_user_config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from local.dynamodb_emulator import REGION
from local.staging import REPOSITORY

ACCOUNT = "123456789012"
"""moto's own."""
CREDENTIALS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": REGION,
    "NO_PROXY": "127.0.0.1",
}

_CODE = "/code-of/"


@contextmanager
def moto() -> Iterator[str]:
    """Its address; empty at first, and gone after the block."""
    environ = {**os.environ, **CREDENTIALS, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, env=environ, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def code_of(url: str, function: str, into: Path) -> Path:
    """The zip that the function was made from. moto keeps it, but has no answer that gives it away."""
    with urllib.request.urlopen(f"{url}{_CODE}{function}") as answer:
        into.write_bytes(answer.read())
    return into


class _Aws:
    """One request at a time: moto lets others in between a condition and what depends on it."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._alone = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        with self._alone:
            if not path.startswith(_CODE):
                answer: Iterable[bytes] = self._app(environ, start_response)
                return answer
            start_response("200 OK", [])
            return [_code(path.removeprefix(_CODE))]


def _code(function: str) -> bytes:
    from moto.awslambda.utils import get_backend  # noqa: PLC0415 - as late as moto itself loads its services

    code: bytes = get_backend(ACCOUNT, REGION).get_function(function).code_bytes
    return code


class _Handler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def _main() -> None:
    default_user_config.setdefault("lambda", {})["use_docker"] = False
    server = make_server("127.0.0.1", 0, _Aws(), threaded=True, request_handler=_Handler)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _main()
