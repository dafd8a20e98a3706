"""A child's output is read whatever becomes of it, and services that are watched stop what is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import deque
from pathlib import Path

import pytest

from local.failure import Failure
from local.processes import Child
from local.running import Running, free_port_base
from local.services import Service

_TALKATIVE = "for number in range(20_000): print('a line that fills the pipe', number)"  # ten times what a pipe holds


async def _start(program: str, told: list[str], error: Exception | None = None) -> Child:
    def on_line(_name: str, line: str) -> None:
        told.append(line)
        if error:
            raise error

    command = (sys.executable, "-c", program)
    return await Child.start("child", command, directory=Path.cwd(), environ={}, on_line=on_line)


def test_reading_goes_on_when_nobody_can_be_told() -> None:
    async def run() -> tuple[list[str], str]:
        told: list[str] = []
        child = await _start(_TALKATIVE, told, BrokenPipeError("nobody reads"))
        await asyncio.wait_for(child._process.wait(), 10)
        with pytest.raises(BrokenPipeError, match="nobody reads"):
            await child.stop()
        return told, child.last_lines[-1]

    told, last = asyncio.run(run())
    assert len(told) == 1
    assert last == "a line that fills the pipe 19999"


def _service(program: str) -> Service:
    return Service("gcp", free_port_base(1), (sys.executable, "-c", program), Path.cwd(), {})


@pytest.mark.parametrize("turns", range(8))
def test_a_service_that_stops_as_the_work_ends_is_no_cancellation(turns: int) -> None:
    """In one of these, both end in the same turn of the loop."""

    class _Ended(Child):
        def __init__(self) -> None:
            self.name = "gcp"
            self.last_lines = deque(["no room"])

        async def ended(self) -> int:
            return 3

    async def work() -> str:
        for _ in range(turns):
            await asyncio.sleep(0)
        return "done"

    async def run() -> None:
        running = Running(lambda *_: None)
        running._children["gcp"] = _Ended()
        with contextlib.suppress(Failure):
            assert await running.unless_one_stops(work()) == "done"
        with pytest.raises(Failure, match=r"^gcp stopped with exit code 3: no room$"):
            await running.unless_one_stops(asyncio.sleep(60))
        current = asyncio.current_task()
        assert current
        assert current.cancelling() == 0

    asyncio.run(run())


def test_an_answer_from_somebody_else_is_not_taken_for_the_service_s() -> None:
    """Another launcher's service has got the port after it was found free: ours cannot have it, and stops."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        running._children["gcp"]._signal(signal.SIGKILL)
        await running._children["gcp"].ended()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def run() -> None:
        service = _service("import time; time.sleep(60)")
        await running.start(service)
        try:
            async with await asyncio.start_server(other, "127.0.0.1", service.port):
                with pytest.raises(Failure, match=r"^gcp stopped with exit code -9"):
                    await running.answering(service)
        finally:
            await running.stop()

    running = Running(lambda *_: None)
    asyncio.run(run())
