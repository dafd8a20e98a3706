"""Access tokens that a cloud gives to its own functions, so that no key has to be kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from core import errors, json_text
from core.http_client import HttpClient
from core.http_connection import HttpError

Fetch = Callable[[], tuple[str, float]]
"""Gives a token and the seconds that it is good for. It blocks, so it is to be called in a thread of its own."""

_RENEWED_BEFORE_END_SECONDS = 300
_TIMEOUT_SECONDS = 5
_GOOGLE_SERVICE_ACCOUNT = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default"


def cached(fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> Callable[[], Awaitable[str]]:
    """The token from `fetch`, asked for when first needed and again shortly before its end, by one call at a time."""
    token, good_until, lock = "", 0.0, asyncio.Lock()

    async def current() -> str:
        nonlocal token, good_until
        if clock() < good_until:
            return token
        async with lock:
            if clock() >= good_until:
                token, seconds = await asyncio.to_thread(fetch)
                good_until = clock() + max(seconds / 2, seconds - _RENEWED_BEFORE_END_SECONDS)
            return token

    return current


def azure_token(endpoint: str, header: str, *, resource: str, client_id: str | None = None) -> tuple[str, float]:
    """A token of the function app's managed identity
    (https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference).

    Raises:
        UpstreamAuthFailed: there is none to be had.
    """
    query = {"api-version": "2019-08-01", "resource": resource, **({"client_id": client_id} if client_id else {})}
    answer = _get_json(f"{endpoint}?{urlencode(query)}", {"x-identity-header": header})
    return str(answer["access_token"]), float(answer["expires_on"]) - time.time()


def google_token(service_account: str = _GOOGLE_SERVICE_ACCOUNT) -> tuple[str, float]:
    """A token of the function's own service account, from Google's metadata server.

    Raises:
        UpstreamAuthFailed: there is none to be had.
    """
    answer = _get_json(f"{service_account}/token", {"metadata-flavor": "Google"})
    return str(answer["access_token"]), float(answer["expires_in"])


def _get_json(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """An event loop for this alone is made sooner than `urllib.request` is imported: the first request waits for it."""
    try:
        values = asyncio.run(_got_json(url, headers))
        if isinstance(values, dict) and "access_token" in values:
            return values
    except (HttpError, ValueError):
        pass
    raise errors.UpstreamAuthFailed("This service was given no access token by its own platform.")


async def _got_json(url: str, headers: Mapping[str, str]) -> Any:
    """None where the answer is a refusal.

    Raises:
        HttpError: there is no answer. ValueError: it is not JSON, or the URL is none.
    """
    parts = urlsplit(url)
    server = f"{parts.scheme}://{parts.netloc}"
    client = HttpClient(server, connect_seconds=_TIMEOUT_SECONDS, silence_seconds=_TIMEOUT_SECONDS)
    try:
        answer = await client.send("GET", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", headers)
        text = await answer.read()
    finally:
        await client.close()
    return json_text.read(text) if answer.status == 200 else None
