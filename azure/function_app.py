"""The Azure Functions entry: every request, whatever its path, is answered by the gateway as an HTTP stream."""

from __future__ import annotations

from core import cold_start

# isort: split
import os
from functools import cache

import azure.functions as func

import http_stream
from core.asgi import AsgiApplication
from core.gateway import Gateway
from core.settings import Settings
from function_app_store import open_store

_TIMEOUT_SECONDS = 600
"""`functionTimeout` in host.json."""
_FIRST_BYTE_TIMEOUT_SECONDS = 230
"""Azure's load balancer drops a connection on which nothing has come for so long.

https://learn.microsoft.com/azure/azure-functions/functions-scale#timeout
"""

# A mistake in what is set must stop the start, not the first request.
_settings = Settings.load(os.environ)
_store = open_store(_settings.store, os.environ)


@cache
def _gateway() -> Gateway:
    return Gateway(_settings, _store)


_gateway()  # no request waits until it is made
_application = AsgiApplication(
    _gateway,
    body_limit_bytes=_settings.limits.body_bytes,
    timeout_seconds=_settings.request_timeout_seconds or _TIMEOUT_SECONDS,
    first_byte_timeout_seconds=_FIRST_BYTE_TIMEOUT_SECONDS,
)

cold_start.is_over()

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)  # app keys are the gateway's own


@app.route(route="{*path}", methods=list(func.HttpMethod))
async def gateway(req: http_stream.Request) -> http_stream.Response:
    """The extension runs what it is given as an ASGI application: the whole answer is that application's to give."""
    return http_stream.Response(_application)
