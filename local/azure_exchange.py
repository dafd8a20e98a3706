"""One client's request on its way through the worker's web server and back, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import h11

Headers = list[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_CONNECT_ATTEMPTS, _CONNECT_PAUSE_SECONDS = (
    20,
    0.05,
)  # the web server begins to listen a little after the worker's start
_GRACE_SECONDS = 1.0
_HEAD_LIMIT_BYTES = 1 << 20
_READ_BYTES = 1 << 16


class ExchangeFailed(Exception):
    """The client must be told `status`, or, if its response has begun already, must see its connection cut."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    body_bytes: int
    idle_seconds: float
    """The longest silence on the way to the client."""
    total_seconds: float


class Exchange:
    """Passes the request up and the response down, each part at once. It ends with the response, or with its client."""

    def __init__(self, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._http = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT_BYTES)
        self.started = False
        """Whether the client has seen the status."""

    async def run(self, address: tuple[str, int], head: h11.Request, invocation: asyncio.Task[str | None]) -> None:
        """
        Args:
            address: of the web server.
            head: of the request, as the web server must see it.
            invocation: the other half of the request, which the worker pairs with this one; its result is an error.

        Raises:
            ExchangeFailed: the response is missing or unfinished, and the client is still there.
        """
        self._reader, self._writer = await _connect(address)
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                await self._write(head)
                await self._race(invocation)
        except TimeoutError:
            raise ExchangeFailed(504, f"the function ran longer than {self._limits.total_seconds:g} s") from None
        finally:
            self._writer.transport.abort()  # where the function is still at work, this is how it learns of the end

    async def _race(self, invocation: asyncio.Task[str | None]) -> None:
        upload, download = asyncio.create_task(self._upload()), asyncio.create_task(self._download())
        try:
            await asyncio.wait({upload, download, invocation}, return_when=asyncio.FIRST_COMPLETED)
            if not upload.done() and not download.done():
                # The invocation ended first, as usual. A failed one may have missed the web server, which then waits.
                patience = None if invocation.result() is None else _GRACE_SECONDS
                await asyncio.wait({upload, download}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if download.done():
                download.result()
            elif upload.done():
                upload.result()
            else:
                raise ExchangeFailed(500, f"the function failed: {invocation.result()}")
        finally:
            upload.cancel()
            download.cancel()
            await asyncio.gather(upload, download, return_exceptions=True)

    async def _upload(self) -> None:
        """Pass the body up, then wait for the client to leave."""
        size, more = 0, True
        while (message := await self._receive())["type"] == "http.request":
            body = message.get("body", b"")
            size += len(body)
            if size > self._limits.body_bytes:
                raise ExchangeFailed(413, "the request body is too large")
            if body:
                await self._write(h11.Data(data=body))
            if more and not message.get("more_body", False):
                more = False
                await self._write(h11.EndOfMessage())

    async def _download(self) -> None:
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                self.started = True
                await self._send(
                    {"type": "http.response.start", "status": event.status_code, "headers": end_to_end(event.headers)}
                )
            elif isinstance(event, h11.Data):
                await self._send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
            elif isinstance(event, h11.EndOfMessage):
                await self._send({"type": "http.response.body", "body": b""})
                return
            elif isinstance(event, h11.ConnectionClosed):
                raise ExchangeFailed(502, "the worker's web server closed the connection")

    async def _next_event(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout(self._limits.idle_seconds):
                    self._http.receive_data(await self._reader.read(_READ_BYTES))
        except TimeoutError:
            raise ExchangeFailed(504, f"nothing was heard for {self._limits.idle_seconds:g} s") from None
        except (OSError, h11.RemoteProtocolError) as error:
            raise ExchangeFailed(502, f"the response broke off: {error}") from None
        return event

    async def _write(self, event: h11.Event) -> None:
        try:
            self._writer.write(self._http.send(event) or b"")
            await self._writer.drain()
        except OSError:
            pass  # the download knows better what has become of the web server: it may have answered before it closed


def end_to_end(headers: Any) -> Headers:
    """`headers` without those which belong to one connection only (RFC 9110, section 7.6.1)."""
    fields: Headers = [(name.lower(), value) for name, value in headers]
    named = {token.strip().lower() for name, value in fields if name == b"connection" for token in value.split(b",")}
    return [(name, value) for name, value in fields if name not in _HOP_BY_HOP and name not in named]


_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}


async def _connect(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(_CONNECT_ATTEMPTS):
        try:
            return await asyncio.open_connection(*address)
        except ConnectionRefusedError:
            await asyncio.sleep(_CONNECT_PAUSE_SECONDS)
    raise ExchangeFailed(502, "the worker's web server does not listen")
