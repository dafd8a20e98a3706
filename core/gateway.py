"""The way of a request, from top to bottom."""

from __future__ import annotations

import asyncio

from core import endpoints, errors, logs, schemas
from core.auth import Authenticator
from core.http import Request, Response
from core.ports import Store
from core.settings import Settings
from core.upstream import Upstream

_CLIENT_LEFT = 499


class Gateway:
    """Answers requests, one process long. What it holds open belongs to the event loop of its first request."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._auth = Authenticator(store, cache_seconds=settings.apps.cache_seconds)
        self._upstream = Upstream(settings)

    async def handle(self, request: Request) -> Response:
        """The answer to `request`. Whatever goes wrong is an answer too: it raises nothing but its own cancellation."""
        line, outcome = logs.RequestLine(request), "ok"
        try:
            response = await self._answer(request, line)
        except errors.TrefoilError as error:
            response, outcome = errors.to_response(error, request.id), error.code or error.type
        except asyncio.CancelledError:
            line.status = _CLIENT_LEFT
            line.write("client_left")
            raise
        except Exception as error:
            logs.write_crash(request, error)
            response, outcome = errors.to_response(errors.InternalError(), request.id), "internal_error"
        line.status = response.status
        if isinstance(response.body, bytes) and line.endpoint != endpoints.HEALTH.name:
            line.write(outcome)
        return response

    async def _answer(self, request: Request, line: logs.RequestLine) -> Response:
        endpoint = endpoints.find(request.method, request.path)
        line.endpoint = endpoint.name
        if endpoint is endpoints.HEALTH:
            return Response(200, {"content-type": "application/json"}, b'{"status":"ok"}')

        app = await self._auth.identify(request.headers)
        line.app = app.id

        stream = False
        if endpoint.body is not None:
            call = schemas.read(endpoint.body, request, limit_bytes=self._settings.limits.body_bytes)
            line.model, stream = call.model, bool(call.stream)

        return await self._upstream.send(endpoint, request, stream=stream, on_end=line.write)

    async def close(self) -> None:
        """Give back what is held open."""
        await self._upstream.close()
