"""Plays a script over ASGI, and notices at each step and in each wait that the client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias

from local.offline.gates import Gates
from local.offline.request_log import Entry, Outcome
from local.offline.script import Cut, Finish, Gate, Hang, Headers, Pause, Send, Start, Step

Message: TypeAlias = MutableMapping[str, Any]
ASGIReceive: TypeAlias = Callable[[], Awaitable[Message]]
ASGISend: TypeAlias = Callable[[Message], Awaitable[None]]


async def read_body(receive: ASGIReceive) -> bytes | None:
    """The whole request body; None if the client left before its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


class Exchange:
    """One answer on its way to one client; the request body has been read."""

    def __init__(self, receive: ASGIReceive, send: ASGISend, transport: asyncio.Transport, gates: Gates) -> None:
        self._receive = receive
        self._send = send
        self._transport = transport
        self._gates = gates

    async def play(self, steps: Iterable[Step], headers: Headers, entry: Entry) -> Outcome:
        """Send the steps, with `headers` beside the script's own; `entry` counts along. Returns how it ended."""
        departure = asyncio.create_task(self._client_left())
        try:
            for step in steps:
                if departure.done():
                    return "client left"
                if (outcome := await self._do(step, headers, entry, departure)) is not None:
                    return outcome
            raise AssertionError("a script ends with Finish, Cut or Hang")
        finally:
            departure.cancel()
            with suppress(asyncio.CancelledError):
                await departure

    async def _do(self, step: Step, headers: Headers, entry: Entry, departure: asyncio.Task[None]) -> Outcome | None:
        match step:
            case Start(status, own):
                entry.status = status
                pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*own, *headers)]
                await self._send({"type": "http.response.start", "status": status, "headers": pairs})
            case Pause(ms):
                await asyncio.wait([departure], timeout=ms / 1000)
            case Gate(name):
                await self._pass(name, departure)
            case Send(data, ends_chunk):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
                entry.chunks_sent += ends_chunk
            case Finish():
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                return "answered"
            case Cut():
                self._transport.close()  # what was written still arrives, then the connection ends without its end
                await departure
                return "cut"
            case Hang():
                await departure
                return "client left"
        return None

    async def _pass(self, gate: str, departure: asyncio.Task[None]) -> None:
        opened = asyncio.create_task(self._gates.wait(gate))
        await asyncio.wait([opened, departure], return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        with suppress(asyncio.CancelledError):
            await opened

    async def _client_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
