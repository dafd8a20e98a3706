"""The least that an Azure function can do on that web server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import azure.functions as func

import http_stream

Message = MutableMapping[str, Any]


async def _application(
    _scope: Message, _receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Hello, world"})


app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="{*path}", methods=["POST"])
async def gateway(req: http_stream.Request) -> http_stream.Response:
    return http_stream.Response(_application)
