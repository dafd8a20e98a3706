"""HTTP streams for Azure Functions: the web server that the Python worker runs inside itself, and its two types.

A function takes a `Request` and returns a `Response`; the ASGI application in it then reads the body and answers, chunk
by chunk. Microsoft's own module for this brings FastAPI, which adds 180-280 ms to a cold start; this one adds 20-80 ms.
The worker looks for `WebApp` and `WebServer` by name, and knows an HTTP stream by the two types.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import azurefunctions.extensions.base as base
import uvicorn

from core import errors
from core.http import new_request_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_INVOCATION_ID = "x-ms-invocation-id"
_WORKERS = ("azure_functions_runtime.http_v2", "azure_functions_worker.http_v2")  # Python from 3.13, and before

_logger = logging.getLogger(__name__)


class _Request:
    """What the worker pairs with an invocation, and no more: the application reads the scope itself."""

    def __init__(self, scope: Scope) -> None:
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.path_params: dict[str, str] = {}


class _RouteParameters(base.RequestSynchronizer):
    def sync_route_params(self, request: _Request, path_params: dict[str, str]) -> None:
        request.path_params.update(path_params)


class Request(_Request, metaclass=base.RequestTrackerMeta):
    """The parameter type that makes a function an HTTP stream."""

    request_type = _Request
    synchronizer = _RouteParameters()


class _Response:
    def __init__(self, application: Application) -> None:
        self.application = application


class Response(_Response, metaclass=base.ResponseTrackerMeta):
    """What a function returns: the ASGI application that answers. It sees `http.disconnect` when the client leaves."""

    label = base.ResponseLabels.STANDARD
    response_type = _Response


class WebApp(base.WebApp):
    """Hands each request to the worker, which answers with what the function returned or raised."""

    def route(self, func: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        self._invoke = func
        return func

    def get_app(self) -> Application:
        return self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        request = Request(scope)
        try:
            response = await self._invoke(request)
            await response.application(scope, receive, watched_send)
        except Exception as error:
            _log_failure(error)
            if not started:
                await _send_internal_error(send)
            # Otherwise the response stays unfinished: the server then cuts the connection, and the client can tell.
        finally:
            _forget(request.headers.get(_INVOCATION_ID))


class WebServer(base.WebServer):
    """Listens where only the Functions host calls."""

    async def serve(self) -> None:
        config = uvicorn.Config(
            self.web_app,
            host=self.hostname,
            port=self.port,
            interface="asgi3",  # a bound method is taken for ASGI 2 otherwise
            lifespan="off",
            ws="none",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            server_header=False,
            date_header=False,  # the host in front writes it
            timeout_keep_alive=75,  # longer than the host keeps an idle connection, so that only the host closes one
        )
        self.server = _Server(config)
        await self.server.serve()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process's owner, the worker."""
        yield


def _log_failure(error: Exception) -> None:
    """Say where it happened. The exception's own text stays out: it may quote a prompt or a key."""
    where = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
    _logger.error("The function failed with %s at\n%s", type(error).__qualname__, where.rstrip())


async def _send_internal_error(send: Send) -> None:
    error = errors.InternalError()
    response, body = errors.to_response(error, new_request_id()), errors.body(error)
    headers = {**response.headers, "content-length": str(len(body))}
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _forget(invocation_id: str | None) -> None:
    """Drop the worker's record of this exchange, which it would keep for ever: about 2 KB a request."""
    for name in _WORKERS:
        coordinator = getattr(sys.modules.get(name), "http_coordinator", None)
        getattr(coordinator, "_context_references", {}).pop(invocation_id, None)
