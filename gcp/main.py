"""Google Cloud Run functions: the entry that functions-framework serves.

The framework imports this module before it forks its worker: nothing here opens a connection or needs an event loop.
"""

from __future__ import annotations

from core import cold_start

# isort: split
import functools
import os
from typing import cast

import functions_framework.aio
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from core import logs
from core.asgi import AsgiApplication
from core.gateway import Gateway
from core.settings import Settings
from run_function_store import open_store


class _AnyPath(PathConvertor):
    """The framework's catch-all. Starlette's own leaves out a line break: the framework itself would answer `%0A`."""

    regex = "(?s:.*)"


register_url_convertor("path", _AnyPath())
logs.to_stdout()
_settings = Settings.load(os.environ)
_store = open_store(_settings.store, os.environ)


@functools.cache
def _gateway() -> Gateway:
    return Gateway(_settings, _store)


_gateway()  # no request waits until it is made
_application = AsgiApplication(
    _gateway,
    body_limit_bytes=_settings.limits.body_bytes,
    timeout_seconds=_settings.request_timeout_seconds,
)


cold_start.is_over()


@functions_framework.aio.http
async def gateway(_request: Request) -> Response:
    """The framework runs what it is given as an ASGI application: the whole answer is that application's to give."""
    return cast("Response", _application)
