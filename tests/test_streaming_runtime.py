"""The streaming runtime as a process: against the emulator's Runtime API, and byte for byte on plain sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from aws_emulator_process import Gate, stage_sample
from local.runtime_api import Answer, FunctionError, InitError, RuntimeApi, SandboxError, SandboxLost
from local.staging import stage

NULS = b"\0" * 8


@pytest.fixture
def task_root(tmp_path: Path) -> Path:
    return stage_sample(tmp_path / "task")


def command(task_root: Path) -> list[str]:
    return [str(task_root / "run"), sys.executable, "-m", "awslambdaric", "lambda_function.lambda_handler"]


def environ(task_root: Path, address: str, **more: str) -> dict[str, str]:
    return {**os.environ, "AWS_LAMBDA_RUNTIME_API": address, "LAMBDA_TASK_ROOT": str(task_root), **more}


class Runtime:
    """One runtime process and the Runtime API that it talks to."""

    def __init__(self, api: RuntimeApi, process: asyncio.subprocess.Process) -> None:
        self.api = api
        self.process = process

    @asynccontextmanager
    async def invoke(self, path: str, query: object = "") -> AsyncIterator[Answer]:
        await self.api.asked()
        event = json.dumps({"rawPath": path, "rawQueryString": str(query)}).encode()
        async with self.api.invoke(event, request_id="id-1", timeout_seconds=30) as answer:
            yield answer

    async def collect(self, path: str) -> tuple[dict[str, Any], bytes]:
        async with self.invoke(path) as answer:
            prelude, _, body = b"".join([chunk async for chunk in answer.chunks]).partition(NULS)
            return json.loads(prelude), body


@asynccontextmanager
async def runtime(task_root: Path) -> AsyncIterator[Runtime]:
    api = RuntimeApi()
    env = environ(task_root, await api.open())
    process = await asyncio.create_subprocess_exec(
        *command(task_root), cwd=task_root, env=env, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Runtime(api, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        api.lose(SandboxLost("the test is over"))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 20))


def test_a_chunk_goes_out_before_the_next_is_made(task_root: Path) -> None:
    async def scenario() -> None:
        with Gate() as gate:
            async with runtime(task_root) as lambda_, lambda_.invoke("/gated", gate.port) as answer:
                received = b""
                while not received.endswith(b"one"):
                    received += await anext(answer.chunks)
                await asyncio.to_thread(gate.arrived)
                gate.open()
                assert b"".join([chunk async for chunk in answer.chunks]) == b"two"
                assert answer.streaming

    run(scenario())


@pytest.mark.parametrize("path", ["/empty-stream", "/logs"])
def test_there_is_always_a_byte_after_the_prelude(task_root: Path, path: str) -> None:
    async def scenario() -> None:
        async with runtime(task_root) as lambda_:
            head, body = await lambda_.collect(path)
            assert head == {"statusCode": 200, "headers": {"content-type": "text/plain"}, "cookies": []}
            assert body == {"/empty-stream": b"\n", "/logs": b"ok"}[path]

    run(scenario())


def test_a_failure_before_the_first_byte_is_reported_as_one(task_root: Path) -> None:
    async def scenario() -> None:
        async with runtime(task_root) as lambda_:
            for path, message in (("/fails", "before the answer"), ("/fails-first", "before the first byte")):
                with pytest.raises(FunctionError, match=f"^RuntimeError: {message}$"):
                    await lambda_.collect(path)

    run(scenario())


def test_a_failure_of_upstream_in_mid_stream_goes_into_the_trailers(task_root: Path) -> None:
    async def scenario() -> None:
        async with runtime(task_root) as lambda_:
            async with lambda_.invoke("/fails-later") as answer:
                received = await anext(answer.chunks)
                while not received.endswith(NULS + b"one"):
                    received += await anext(answer.chunks)
                with pytest.raises(FunctionError, match=r"^ConnectionResetError: upstream's connection$"):
                    await anext(answer.chunks)
            assert (await lambda_.collect("/pid"))[1] == str(lambda_.process.pid).encode()

    run(scenario())


def test_every_stream_is_closed_whatever_ends_it(task_root: Path) -> None:
    async def scenario() -> None:
        async with runtime(task_root) as lambda_:
            await lambda_.collect("/empty-stream")
            for path in ("/fails-first", "/fails-later"):
                with pytest.raises(FunctionError):
                    await lambda_.collect(path)
            _, ended = await lambda_.collect("/ended")
            assert json.loads(ended) == ["empty", "first", "later"]

    run(scenario())


def test_an_event_that_is_not_json_is_the_functions_error(task_root: Path) -> None:
    async def scenario() -> None:
        async with runtime(task_root) as lambda_:
            await lambda_.api.asked()
            with pytest.raises(FunctionError, match="JSONDecodeError"):
                async with lambda_.api.invoke(b"{", request_id="id-1", timeout_seconds=30):
                    pass
            assert (await lambda_.collect("/logs"))[1] == b"ok"

    run(scenario())


def test_an_init_error_says_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    task_root = stage("aws", tmp_path / "task")

    async def scenario() -> None:
        async with runtime(task_root) as lambda_:
            with pytest.raises(InitError, match=r"^ConfigurationError: OPENAI_API_KEY is not set"):
                await lambda_.api.asked()
            _, log = await lambda_.process.communicate()
            assert "OPENAI_API_KEY is not set" in log.decode().splitlines()[-1]
            assert lambda_.process.returncode == 1

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY", raising=False)
        run(scenario())


def test_the_process_ends_when_lambda_is_gone(task_root: Path) -> None:
    async def scenario() -> None:
        async with runtime(task_root) as lambda_:
            await lambda_.api.asked()
            lambda_.api.lose(SandboxLost("Lambda is gone"))
            _, log = await lambda_.process.communicate()
            assert log.decode().startswith("streaming_runtime: Lambda's Runtime API has gone")
            with pytest.raises(SandboxError, match="Lambda is gone"):
                await lambda_.api.asked()

    run(scenario())


class Wire:
    """Lambda's side on plain sockets: `take` a call whole, and answer it."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    @contextmanager
    def call(self, end: bytes = rb"\r\n\r\n") -> Iterator[tuple[bytes, socket.socket]]:
        connection, _ = self._listener.accept()
        connection.settimeout(20)
        with connection:
            received = connection.recv(65536)
            while not re.search(end + rb"\Z", received, re.DOTALL):
                received += connection.recv(65536)
            yield received, connection

    def work(self, event: object) -> None:
        """Answer `/next` with an event."""
        with self.call() as (request, connection):
            assert request.startswith(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n")
            body = json.dumps(event).encode()
            deadline_ms = int((time.time() + 30) * 1000)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: id-1\r\nLambda-Runtime-Deadline-Ms: %d\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (deadline_ms, len(body), body)
            )


