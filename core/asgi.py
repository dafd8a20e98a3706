"""A `Gateway` as an ASGI application (https://asgi.readthedocs.io), which Azure's and Google's runtimes run as is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from core import errors
from core.gateway import Gateway
from core.http import Request, Response

_READ_TO_REFUSE = 4
"""So many times the limit is read of a body that is refused, and thrown away: a client that is still sending, or a
proxy on the way, may otherwise lose the answer with the connection."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class _FarTooLarge(Exception):
    """The body is not even worth reading to its end."""


class _ClientLeft(Exception):
    """The client closed its connection before its request was read."""


class AsgiApplication:
    """Serves HTTP through the gateway. A client that leaves cancels its request, upstream's work for it included."""

    def __init__(
        self,
        gateway: Callable[[], Gateway],
        *,
        body_limit_bytes: int,
        timeout_seconds: float | None = None,
        first_byte_timeout_seconds: float | None = None,
    ) -> None:
        """
        Args:
            gateway: gives the process's gateway; called for every request.
            body_limit_bytes: a longer body is refused, and nothing of it kept.
            timeout_seconds: after which the platform ends a request; None where it never does.
            first_byte_timeout_seconds: after which the platform ends a request whose answer has not begun.
        """
        self._gateway = gateway
        self._body_limit_bytes = body_limit_bytes
        self._timeout_seconds = timeout_seconds
        self._first_byte_timeout_seconds = first_byte_timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, headers = time.monotonic(), _headers(scope)
        try:
            body = await _read_body(headers, receive, self._body_limit_bytes)
        except _ClientLeft:
            return
        except errors.BodyTooLarge as error:
            await _write(self._gateway().refuse(self._request(scope, headers, b"", started), error), send)
            return
        except _FarTooLarge:
            too_large = errors.BodyTooLarge(self._body_limit_bytes)
            response = self._gateway().refuse(self._request(scope, headers, b"", started), too_large)
            await _write(replace(response, headers={**response.headers, "connection": "close"}), send)
            return
        await _unless_client_leaves(self._answer(self._request(scope, headers, body, started), send), receive)

    def _request(self, scope: Scope, headers: Mapping[str, str], body: bytes, started: float) -> Request:
        client = scope.get("client")
        return Request(
            method=scope["method"].upper(),
            path=scope["raw_path"].partition(b"?")[0].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=body,
            deadline=_after(started, self._timeout_seconds),
            first_byte_deadline=_after(started, self._first_byte_timeout_seconds),
            client=client[0] if client else None,
        )

    async def _answer(self, request: Request, send: Send) -> None:
        response = await self._gateway().handle(request)
        # What ends a stream without its last part is logged by then; the server cuts the connection, as is right.
        with suppress(errors.UpstreamError):
            await _write(response, send)


def _headers(scope: Scope) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _after(started: float, seconds: float | None) -> float | None:
    return None if seconds is None else started + seconds


async def _read_body(headers: Mapping[str, str], receive: Receive, limit_bytes: int) -> bytes:
    announced = headers.get("content-length", "")
    size = int(announced) if announced.isdecimal() else 0
    if size > limit_bytes * _READ_TO_REFUSE:
        raise _FarTooLarge
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        size += len(message.get("body", b""))
        if size > limit_bytes * _READ_TO_REFUSE:
            raise _FarTooLarge
        if size <= limit_bytes:
            parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    if size > limit_bytes:
        raise errors.BodyTooLarge(limit_bytes)
    return b"".join(parts)


async def _write(response: Response, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    if isinstance(response.body, bytes):
        headers.append((b"content-length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})
        return
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        async for chunk in response.body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await response.body.aclose()


async def _unless_client_leaves(answer: Awaitable[None], receive: Receive) -> None:
    """Wait for `answer`, or cancel it as soon as the client has left."""
    task = asyncio.current_task()
    assert task is not None
    has_left = is_over = False

    def cancel(_: asyncio.Future[None]) -> None:
        nonlocal has_left
        if not is_over:  # it may be called although it was taken back: it was due already
            has_left = True
            task.cancel()

    leaving = asyncio.get_running_loop().create_task(_disconnect(receive))
    leaving.add_done_callback(cancel)
    try:
        await answer
    except asyncio.CancelledError:
        if not has_left or task.cancelling() > 1:  # the server's own doing
            raise
    finally:
        is_over = True
        leaving.cancel()
        if has_left:
            task.uncancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
