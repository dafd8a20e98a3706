"""The bare raw call by the SDK, and nothing else: what is above it is the gateway's own logic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any, cast

import functions_framework.aio
import httpx2
import openai
from starlette.requests import Request
from starlette.responses import Response

Message = MutableMapping[str, Any]


@cache
def _client() -> openai.AsyncOpenAI:
    # The pool that the gateway's own client has.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
    return openai.AsyncOpenAI(max_retries=0, http_client=openai.DefaultAsyncHttpxClient(limits=limits))


async def _application(
    _scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    answer = await _client().post(
        "/chat/completions",
        content=body,
        cast_to=httpx2.Response,
        stream=True,
        stream_cls=openai.AsyncStream[object],
        options={"headers": {"content-type": "application/json", "accept-encoding": "identity"}},
    )
    response = answer.response if isinstance(answer, openai.AsyncStream) else answer
    headers = [(b"content-type", response.headers["content-type"].encode())]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    async for chunk in response.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@functions_framework.aio.http
async def gateway(_request: Request) -> Response:
    return cast("Response", _application)
