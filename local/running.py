"""Services that are up: started together, watched together, stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import time
from collections.abc import AsyncIterator, Callable

from local.failure import Failure
from local.processes import Child
from local.services import HOST, Service

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05


class Running:
    """The services of one run. Those that were started first stop last."""

    def __init__(self, on_line: Callable[[str, str], None]) -> None:
        self._on_line = on_line
        self._children: list[Child] = []

    async def start(self, service: Service) -> None:
        """Start `service` without waiting for it.

        Raises:
            Failure: its port is taken.
        """
        _check_port(service)
        child = await Child.start(
            service.name,
            service.command,
            directory=service.directory,
            environ=service.environ,
            on_line=self._on_line,
        )
        self._children.append(child)

    async def answering(self, service: Service) -> float:
        """Wait until `service` answers; the seconds that it took.

        Raises:
            Failure: it did not within a minute, or one of the services stopped.
        """
        started = time.monotonic()
        async with self._watched():
            while time.monotonic() - started < _START_SECONDS:
                if await asyncio.to_thread(_is_healthy, service):
                    return time.monotonic() - started
                await asyncio.sleep(_POLL_SECONDS)
        child = next(child for child in self._children if child.name == service.name)
        raise Failure(f"{service.name} has not answered within {_START_SECONDS:.0f} s{_last_words(child)}")

    async def failure(self) -> None:
        """Wait for ever, or until one of the services stops.

        Raises:
            Failure: one has stopped.
        """
        ends = {asyncio.create_task(child.ended()): child for child in self._children}
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        end = done.pop()
        child = ends[end]
        raise Failure(f"{child.name} stopped with exit code {end.result()}{_last_words(child)}")

    async def stop(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._children))
        self._children.clear()

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Run the body unless a service stops meanwhile: then that failure is raised in it instead."""
        body = asyncio.current_task()
        assert body is not None
        watching = asyncio.create_task(self.failure())
        watching.add_done_callback(lambda task: None if task.cancelled() else body.cancel())
        try:
            yield
        except asyncio.CancelledError:
            if watching.done() and not watching.cancelled():
                body.uncancel()
                watching.result()
            raise
        finally:
            watching.cancel()


def free_port_base(count: int, first: int = 20_000) -> int:
    """The first of `count` ports in a row that nobody listens on, from `first` on."""
    base = first
    while True:
        taken = next((port for port in range(base, base + count) if not _is_free(port)), None)
        if taken is None:
            return base
        base = taken + 1


def _check_port(service: Service) -> None:
    if not _is_free(service.port):
        raise Failure(
            f"port {service.port}, meant for {service.name}, is taken: stop what listens there, or choose other ports "
            "with --port-base"
        )


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True


def _is_healthy(service: Service) -> bool:
    connection = http.client.HTTPConnection(HOST, service.port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_words(child: Child) -> str:
    return f": {child.last_lines[-1]}" if child.last_lines else ""
