"""The load generator, a process of its own: a plan on its standard input, what came of it on its standard output.

It reads the measured server's CPU at the beginning and the end of what it measures.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import uvloop

from local.bench import accounting
from local.bench.figures import percentile

_END_OF_HEAD = b"\r\n\r\n"
_EVENT = b"data: "
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send."""

    port: int
    request: str
    """Written out, in base64."""
    at_once: int
    count: int
    """So many requests are measured."""
    warm_up: int = 0
    """So many are sent before."""
    pid: int | None = None
    """The server's process."""
    holds: bool = False
    """Whether all are kept open until the standard input ends, and none is measured: streams that others pass by."""


@dataclass(frozen=True, slots=True)
class Outcome:
    seconds: float
    p50_ms: float
    p99_ms: float
    first_p50_ms: float
    """Until the first event of a stream."""
    cpu_ms: float
    rss_mb: float
    events: int


class LoadFailed(Exception):
    """An answer was not what was asked for."""


def request(port: int, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request, written out."""
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", f"host: 127.0.0.1:{port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body


@dataclass(slots=True)
class _Answer:
    """One answer while it comes."""

    done: asyncio.Future[None]
    started: float
    first_event: float | None = None
    events: int = 0
    status: int = 0
    left: int | None = None
    tail: bytes = b""
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, data: bytes) -> None:
        events = (self.tail[-len(_EVENT) + 1 :] + data).count(_EVENT)
        if events:
            self.events += events
            if self.first_event is None:
                self.first_event = time.perf_counter()
                self.begun.set()
        self.tail = (self.tail + data)[-1000:]
        if self.left is not None:
            self.left -= len(data)
        if self.left == 0 or (self.left is None and self.tail.endswith(_LAST_CHUNK)):
            self.end()

    def end(self, error: Exception | None = None) -> None:
        if self.done.done():
            return
        if error is None and self.status != 200:
            error = LoadFailed(f"status {self.status}: {self.tail.decode('utf-8', 'replace')}")
        if error:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class _Connection(asyncio.Protocol):
    """A client that sends one request after the other."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._answer: _Answer | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._answer:
            self._answer.end(error or LoadFailed("the connection was closed"))

    def send(self, content: bytes) -> _Answer:
        self._head.clear()
        self._answer = _Answer(asyncio.get_running_loop().create_future(), time.perf_counter())
        self._transport.write(content)
        return self._answer

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        if not answer.status:
            self._head += data
            end = self._head.find(_END_OF_HEAD)
            if end < 0:
                return
            head, data = bytes(self._head[: end + 2]).lower(), bytes(self._head[end + 4 :])
            answer.status = int(head[9:12])
            _, found, rest = head.partition(b"\r\ncontent-length:")
            answer.left = int(rest.partition(b"\r\n")[0]) if found else None
            answer.tail = _END_OF_HEAD
        answer.take(data)


class _Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._content = base64.b64decode(plan.request)
        self._answers: list[tuple[float, float]] = []
        self._events = 0

    async def run(self) -> Outcome:
        connections = [await self._connect() for _ in range(self._plan.at_once)]
        await self._round(connections, self._plan.warm_up)
        self._answers.clear()
        self._events = 0
        before, started = self._cpu(), time.perf_counter()
        await self._round(connections, self._plan.count)
        seconds, after = time.perf_counter() - started, self._cpu()
        totals = [total for total, _ in self._answers]
        return Outcome(
            seconds=seconds,
            p50_ms=percentile(totals, 0.5) * 1000,
            p99_ms=percentile(totals, 0.99) * 1000,
            first_p50_ms=percentile([first for _, first in self._answers], 0.5) * 1000,
            cpu_ms=after[0] - before[0],
            rss_mb=after[1],
            events=self._events,
        )

    async def hold(self) -> int:
        """Open all, say so, keep them until told, and tell how many events came while they were open."""
        connections = [await self._connect() for _ in range(self._plan.at_once)]
        answers = [connection.send(self._content) for connection in connections]
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await asyncio.gather(*(answer.begun.wait() for answer in answers))
        before = sum(answer.events for answer in answers)
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        lost = sum(answer.done.done() for answer in answers)
        if lost:
            raise LoadFailed(f"{lost} of {len(answers)} streams ended before their time")
        return sum(answer.events for answer in answers) - before

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Connection, "127.0.0.1", self._plan.port))[1]

    async def _round(self, connections: list[_Connection], count: int) -> None:
        left = iter(range(count))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await asyncio.gather(*(self._ask(connection, left) for connection in connections))

    async def _ask(self, connection: _Connection, left: Any) -> None:
        for _ in left:
            if not connection.is_open:
                connection = await self._connect()
            answer = connection.send(self._content)
            await answer.done
            end = time.perf_counter()
            self._answers.append((end - answer.started, (answer.first_event or end) - answer.started))
            self._events += answer.events

    def _cpu(self) -> tuple[float, float]:
        if self._plan.pid is None:
            return 0.0, 0.0
        used = accounting.used(self._plan.pid)
        return used.cpu_ms, used.rss_mb


async def _main() -> int:
    plan = Plan(**json.loads(sys.stdin.readline()))
    try:
        if plan.holds:
            print(json.dumps({"events": await _Load(plan).hold()}), flush=True)
        else:
            print(json.dumps(asdict(await _Load(plan).run())), flush=True)
    except (LoadFailed, OSError) as error:
        print(f"load: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(uvloop.run(_main()))
