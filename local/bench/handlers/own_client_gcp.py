"""The bare call by the gateway's own HTTP client: what the gateway adds to it is its own logic, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from functools import cache
from typing import Any, cast

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from core.http_client import HttpClient

Message = MutableMapping[str, Any]


@cache
def _client() -> HttpClient:
    return HttpClient(os.environ["OPENAI_BASE_URL"], connect_seconds=5, silence_seconds=600)


async def _application(
    _scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "content-type": "application/json"}
    async with aclosing(await _client().send("POST", "/chat/completions", headers, body)) as answer:
        sent = [(b"content-type", answer.headers["content-type"].encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": sent})
        async for chunk in answer:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@functions_framework.aio.http
async def gateway(_request: Request) -> Response:
    return cast("Response", _application)
