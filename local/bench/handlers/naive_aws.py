"""The Lambda handler that one writes first: a typed call by the SDK. It answers through the same runtime."""

from __future__ import annotations

import json
from functools import cache
from types import SimpleNamespace
from typing import Any

from openai import AsyncOpenAI


@cache
def _client() -> AsyncOpenAI:
    return AsyncOpenAI()


async def answer(event: dict[str, Any], *, deadline: float, request_id: str) -> SimpleNamespace:
    asked = json.loads(event["body"])
    completion = await _client().chat.completions.create(**asked)
    body = completion.model_dump_json().encode()
    return SimpleNamespace(status=200, headers={"content-type": "application/json"}, body=body)


def head(response: SimpleNamespace) -> dict[str, Any]:
    return {"statusCode": response.status, "headers": response.headers, "cookies": []}
