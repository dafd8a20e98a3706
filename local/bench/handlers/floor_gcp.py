"""The least that a Cloud Run function can do."""

from __future__ import annotations

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response


@functions_framework.aio.http
async def gateway(_request: Request) -> Response:
    return Response("Hello, world")
