"""The least that a Lambda handler can do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


async def answer(event: dict[str, Any], *, deadline: float, request_id: str) -> SimpleNamespace:
    return SimpleNamespace(status=200, headers={"content-type": "text/plain"}, body=b"Hello, world")


def head(response: SimpleNamespace) -> dict[str, Any]:
    return {"statusCode": response.status, "headers": response.headers, "cookies": []}
