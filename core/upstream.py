"""The call to the model's service: bytes out, bytes back. The only module that imports `openai`.

The SDK brings its authentication, providers, connection pool and error classes; its typed resources and models are not
used, because they cost more than all the rest of a request and would drop what they don't know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator

import httpx2
import openai

from core import errors, logs, schemas
from core.endpoints import Endpoint
from core.http import Request, Response
from core.settings import Settings
from core.stream import EventStream

_IDLE_CONNECTIONS = 100

_REQUEST_HEADERS = ("accept", "openai-beta", "x-client-request-id")
"""A client's headers that go up. Its credentials, organisation, cookies and address stay here."""

_RESPONSE_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-type",
    "openai-model",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-should-retry",
)
"""Upstream's headers that come down. Its rate limits and organisation are the operator's affairs, framing ours."""

_DEADLINE_RESERVE_SECONDS = 1.0
"""Kept back from the platform's deadline, to say in that time that upstream was too slow."""


class Upstream:
    """One shared client and connection pool, made when first used: by then the event loop that it belongs to runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: openai.AsyncOpenAI | None = None

    async def send(
        self, endpoint: Endpoint, request: Request, *, stream: bool, on_end: Callable[[str], None]
    ) -> Response:
        """Upstream's answer to `request`: whole, or, where `stream` was asked for and given, from its first event on.

        An error status is an answer like any other. `on_end` is told how a stream ended.

        Raises:
            UpstreamError: no usable answer came; UpstreamTimeout if none came in time, UpstreamAuthFailed if upstream
                refused the operator's credential.
        """
        with _translated_errors():
            async with asyncio.timeout(_seconds_until(request.first_byte_deadline, request.deadline)):
                answer = await self._call(request)
                if stream and answer.is_success and _media_type(answer) == "text/event-stream":
                    events = EventStream(_chunks(answer, request), last_event=endpoint.last_event, on_end=on_end)
                    await events.start()
                    return Response(answer.status_code, _kept_headers(answer, request), events)
                async with contextlib.aclosing(answer):
                    body = await answer.aread()
        return _whole_answer(answer, request, body)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _call(self, request: Request) -> httpx2.Response:
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        # What is not compressed can be passed on as it comes.
        headers["accept-encoding"] = "identity"
        options: openai._types.RequestOptions = {"headers": headers}
        path = request.path.removeprefix("/v1") + (f"?{request.query}" if request.query else "")
        client = self._connect()
        try:
            if request.method == "GET":
                return await client.get(path, cast_to=httpx2.Response, options=options, stream=True)
            headers["content-type"] = "application/json"
            return await client.post(path, content=request.body, cast_to=httpx2.Response, options=options, stream=True)
        except openai.APIStatusError as error:
            return error.response

    def _connect(self) -> openai.AsyncOpenAI:
        if self._client is None:
            upstream = self._settings.upstream
            self._client = openai.AsyncOpenAI(
                api_key=self._settings.openai_api_key.get_secret_value(),
                base_url=upstream.base_url,
                # Retries are this service's own to decide, which knows the deadline: two loops would multiply.
                max_retries=0,
                timeout=httpx2.Timeout(upstream.silence_timeout_seconds, connect=upstream.connect_timeout_seconds),
                http_client=openai.DefaultAsyncHttpxClient(
                    limits=httpx2.Limits(max_connections=None, max_keepalive_connections=_IDLE_CONNECTIONS),
                    # A redirect would carry a prompt to a place that nobody configured.
                    follow_redirects=False,
                ),
            )
        return self._client


async def _chunks(answer: httpx2.Response, request: Request) -> AsyncGenerator[bytes, None]:
    with _translated_errors():
        async with contextlib.aclosing(answer):
            chunks = answer.aiter_bytes()
            while True:
                async with asyncio.timeout(_seconds_until(request.deadline)):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk


def _whole_answer(answer: httpx2.Response, request: Request, body: bytes) -> Response:
    status = answer.status_code
    if status in (401, 403):
        logs.write(logging.ERROR, "upstream_auth_failed", status=status, advice="check OPENAI_API_KEY")
        raise errors.UpstreamAuthFailed("This service's own access to the model was refused: its operator can mend it.")
    if _media_type(answer) == "application/json" and schemas.is_object(body) and not answer.is_redirect:
        return Response(status, _kept_headers(answer, request), body)
    refusal = errors.UpstreamError("The model's service sent an unreadable answer.", code="upstream_invalid")
    if answer.is_error:
        # A proxy's page, say. Its status still tells the client whether to try again.
        refusal.status = status
        refusal.headers.update({name: answer.headers[name] for name in ("retry-after",) if name in answer.headers})
    raise refusal


def _kept_headers(answer: httpx2.Response, request: Request) -> dict[str, str]:
    kept = {name: answer.headers[name] for name in _RESPONSE_HEADERS if name in answer.headers}
    return {"x-request-id": request.id, **kept}


def _media_type(answer: httpx2.Response) -> str:
    return str(answer.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _seconds_until(*deadlines: float | None) -> float | None:
    """How long there is until the first of these, less the reserve; None if there is none."""
    set_deadlines = [deadline for deadline in deadlines if deadline is not None]
    if not set_deadlines:
        return None
    return max(0.0, min(set_deadlines) - _DEADLINE_RESERVE_SECONDS - time.monotonic())


def _root_cause(error: BaseException) -> str:
    """The kind of failure at the bottom. Texts stay out, but for the system's own: others may quote a header."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return type(error).__name__ + reason


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """The SDK's and its HTTP client's failures as ours. Their own messages may quote addresses, so they stay here."""
    try:
        yield
    except (openai.APITimeoutError, httpx2.TimeoutException, TimeoutError):
        raise errors.UpstreamTimeout("The model's service did not answer in time.") from None
    except openai.APIConnectionError as error:
        logs.write(logging.ERROR, "upstream_unreachable", cause=_root_cause(error))
        raise errors.UpstreamError("The model's service cannot be reached.", code="upstream_unreachable") from None
    except httpx2.InvalidURL:
        raise errors.InvalidRequest("The URL of this request is not valid.") from None
    except httpx2.HTTPError as error:
        logs.write(logging.ERROR, "upstream_cut_off", cause=_root_cause(error))
        raise errors.UpstreamError("The model's service broke off its answer.", code="upstream_cut_off") from None
