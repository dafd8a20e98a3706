"""What every part of a run shares: the fake upstreams, the load generator, one request by hand."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

from local.bench.figures import Samples
from local.bench.load import Outcome, Plan, request
from local.bench.servers import CHAT, Server, connected
from local.bench.workshop import Workshop
from local.failure import Failure
from local.processes import die_with_parent
from local.staging import REPOSITORY

_QUESTION = "What is the answer to the ultimate question of life, the universe, and everything?"
_FIRST_ANSWER_SECONDS = 60


@dataclass(slots=True)
class Bench:
    """One run: where it works, how long it measures, and what it has measured so far."""

    shop: Workshop
    plain_port: int
    """Of the fake upstream without TLS, which is the measured one where no connection is new."""
    tls_port: int
    quick: bool
    rounds: int
    peers: tuple[str, ...] = ()
    samples: Samples = field(default_factory=Samples)
    random: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - an order to measure in, no secret

    @property
    def plain_url(self) -> str:
        return f"http://127.0.0.1:{self.plain_port}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}"

    def say(self, text: str) -> None:
        print(f"bench: {text}", file=sys.stderr, flush=True)


@asynccontextmanager
async def upstream(*options: str) -> AsyncIterator[int]:
    """A fake upstream; its port."""
    process = await _start("local.bench.upstream", *options)
    assert process.stdout
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


def body(*, script: str = "", padding: str = "") -> bytes:
    """A chat completion's request, streamed where there is a script for the stream."""
    content = f"{_QUESTION} {script}{padding}"
    value = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}], "max_tokens": 256}
    return json.dumps({**value, "stream": True} if script else value).encode()


def stream_script(*, chunks: int, pace_ms: int) -> str:
    return f"bench:chunks={chunks},pace_ms={pace_ms}"


async def load(
    target: Server | int,
    content: bytes,
    *,
    at_once: int,
    count: int,
    warm_up: int = 0,
    path: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Outcome:
    """Have the load generator ask a server, or what listens on a port.

    Raises:
        Failure: an answer was not what it should be.
    """
    plan = _plan(target, content, path, headers, at_once=at_once, count=count, warm_up=warm_up)
    process = await _start("local.bench.load")
    output, errors = await process.communicate(json.dumps(asdict(plan)).encode() + b"\n")
    if process.returncode:
        name = target.variant.name if isinstance(target, Server) else "upstream"
        raise Failure(f"'{name}' did not answer as it should: {errors.decode().strip()}")
    return Outcome(**json.loads(output))


@asynccontextmanager
async def held(target: Server, content: bytes, *, at_once: int) -> AsyncIterator[None]:
    """So many streams, open while the block runs, each having had its first event.

    Raises:
        Failure: one ended before the block did.
    """
    plan = Plan(**{**asdict(_plan(target, content, None, None, at_once=at_once, count=0, warm_up=0)), "holds": True})
    process = await _start("local.bench.load")
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(asdict(plan)).encode() + b"\n")
    if await process.stdout.readline() != b"open\n":
        raise Failure(f"not all of {at_once} streams opened: {(await process.communicate())[1].decode().strip()}")
    try:
        yield
    finally:
        process.stdin.close()
        _, errors = await process.communicate()
    if process.returncode:
        raise Failure(errors.decode().strip())


async def first_answer(server: Server, content: bytes) -> None:
    """Wait for its answer to a request that is sent as soon as it takes connections.

    Raises:
        Failure: it is none.
    """
    async with asyncio.timeout(_FIRST_ANSWER_SECONDS):
        reader, writer = await connected(server)
        writer.write(request(server.port, server.variant.path, server.variant.headers, content))
        status = await reader.readline()
        if status.split(b" ")[1:2] != [b"200"]:
            said = status + await reader.read(4000)
            raise Failure(f"'{server.variant.name}' answered: {said.decode('utf-8', 'replace')}")
        writer.close()


def _plan(
    target: Server | int,
    content: bytes,
    path: str | None,
    headers: Mapping[str, str] | None,
    *,
    at_once: int,
    count: int,
    warm_up: int,
) -> Plan:
    if isinstance(target, int):
        written, port, pid = request(target, CHAT, {}, content), target, None
    else:
        sent = target.variant.headers if headers is None else headers
        port, pid = target.port, target.pid
        written = request(port, path or target.variant.path, sent, content)
    return Plan(port, base64.b64encode(written).decode(), at_once, count, warm_up, pid)


async def _start(module: str, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *options),
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
