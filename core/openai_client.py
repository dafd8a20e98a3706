"""One upstream's client and connection pool, made by the `openai` SDK: its authentication, its providers, raw bytes.

The SDK's typed resources and models are not used, because they cost more than all the rest of a request and would drop
what they don't know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TypedDict
from urllib.parse import quote

import httpx2

from core import tls
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


class Client:
    """One of the SDK's clients. It belongs to the event loop that uses it first; making it takes none."""

    def __init__(self, settings: Settings, name: str) -> None:
        upstream = settings.upstreams[name]
        self._settings = settings
        self._name = name
        self._names_deployments = upstream.names_deployments
        self._is_anonymous = upstream.kind == "compatible" and name not in settings.keys
        self._sdk: openai.AsyncOpenAI | None = None

    def prepare(self) -> None:
        """Make the SDK's client now, so that no call waits for it. What the SDK refuses, it refuses each call."""
        with contextlib.suppress(openai.OpenAIError):
            self._sdk = self._sdk or _make(self._settings, self._name)

    async def send(
        self, method: str, path: str, query: str, *, headers: Mapping[str, str], body: bytes, model: str | None
    ) -> httpx2.Response:
        """The answer's head, whatever its status, with its body still to be read, or closed.

        Raises:
            OpenAIError: there is no answer, or no credential, or the SDK refuses the settings.
            InvalidURL: what the client wrote in the path or query can be no URL.
        """
        if self._names_deployments and model is not None and path in _DATED_AZURE_PATHS:
            path = f"/deployments/{quote(model, safe='')}{path}"
        url = f"{path}?{query}" if query else path
        options: openai._types.RequestOptions = {"headers": self._headers(headers)}
        answer = httpx2.Response
        sdk = self._sdk = self._sdk or _make(self._settings, self._name)
        try:
            if method == "GET":
                return await sdk.get(url, cast_to=answer, options=options, stream=True)
            if method == "DELETE":
                return await sdk.delete(url, cast_to=answer, content=body or None, options=options)
            return await sdk.post(url, cast_to=answer, content=body, options=options, stream=True)
        except openai.OAuthError:  # the answer to a token's exchange, not to this call
            raise
        except openai.APIStatusError as error:
            return error.response

    async def close(self) -> None:
        if self._sdk is not None:
            await self._sdk.close()
            self._sdk = None

    def _headers(self, given: Mapping[str, str]) -> dict[str, str | openai.Omit]:
        # What is not compressed can be passed on as it comes.
        headers: dict[str, str | openai.Omit] = {**given, "accept-encoding": "identity"}
        content_type = headers.pop("content-type", None)
        if content_type is not None:
            headers[_FORM_TYPE] = content_type
        if self._is_anonymous:
            headers["Authorization"] = openai.omit
        return headers


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
