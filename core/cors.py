"""Browsers: which web pages may read this service's answers. Pure.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from core.http import Request, Response

ANY = "*"
_ORIGIN = re.compile(r"https?://[^/\s]+")
_ONE_DAY_SECONDS = 86_400
_METHODS = "GET, POST, DELETE"
_EXPOSED = (
    "content-disposition",
    "idempotent-replayed",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
    "x-should-retry",
    "x-trefoil-attempts",
    "x-trefoil-target",
)
"""What a page's script may read of the headers, beside the few that it always may."""


def is_origin(text: str) -> bool:
    """Whether `text` is a page's origin, or `*`, which stands for any."""
    return text == ANY or _ORIGIN.fullmatch(text) is not None


def is_preflight(request: Request) -> bool:
    """Whether a browser asks if it may send a request that is yet to come; such a question carries no key."""
    return request.method == "OPTIONS" and "access-control-request-method" in request.headers


def answer_preflight(request: Request, origins: Collection[str]) -> Response:
    """Yes for the pages of `origins`; for others an answer without the word that a browser looks for."""
    headers = dict(headers_for(request, origins))
    if "access-control-allow-origin" in headers:
        del headers["access-control-expose-headers"]
        headers["access-control-allow-methods"] = _METHODS
        # Whichever the client's SDK sends: they give a page nothing, since no cookie is ever sent or read.
        headers["access-control-allow-headers"] = request.headers.get("access-control-request-headers", "")
        headers["access-control-max-age"] = str(_ONE_DAY_SECONDS)
    return Response(204, headers, b"")


def headers_for(request: Request, origins: Collection[str]) -> Mapping[str, str]:
    """What to add to the headers of an answer to `request`, which pages of `origins` may read."""
    origin = request.headers.get("origin")
    if origin is None or not origins:
        return {}
    if ANY not in origins and origin not in origins:
        return {"vary": "origin"}
    return {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": ", ".join(_EXPOSED),
        "vary": "origin",
    }
