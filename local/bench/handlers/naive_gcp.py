"""The Cloud Run function that one writes first: a typed call by the SDK."""

from __future__ import annotations

from functools import cache

import functions_framework.aio
from openai import AsyncOpenAI
from starlette.requests import Request
from starlette.responses import Response


@cache
def _client() -> AsyncOpenAI:
    return AsyncOpenAI()


@functions_framework.aio.http
async def gateway(request: Request) -> Response:
    completion = await _client().chat.completions.create(**await request.json())
    return Response(completion.model_dump_json(), media_type="application/json")
