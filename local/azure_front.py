"""What the Azure Functions host refuses, and what it changes (github.com/Azure/azure-functions-host)."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

import h11

from local.azure_exchange import Exchange, ExchangeFailed, Headers, Limits, Receive, Send, end_to_end
from local.azure_routes import Match, Routes
from local.azure_worker import Worker

_INVOCATION_ID = b"x-ms-invocation-id"
_RESERVED = "/admin"  # the host's own API; since 2026 it answers 404 there whatever the app's routes say

_logger = logging.getLogger(__name__)


class Front:
    """The ASGI application that clients talk to."""

    def __init__(self, worker: Worker, routes: Routes, limits: Limits) -> None:
        self._worker = worker
        self._routes = routes
        self._limits = limits
        self._requests: set[asyncio.Task[Any]] = set()
        self._invocations: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        request = asyncio.current_task()
        assert request is not None
        self._requests.add(request)
        try:
            found = self._routes.find(scope["method"], scope["path"])
            status = self._refusal(scope, found)
            if status is not None or found is None:
                await _send_status(send, status or 404)
            else:
                await self._forward(scope, receive, send, found)
        finally:
            self._requests.discard(request)

    def _refusal(self, scope: dict[str, Any], found: Match | None) -> int | None:
        path = scope["path"].lower()
        if found is None or path == _RESERVED or path.startswith(f"{_RESERVED}/"):
            return 404
        if found.function.auth_level != "anonymous":
            return 401  # there are no function keys on this machine
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return 413 if int(length) > self._limits.body_bytes else None

    async def _forward(self, scope: dict[str, Any], receive: Receive, send: Send, found: Match) -> None:
        invocation_id = str(uuid.uuid4())
        try:
            head = _head(scope, invocation_id)
        except h11.LocalProtocolError:
            await _send_status(send, 400)
            return
        invocation = asyncio.create_task(self._worker.invoke(found.function, invocation_id, found.parameters))
        self._invocations.add(invocation)  # it may outlive its client, as on Azure
        invocation.add_done_callback(self._invocations.discard)
        exchange = Exchange(receive, send, self._limits)
        try:
            await exchange.run(self._worker.http_address, head, invocation)
        except ExchangeFailed as failure:
            _logger.warning("%s %s: %s", scope["method"], scope["path"], failure)
            if not exchange.started:
                await _send_status(send, failure.status)
            # Otherwise the response stays unfinished: the server then cuts the connection, and the client can tell.

    def cut(self) -> None:
        """End every request at once, as when the instance goes away."""
        for request in self._requests:
            request.cancel()


def _head(scope: dict[str, Any], invocation_id: str) -> h11.Request:
    """The request's head, as the worker's web server is to see it."""
    query: bytes = scope["query_string"]
    dropped = {_INVOCATION_ID, b"expect", b"x-forwarded-for"}  # `expect` was answered on the client's connection
    headers: Headers = [(name, value) for name, value in end_to_end(scope["headers"]) if name not in dropped]
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    if scope["client"]:
        forwarded.append("{}:{}".format(*scope["client"]).encode())
    if forwarded:
        headers.append((b"x-forwarded-for", b", ".join(forwarded)))
    headers.append((_INVOCATION_ID, invocation_id.encode()))
    if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
        headers.append((b"transfer-encoding", b"chunked"))
    if not any(name == b"host" for name, _ in headers):
        headers.append((b"host", b"localhost"))  # HTTP/1.0 does not ask for one
    target = scope["raw_path"] + (b"?" + query if query else b"")
    return h11.Request(method=scope["method"], target=target, headers=headers)


async def _send_status(send: Send, status: int) -> None:
    """Answer without a body, as the host does."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
