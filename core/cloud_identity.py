"""Access tokens that a cloud gives to its own functions, so that no key has to be kept."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from core import errors

Fetch = Callable[[], tuple[str, float]]
"""Gives a token and the seconds that it is good for. It blocks."""

_RENEWED_BEFORE_END_SECONDS = 300
_TIMEOUT_SECONDS = 5
_GOOGLE_SERVICE_ACCOUNT = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default"


def cached(fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> Callable[[], Awaitable[str]]:
    """The token from `fetch`, asked for when first needed and again shortly before its end, by one call at a time."""
    token, good_until, lock = "", 0.0, asyncio.Lock()

    async def current() -> str:
        nonlocal token, good_until
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
    # Both addresses are the platform's own and inside the machine: no proxy leads there.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310
    try:
        with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            values = json.load(answer)
        if isinstance(values, dict) and "access_token" in values:
            return values
    except (OSError, ValueError):
        pass
    raise errors.UpstreamAuthFailed("This service was given no access token by its own platform.")
