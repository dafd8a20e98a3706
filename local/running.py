"""Services that are up: started together, watched together, stopped together."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from local.failure import Failure
from local.processes import Child
from local.services import HOST, Service

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05
_HEALTH_SECONDS = 10.0

_Result = TypeVar("_Result")


class Running:
    """The services of one run. Those that were started first stop last."""

    def __init__(self, on_line: Callable[[str, str], None]) -> None:
        self._on_line = on_line
        self._children: dict[str, Child] = {}
        self._started: dict[str, float] = {}

    async def start(self, service: Service) -> None:
        """Start `service` without waiting for it.

        Raises:
            Failure: its port is taken.
        """
        check_port(service.port, service.name)
        self._started[service.name] = time.monotonic()
        self._children[service.name] = await Child.start(
            service.name,
            service.command,
            directory=service.directory,
            environ=service.environ,
            on_line=self._on_line,
        )

    async def answering(self, service: Service) -> float:
        """Wait until `service` answers; the seconds since it was started.

        Raises:
            Failure: it did not within a minute, or one of the services stopped.
        """
        started, child = self._started[service.name], self._children[service.name]
        try:
            async with asyncio.timeout(_START_SECONDS - (time.monotonic() - started)):
                await self.unless_one_stops(_healthy(service, child))
        except TimeoutError:
            reason = _last_words(child)
            raise Failure(f"{service.name} has not answered within {_START_SECONDS:.0f} s{reason}") from None
        return time.monotonic() - started

    async def unless_one_stops(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """The result of `work`, which is given up if a service stops meanwhile.

        Raises:
            Failure: one has stopped. Whatever became of `work`, this is the reason to give.
        """
        working, failing = asyncio.create_task(work), asyncio.create_task(self.failure())
        try:
            await asyncio.wait({working, failing}, return_when=asyncio.FIRST_COMPLETED)
            if failing.done():
                failing.result()
            return working.result()
        finally:
            for task in (working, failing):
                task.cancel()
            await asyncio.gather(working, failing, return_exceptions=True)

    async def failure(self) -> NoReturn:
        """Wait for ever, or until one of the services stops.

        Raises:
            Failure: one has stopped.
        """
        ends = {asyncio.create_task(child.ended()): child for child in self._children.values()}
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        end = done.pop()
        child = ends[end]
        raise Failure(f"{child.name} stopped with exit code {end.result()}{_last_words(child)}")

    async def stop(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._children.values()))
        self._children.clear()


def free_port_base(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on. Processes that ask at once begin elsewhere each."""
    base = 20_000 + os.getpid() * 617 % 1000 * 10  # neighbours' numbers lie far apart
    while True:
        taken = next((port for port in range(base, base + count) if not _is_free(port)), None)
        if taken is None:
            return base
        base = taken + 1


def check_port(port: int, name: str) -> None:
    """
    Raises:
        Failure: somebody listens on `port`, which is meant for the service `name`.
    """
    if not _is_free(port):
        raise Failure(
            f"port {port}, meant for {name}, is taken: stop what listens there, or choose other ports with --port-base"
        )


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True


async def _healthy(service: Service, child: Child) -> None:
    """Wait until `child` answers, and not somebody else who has got hold of the port since it was found free."""
    while True:
        if await _is_healthy(service) and child.is_alive:
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _is_healthy(service: Service) -> bool:
    try:
        async with asyncio.timeout(_HEALTH_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, service.port)
            try:
                head = f"GET {service.probe} HTTP/1.1\r\nHost: {HOST}:{service.port}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                return (await reader.readline()).split(b" ")[1:2] == [b"200"]
            finally:
                writer.close()
    except (OSError, ValueError):  # a TimeoutError is an OSError; a line that has no end is a ValueError
        return False


def _last_words(child: Child) -> str:
    return f": {child.last_lines[-1]}" if child.last_lines else ""
