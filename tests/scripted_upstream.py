"""An upstream of raw bytes: for each connection it plays a script, and tells what it received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Script = Callable[["Exchange"], Awaitable[None]]


@dataclass(slots=True)
class Exchange:
    """One request that came, and the way to answer it."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def client_left(self) -> None:
        """Wait until the other side closes its connection."""
        assert await self.reader.read() == b""

    def header(self, name: str) -> str | None:
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return None


@dataclass(slots=True)
class ScriptedUpstream:
    """Where it listens, and the exchanges so far."""

    url: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0

    @classmethod
    @asynccontextmanager
    async def playing(cls, script: Script) -> AsyncIterator[ScriptedUpstream]:
        upstream = cls()
        playing: set[asyncio.Task[None]] = set()

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            playing.add(task)
            upstream.connections += 1
            try:
                while exchange := await _receive(reader, writer):
                    upstream.exchanges.append(exchange)
                    await script(exchange)
            except (ConnectionError, asyncio.CancelledError):  # cancelled: the test is over
                pass
            finally:
                writer.close()
                playing.discard(task)

        server = await asyncio.start_server(converse, "127.0.0.1", 0)
        upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield upstream
        finally:
            server.close()
            for task in playing:
                task.cancel()
            await asyncio.gather(*playing, return_exceptions=True)


def plain(status: str, body: bytes, *headers: str) -> Script:
    """A whole answer, after which the connection stays open."""

    async def script(exchange: Exchange) -> None:
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
        await exchange.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    return script


async def _receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
    try:
        exchange = Exchange(await reader.readuntil(b"\r\n\r\n"), b"", reader, writer)
        exchange.body = await reader.readexactly(int(exchange.header("content-length") or 0))
    except asyncio.IncompleteReadError:
        return None
    return exchange
