"""The way of a request, from top to bottom."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import quote

from core import body, cors, endpoints, errors, listing, logs, made, model_names
from core.auth import Authenticator
from core.http import Request, Response
from core.idempotency import REPLAYED, Idempotency
from core.kinds import Kind
from core.objects import Objects
from core.ports import App, Store, StoreError
from core.settings import Settings
from core.upstream import ATTEMPTS_HEADER, TARGET_HEADER, Upstream

_CLIENT_LEFT = 499
_JSON = {"content-type": "application/json"}


class Gateway:
    """Answers requests, one process long. What it holds open belongs to the event loop of its first request."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._auth = Authenticator(store, cache_seconds=settings.apps.cache_seconds)
        self._objects = Objects(store)
        self._idempotency = Idempotency(store)
        self._upstream = Upstream(settings)

    async def handle(self, request: Request) -> Response:
        """The answer to `request`. Whatever goes wrong is an answer too: it raises nothing but its own cancellation."""
        line = logs.RequestLine(request)
        try:
            response = await self._answer(request, line)
        except errors.TrefoilError as error:
            return self._finish(line, errors.to_response(error, request.id), error.code or error.type)
        except StoreError as error:
            logs.write(logging.ERROR, "store_unavailable", request_id=request.id, error=str(error))
            return self._finish(line, errors.to_response(errors.StoreUnavailable(), request.id), "store_unavailable")
        except asyncio.CancelledError:
            line.status = _CLIENT_LEFT
            line.write("client_left")
            raise
        except Exception as error:
            logs.write_crash(request, error)
            return self._finish(line, errors.to_response(errors.InternalError(), request.id), "internal_error")
        return self._finish(line, response, "ok")

    def refuse(self, request: Request, error: errors.TrefoilError) -> Response:
        """The answer to a request that its adapter could not read to its end."""
        line = logs.RequestLine(request)
        return self._finish(line, errors.to_response(error, request.id), error.code or error.type)

    async def _answer(self, request: Request, line: logs.RequestLine) -> Response:
        if cors.is_preflight(request):
            return cors.answer_preflight(request, self._settings.cors.origins)
        endpoint, names = endpoints.find(request.method, request.path)
        line.endpoint = endpoint.name
        if endpoint.public:
            return _public_answer(endpoint)

        app = await self._auth.identify(request.headers)
        line.app = app

        asked = body.read(endpoint, request, limit_bytes=self._settings.limits.body_bytes)
        line.model = asked.call.model
        upstream = await self._objects.check(app, names, asked.references)
        if endpoint.lists is not None:
            return await self._list(app, endpoint.lists, request)
        aliases = self._settings.models
        if names.get("model") in aliases:
            return Response(HTTPStatus.OK, _JSON, model_names.describe(names["model"]))

        async def work() -> Response:
            response = await self._upstream.send(
                replace(endpoint, repeatable=not made.leaves_another(endpoint, asked.call)),
                request,
                model=asked.call.model,
                upstream=upstream,
                stream=bool(endpoint.last_events),
                on_end=line.write,
            )
            if aliases and endpoint is endpoints.MODELS and response.status == HTTPStatus.OK:
                response = replace(response, body=model_names.with_aliases(_whole(response), aliases))
            return await self._objects.settle(app, endpoint, names, asked.call, response)

        return await self._idempotency.once(app, request, work)

    async def _list(self, app: App, kind: Kind, request: Request) -> Response:
        """A page of the app's own objects, each as upstream has it now."""

        async def fetch(object_id: str, upstream: str | None) -> bytes | None:
            one = replace(request, path=f"{request.path}/{quote(object_id, safe='')}", query="")
            endpoint = endpoints.find(one.method, one.path).endpoint
            answer = await self._upstream.send(endpoint, one, upstream=upstream, stream=False, on_end=lambda _: None)
            if answer.status == HTTPStatus.NOT_FOUND:
                return None  # deleted elsewhere; its record harms nobody
            if answer.status != HTTPStatus.OK or not isinstance(answer.body, bytes):
                raise errors.UpstreamError(f"The model's service did not give the {kind.noun} '{object_id}'.")
            return answer.body

        page = listing.Page.read(kind, request.query)
        content = await listing.make(page, await self._objects.all_of(app, kind), fetch)
        return Response(HTTPStatus.OK, _JSON, content)

    def _finish(self, line: logs.RequestLine, response: Response, outcome: str) -> Response:
        """`response` with the headers that every answer has, and its line written, unless it goes on as a stream."""
        request = line.request
        line.status = response.status
        told_id = response.headers.get("x-request-id")
        line.upstream_request_id = None if told_id == request.id else told_id
        line.target = response.headers.get(TARGET_HEADER)
        line.attempts = response.headers.get(ATTEMPTS_HEADER)
        if isinstance(response.body, bytes):
            line.write("replayed" if REPLAYED.items() <= response.headers.items() else outcome)
        origins = line.app.origins if line.app and line.app.origins else self._settings.cors.origins
        return replace(
            response, headers={"x-request-id": request.id, **response.headers, **cors.headers_for(request, origins)}
        )

    async def close(self) -> None:
        """Give back what is held open."""
        await self._upstream.close()


def _public_answer(endpoint: endpoints.Endpoint) -> Response:
    if endpoint is endpoints.OPENAPI:
        # Read by few, so not by every cold start.
        from core import openapi  # noqa: PLC0415

        return Response(HTTPStatus.OK, _JSON, openapi.document())
    return Response(HTTPStatus.OK, _JSON, b'{"status":"ok"}')


def _whole(response: Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body
