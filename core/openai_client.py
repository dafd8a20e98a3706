"""The client of an upstream that asks for more than a key: the `openai` SDK's, with its credentials and providers.

The SDK's typed resources and models are not used, because they cost more than all the rest of a request and would drop
what they don't know.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import TypedDict
from urllib.parse import quote

import httpx2

from core import errors, tls
from core.http_client import InvalidTarget, target_of
from core.http_connection import ConnectFailed, ConnectTimedOut, CutOff, Dropped, HttpError, Silence
from core.openai_sdk import openai
from core.settings import Settings
from core.upstream_settings import OpenAIUpstream, UpstreamSettings

_IDLE_CONNECTIONS = 100

_FORM_TYPE = "x-trefoil-content-type"
"""Under this name a form's content type passes the SDK, which takes the real one as an order to write a form itself."""

_DATED_AZURE_PATHS = frozenset(
    {
        "/audio/speech",
        "/audio/transcriptions",
        "/audio/translations",
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/images/edits",
        "/images/generations",
    }
)
"""Azure's dated API has these below a deployment (https://learn.microsoft.com/azure/ai-foundry/openai/reference)."""


class Common(TypedDict):
    """What every kind of client is made with."""

    max_retries: int
    timeout: httpx2.Timeout
    http_client: httpx2.AsyncClient


class SdkAnswer:
    """An `Answer` that the SDK's HTTP client brings."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers)
        self._response = response
        self._chunks: AsyncGenerator[bytes, None] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._chunks is None:
            # Nothing was to be compressed. What is raw passes through fewer hands.
            encoded = "content-encoding" in self.headers
            self._chunks = self._response.aiter_bytes() if encoded else self._response.aiter_raw()
        with _translated(begun=True):
            return await anext(self._chunks)

    async def read(self) -> bytes:
        async with contextlib.aclosing(self._response):
            with _translated(begun=True):
                return await self._response.aread()

    async def aclose(self) -> None:
        await self._response.aclose()


class SdkClient:
    """A `Client` that is one of the SDK's."""

    def __init__(self, settings: Settings, name: str) -> None:
        upstream = settings.upstreams[name]
        self._settings = settings
        self._name = name
        self._names_deployments = upstream.names_deployments
        self._is_anonymous = upstream.kind == "compatible" and name not in settings.keys
        self._sdk: openai.AsyncOpenAI | None = None
        with contextlib.suppress(openai.OpenAIError):  # what the SDK refuses, it refuses each call
            self._sdk = _make(settings, name)

    async def send(
        self, method: str, path: str, query: str, *, headers: Mapping[str, str], body: bytes, model: str | None
    ) -> SdkAnswer:
        if self._names_deployments and model is not None and path in _DATED_AZURE_PATHS:
            path = f"/deployments/{quote(model, safe='')}{path}"
        url = target_of(path, query)
        options: openai._types.RequestOptions = {"headers": self._given_headers(headers)}
        answer = httpx2.Response
        with _translated(begun=False):
            sdk = self._sdk = self._sdk or _make(self._settings, self._name)
            try:
                if method == "GET":
                    response = await sdk.get(url, cast_to=answer, options=options, stream=True)
                elif method == "DELETE":
                    response = await sdk.delete(url, cast_to=answer, content=body or None, options=options)
                else:
                    response = await sdk.post(url, cast_to=answer, content=body, options=options, stream=True)
            except openai.OAuthError:  # the answer to a token's exchange, not to this call
                raise
            except openai.APIStatusError as error:
                response = error.response
        return SdkAnswer(response)

    async def close(self) -> None:
        if self._sdk is not None:
            await self._sdk.close()
            self._sdk = None

    def _given_headers(self, given: Mapping[str, str]) -> dict[str, str | openai.Omit]:
        # What is not compressed can be passed on as it comes.
        headers: dict[str, str | openai.Omit] = {**given, "accept-encoding": "identity"}
        content_type = headers.pop("content-type", None)
        if content_type is not None:
            headers[_FORM_TYPE] = content_type
        if self._is_anonymous:
            headers["Authorization"] = openai.omit
        return headers


@contextlib.contextmanager
def _translated(*, begun: bool) -> Iterator[None]:
    """The SDK's and its HTTP client's failures as ours. Their own messages may quote addresses, so they stay here.

    Args:
        begun: whether there is an answer, which may then break off.
    """
    try:
        yield
    except (openai.OpenAIError, httpx2.HTTPError) as error:
        raise _ours(error, begun=begun) from error
    except httpx2.InvalidURL as error:
        raise InvalidTarget from error


def _ours(error: Exception, *, begun: bool) -> HttpError | errors.UpstreamError:
    root = error
    if isinstance(error, openai.APIConnectionError) and isinstance(error.__cause__, Exception):
        root = error.__cause__
    if isinstance(root, (httpx2.ConnectTimeout, httpx2.PoolTimeout)):
        return ConnectTimedOut()
    if isinstance(root, (httpx2.ConnectError, httpx2.ProxyError, httpx2.UnsupportedProtocol)):
        return ConnectFailed()
    if isinstance(root, (httpx2.TimeoutException, openai.APITimeoutError)):
        return Silence()
    if isinstance(root, httpx2.HTTPError) or isinstance(error, openai.APIConnectionError):
        # The SDK reads an error's body by itself: what breaks then, it does not wrap.
        return CutOff() if begun or root is error else Dropped()
    return errors.UpstreamAuthFailed()


async def _prepare(request: httpx2.Request) -> None:
    # What upstream gave one app's call, another app's must not carry back.
    request.headers.pop("cookie", None)
    content_type = request.headers.pop(_FORM_TYPE, None)
    if content_type is not None:
        request.headers["content-type"] = content_type


def _make(settings: Settings, name: str) -> openai.AsyncOpenAI:
    upstream = settings.upstreams[name]
    key = settings.keys[name].get_secret_value() if name in settings.keys else None
    common = _common(upstream)
    if isinstance(upstream, OpenAIUpstream) and upstream.workload_identity is None:
        return openai.AsyncOpenAI(
            api_key=key,
            base_url=upstream.base_url,
            organization=upstream.organization,
            project=upstream.project,
            **common,
        )
    from core import cloud_clients  # noqa: PLC0415 - few need it, and all would pay for it at a cold start

    return cloud_clients.make(upstream, key, settings, common)


def _common(upstream: UpstreamSettings) -> Common:
    return {
        # Retries are this service's own to decide, which knows the deadline: two loops would multiply.
        "max_retries": 0,
        "timeout": httpx2.Timeout(upstream.silence_timeout_seconds, connect=upstream.connect_timeout_seconds),
        "http_client": openai.DefaultAsyncHttpxClient(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=_IDLE_CONNECTIONS),
            # A redirect would carry a prompt to a place that nobody configured.
            follow_redirects=False,
            event_hooks={"request": [_prepare]},
            verify=tls.context(),
        ),
    }
