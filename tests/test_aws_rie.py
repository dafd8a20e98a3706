"""The zip's contents under AWS's own Runtime Interface Emulator, behind Lambda's runtime and behind ours.

The emulator is a binary inside the package `aws-sam-cli`, whose pins conflict with ours; so it has its own folder. It
dies of two requests at once (SIGSEGV in rapidcore), so each test has one to itself and asks one thing at a time.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from core.admin import Admin
from core.sqlite_store import SqliteStore
from local import offline_upstream
from local.staging import REPOSITORY, stage

INSTALL = "python -m pip install --no-deps --target .trefoil/rie aws-sam-cli"
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "")
BINARY = Path(
    os.environ.get("TREFOIL_RIE")
    or REPOSITORY / ".trefoil" / "rie" / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{ARCHITECTURE}"
)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="AWS's emulator is a Linux binary"),
    pytest.mark.skipif(not BINARY.is_file(), reason=f"AWS's emulator is not here: {INSTALL}, or set TREFOIL_RIE"),
]

NULS = b"\0" * 8
EVENT: dict[str, Any] = json.loads((REPOSITORY / "tests" / "events" / "function_url.json").read_text("utf-8"))


class Rie:
    """The emulator with one function; `wrapper` is what AWS_LAMBDA_EXEC_WRAPPER would name."""

    def __init__(self, task_root: Path, environ: dict[str, str], *, wrapper: str | None) -> None:
        self._port, api_port = _free_ports()
        command = [
            str(BINARY),
            f"--runtime-interface-emulator-address=127.0.0.1:{self._port}",
            f"--runtime-api-address=127.0.0.1:{api_port}",
            *([wrapper] if wrapper else []),
            *(sys.executable, "-m", "awslambdaric", "lambda_function.lambda_handler"),
        ]
        self._process = subprocess.Popen(command, cwd=task_root, env=environ, stderr=subprocess.DEVNULL)

    def __enter__(self) -> Rie:
        deadline = time.monotonic() + 20
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
            except ConnectionRefusedError:
                time.sleep(0.01)  # it does not say when it listens
            else:
                return self
        raise RuntimeError("AWS's emulator does not start")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def invoke(self, event: object) -> bytes:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event).encode())
            response = connection.getresponse()
            assert response.status == 200
            return response.read()
        finally:
            connection.close()


@pytest.fixture
def upstream() -> Iterator[str]:
    with offline_upstream.running() as origin:
        yield f"{origin}/v1"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
def chat(store: Path) -> dict[str, Any]:
    """The event of a streamed chat call with a valid app key."""
    opened = SqliteStore(store)
    key = asyncio.run(Admin(opened).new_key("test"))
    opened.close()
    messages = [{"role": "user", "content": "\N{FOUR LEAF CLOVER}"}]
    body = json.dumps({"model": "offline", "stream": True, "messages": messages}, ensure_ascii=False)
    return {**EVENT, "headers": {"content-type": "application/json", "authorization": f"Bearer {key}"}, "body": body}


@pytest.fixture
def start(tmp_path: Path, store: Path, upstream: str) -> Callable[[str | None], Rie]:
    task_root = stage("aws", tmp_path / "task")
    environ = {
        **os.environ,
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "30",
        "OPENAI_API_KEY": "sk-test",
        "PYTHONPATH": str(task_root),
        "TREFOIL_STORE": f"sqlite:{store}",
        "TREFOIL_UPSTREAM_URL": upstream,
    }
    return lambda wrapper: Rie(task_root, environ, wrapper=wrapper)


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def test_lambdas_own_runtime_answers_in_one_piece(start: Callable[[str | None], Rie], chat: dict[str, Any]) -> None:
    pytest.importorskip("awslambdaric")
    with start(None) as rie:
        refused = json.loads(rie.invoke(EVENT))
        malformed = json.loads(rie.invoke({"no": "HTTP event"}))
        answer = json.loads(rie.invoke(chat))

    assert (refused["statusCode"], malformed["statusCode"]) == (401, 400)
    assert json.loads(malformed["body"])["error"]["type"] == "invalid_request_error"
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, False)
    assert answer["headers"]["content-type"].startswith("text/event-stream")
    assert "\N{FOUR LEAF CLOVER}" in answer["body"]
    assert answer["body"].endswith("data: [DONE]\n\n")


def test_aws_takes_the_stream(start: Callable[[str | None], Rie], chat: dict[str, Any]) -> None:
    with start("./run") as rie:
        refused, _, error = rie.invoke(EVENT).partition(NULS)
        prelude, nuls, body = rie.invoke(chat).partition(NULS)

    assert json.loads(refused)["statusCode"] == 401
    assert json.loads(error)["error"]["type"] == "invalid_request_error"
    head = json.loads(prelude)
    assert (head["statusCode"], nuls) == (200, NULS)
    assert head["headers"]["content-type"].startswith("text/event-stream")
    assert body.startswith(b"data: {")
    assert "\N{FOUR LEAF CLOVER}".encode() in body
    assert body.endswith(b"data: [DONE]\n\n")
