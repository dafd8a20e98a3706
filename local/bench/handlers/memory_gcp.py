"""The gateway as Google's runtime serves it, with a store that costs nothing: what is left is its own logic."""

from __future__ import annotations

import functools
import os
from typing import cast

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from core import logs
from core.asgi import AsgiApplication
from core.gateway import Gateway
from core.settings import Settings
from local.bench.memory_store import MemoryStore, copied

logs.to_stdout()
_settings = Settings.load(os.environ)


@functools.cache
def _gateway() -> Gateway:
    return Gateway(_settings, _store)


_store: MemoryStore = copied(_settings.store.partition(":")[2])
_application = AsgiApplication(_gateway, body_limit_bytes=_settings.limits.body_bytes)


@functions_framework.aio.http
async def gateway(_request: Request) -> Response:
    return cast("Response", _application)
