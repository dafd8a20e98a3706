"""The Azure function that one writes first: a typed call by the SDK. It answers through the same web server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any

import azure.functions as func
from openai import AsyncOpenAI

import http_stream

Message = MutableMapping[str, Any]


@cache
def _client() -> AsyncOpenAI:
    return AsyncOpenAI()


async def _application(
    _scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    asked = json.loads((await receive())["body"])
    completion = await _client().chat.completions.create(**asked)
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": completion.model_dump_json().encode()})


app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="{*path}", methods=["POST"])
async def gateway(req: http_stream.Request) -> http_stream.Response:
    return http_stream.Response(_application)