@contextmanager
def on_the_wire(task_root: Path, **more: str) -> Iterator[Wire]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        env = environ(task_root, f"127.0.0.1:{listener.getsockname()[1]}", **more)
        with subprocess.Popen(command(task_root), cwd=task_root, env=env, stderr=subprocess.DEVNULL) as process:
            try:
                yield Wire(listener)
            finally:
                process.kill()


ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


def test_a_streamed_answer_byte_for_byte(task_root: Path) -> None:
    with on_the_wire(task_root) as wire:
        wire.work({"rawPath": "/logs"})
        with wire.call(end=rb"\r\n0\r\n\r\n") as (request, connection):
            connection.sendall(ACCEPTED)
        wire.work({"rawPath": "/logs"})

    head, _, body = request.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1"
    assert sorted(head.split(b"\r\n")[2:]) == [
        b"Content-Type: application/vnd.awslambda.http-integration-response",
        b"Lambda-Runtime-Function-Response-Mode: streaming",
        b"Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
        b"Transfer-Encoding: chunked",
    ]
    prelude = b'{"statusCode": 200, "headers": {"content-type": "text/plain"}, "cookies": []}' + NULS
    assert body == b"%x\r\n%s\r\n2\r\nok\r\n0\r\n\r\n" % (len(prelude), prelude)


def test_trailers_byte_for_byte(task_root: Path) -> None:
    with on_the_wire(task_root) as wire:
        wire.work({"rawPath": "/fails-later"})
        with wire.call(end=rb"\r\n0\r\n.*\r\n\r\n") as (request, connection):
            connection.sendall(ACCEPTED)

    error_type, error_body = request.partition(b"\r\n0\r\n")[2].splitlines()[:2]
    assert error_type == b"Lambda-Runtime-Function-Error-Type: ConnectionResetError"
    name, _, value = error_body.partition(b": ")
    assert name == b"Lambda-Runtime-Function-Error-Body"
    assert json.loads(base64.b64decode(value))["errorMessage"] == "upstream's connection"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"], ids=["cut", "413"])
def test_when_lambda_stops_listening_the_stream_is_closed_and_work_goes_on(task_root: Path, answer: bytes) -> None:
    with on_the_wire(task_root) as wire, Gate() as gate:
        wire.work({"rawPath": "/gated", "rawQueryString": gate.port})
        with wire.call(end=rb"one\r\n") as (_, connection):
            gate.arrived()
            connection.sendall(answer)
        gate.open()
        wire.work({"rawPath": "/ended"})
        with wire.call(end=rb"\r\n0\r\n\r\n") as (request, connection):
            connection.sendall(ACCEPTED)

    assert b'\r\n["gated"]\r\n' in request


def test_a_snapshot_goes_on_when_it_is_restored(task_root: Path) -> None:
    with on_the_wire(task_root, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start") as wire:
        with wire.call() as (request, connection):
            assert request.startswith(b"GET /2018-06-01/runtime/restore/next HTTP/1.1\r\n")
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        wire.work({"rawPath": "/logs"})
