"""The way of a request, from top to bottom."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from core import body, cors, endpoints, errors, listing, logs, made, model_names, policy
from core.auth import Authenticator
from core.endpoints import Endpoint
from core.http import Request, Response
from core.idempotency import REPLAYED, Idempotency
from core.kinds import Kind
from core.meter import Meter
from core.objects import Objects
from core.ports import App, Store, StoreError
from core.schemas import Call
from core.settings import Settings
from core.upstream import ATTEMPTS_HEADER, TARGET_HEADER, Answer, Upstream

if TYPE_CHECKING:
    from core.manage import Manage
    from core.tasks import Tasks

_CLIENT_LEFT = 499
_MANAGE = "/manage"
_JSON = {"content-type": "application/json"}


class Gateway:
    """Answers requests, one process long. What it holds open belongs to the event loop of its first request."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._auth = Authenticator(
            store,
            cache_seconds=settings.apps.cache_seconds,
            opens_without_store=settings.apps.when_store_fails == "open",
        )
        self._objects = Objects(store)
        self._idempotency = Idempotency(store)
        self._upstream = Upstream(settings)
        self._meter = Meter(settings, store)

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
        if request.path == _MANAGE or request.path.startswith(f"{_MANAGE}/"):
            line.endpoint = "manage"
            return await self._manage.handle(request)
        endpoint, names = endpoints.find(request.method, request.path)
        line.endpoint = endpoint.name
        if endpoint.public:
            return _public_answer(endpoint)

        app = await self._auth.identify(request.headers)
        line.app = app
        if endpoint.is_task:
            return await self._tasks.answer(app, endpoint, names, request, line)

        asked = body.read(endpoint, request, limit_bytes=self._settings.limits.body_bytes)
        line.model = asked.call.model
        policy.check(app, endpoint, asked.call.model or names.get("model"))
        upstream = await self._objects.check(app, names, asked.references)

        async def work() -> Response:
            targets = self._upstream.targets(asked.call.model, upstream)
            tab = await self._meter.open(app, endpoint, asked, request, targets)
            try:
                own = await self._own_answer(app, endpoint, names, request)
                if own is not None:
                    answer = Answer(own, targets[0])
                else:
                    answer = await self._send(app, endpoint, asked.call, tab.request, upstream, line)
            except BaseException as error:
                await tab.fail(error)
                raise
            response = await tab.settle(answer)
            if endpoint is endpoints.MODELS and response.status == HTTPStatus.OK:
                response = replace(response, body=self._offered_models(app, _whole(response)))
            return await self._objects.settle(app, endpoint, names, asked.call, response)

        return await self._idempotency.once(app, request, work)

    async def _own_answer(
        self, app: App, endpoint: Endpoint, names: Mapping[str, str], request: Request
    ) -> Response | None:
        """The answer to what upstream does not know as this service does; None to all else."""
        if endpoint is endpoints.USAGE:
            return await self._manage.own_usage(app, request)
        if endpoint.lists is not None:
            return await self._list(app, endpoint.lists, request)
        if names.get("model") in self._settings.models:
            return Response(HTTPStatus.OK, _JSON, model_names.describe(names["model"]))
        return None

    async def _send(
        self, app: App, endpoint: Endpoint, call: Call, request: Request, upstream: str | None, line: logs.RequestLine
    ) -> Answer:
        return await self._upstream.send(
            endpoint._replace(repeatable=False) if made.leaves_another(endpoint, call) else endpoint,
            request,
            model=call.model,
            upstream=upstream,
            stream=bool(endpoint.last_events),
            pays_once=app.limits.has_budget or app.limits.tokens_per_minute is not None,
            on_end=line.write,
        )

    async def _list(self, app: App, kind: Kind, request: Request) -> Response:
        """A page of the app's own objects, each as upstream has it now."""

        async def fetch(object_id: str, upstream: str | None) -> bytes | None:
            one = replace(request, path=f"{request.path}/{quote(object_id, safe='')}", query="")
            endpoint = endpoints.find(one.method, one.path).endpoint
            sent = await self._upstream.send(endpoint, one, upstream=upstream, stream=False, on_end=lambda _: None)
            answer = sent.response
            if answer.status == HTTPStatus.NOT_FOUND:
                return None  # deleted elsewhere; its record harms nobody
            if answer.status != HTTPStatus.OK or not isinstance(answer.body, bytes):
                raise errors.UpstreamError(f"The model's service did not give the {kind.noun} '{object_id}'.")
            return answer.body

        page = listing.Page.read(kind, request.query)
        content = await listing.make(page, await self._objects.all_of(app, kind), fetch)
        return Response(HTTPStatus.OK, _JSON, content)

    @cached_property
    def _manage(self) -> Manage:
        # An operator's, and no cold start's.
        from core.books import Books  # noqa: PLC0415
        from core.manage import Manage  # noqa: PLC0415

        return Manage(
            self._store,
            Books(self._store),
            admin_key=self._settings.admin_key,
            cache_seconds=self._settings.apps.cache_seconds,
        )

    @cached_property
    def _tasks(self) -> Tasks:
        from core.tasks import Tasks  # noqa: PLC0415 - few cold starts need it

        return Tasks(self._settings, self._store, self._upstream, self._meter, self._idempotency)

    def _offered_models(self, app: App, listed: bytes) -> bytes:
        """Upstream's list of models, with the aliases, and without those that are not the app's to use."""
        return policy.only_allowed(app, model_names.with_aliases(listed, self._settings.models))

    def _finish(self, line: logs.RequestLine, response: Response, outcome: str) -> Response:
        """`response` with the headers that every answer has, and its line written, unless it goes on as a stream."""
        request = line.request
        line.status = response.status
        told_id = response.headers.get("x-request-id")
        line.upstream_request_id = None if told_id == request.id else told_id
        line.target = response.headers.get(TARGET_HEADER)
        line.attempts = response.headers.get(ATTEMPTS_HEADER)
        if isinstance(response.body, bytes):
            line.write("replayed" if REPLAYED in response.headers else outcome)
        origins = line.app.origins if line.app and line.app.origins else self._settings.cors.origins
        headers = {"x-request-id": request.id, **response.headers, **cors.headers_for(request, origins)}
        return Response(response.status, headers, response.body)

    async def close(self) -> None:
        """Give back what is held open."""
        await self._meter.close()
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
