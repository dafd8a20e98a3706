"""Requests to one container of Cosmos DB for NoSQL: signed, and sent again for as long as that may help."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx2

from core import tls
from core.ports import StoreError
from cosmos_credential import Credential
from cosmos_session import Session

_VERSION = "2020-07-15"
"""Of the API, as Microsoft's own SDK names it."""

_TIMEOUT = httpx2.Timeout(5.0, connect=2.0)
_LIMITS = httpx2.Limits(max_connections=256, max_keepalive_connections=64)

_WAITS_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Before the second attempt, the third, and so on: there is one attempt more than waits."""
_PATIENCE_SECONDS = 6.0
"""No attempt begins later than this after the first one."""

_ANSWERS = frozenset({200, 201, 204, 404, 409, 412})
_NOT_DONE = frozenset({429, 449, 503})
"""Too many requests, a conflict of writers, unavailable: each says that nothing was done."""
_MAYBE_DONE = frozenset({408, 410, 500, 502, 504})

_NO_CONTAINER = "1003"
_READ_TOO_EARLY = "1002"
"""Substatus of a 404: the replica asked has not yet got as far as the session token says."""

_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


def make_client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS, verify=tls.context())


@dataclass(frozen=True, slots=True)
class Call:
    """A request about the item `id` of `partition`, or, without an id, about the partition."""

    verb: str
    partition: str
    id: str | None = None
    body: object = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    needs_session: bool = False
    """Whether the answer must not be older than what this process has seen."""
    repeatable: bool = True
    """Whether it may be sent again when nobody knows whether it was carried out."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    """200, 201, 204, 404, 409 or 412."""
    headers: Mapping[str, str]
    body: Any
    """Of a 200 or 201: what the JSON says."""
    unsure: bool
    """Whether the call may have been carried out by an earlier attempt than the one answered."""


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    maybe_done: bool = False
    wait_seconds: float = 0.0


class CosmosRest:
    """Its HTTP client is made when first used: by then the event loop that it belongs to runs."""

    def __init__(
        self,
        endpoint: str,
        database: str,
        container: str,
        credential: Credential,
        client: Callable[[], httpx2.AsyncClient] = make_client,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._link = f"dbs/{database}/colls/{container}"
        self._credential = credential
        self._make_client = client
        self._client: httpx2.AsyncClient | None = None
        self._session = Session()

    async def send(self, call: Call) -> Answer:
        """
        Raises:
            StoreError: there is no answer, or it is a refusal.
        """
        unsure, reason, end = False, "", time.monotonic() + _PATIENCE_SECONDS
        for wait in (*_WAITS_SECONDS, None):
            result = await self._attempt(call)
            if isinstance(result, httpx2.Response):
                return _answer(call, result, unsure)
            unsure, reason = unsure or result.maybe_done, result.reason
            if wait is None or (result.maybe_done and not call.repeatable):
                break
            pause = result.wait_seconds + wait * (0.5 + random.random() / 2)  # noqa: S311
            if time.monotonic() + pause > end:
                break
            await asyncio.sleep(pause)
        raise StoreError(f"Cosmos DB failed a {call.verb}: {reason}")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _attempt(self, call: Call) -> httpx2.Response | _Failure:
        client = self._client = self._client or self._make_client()
        link = self._link if call.id is None else f"{self._link}/docs/{call.id}"
        url = f"{self._endpoint}/{quote(link)}{'/docs' if call.id is None else ''}"
        content = None if call.body is None else json.dumps(call.body).encode()
        headers = await self._headers(call, link)
        try:
            answer = await client.request(call.verb, url, content=content, headers=headers)
        except httpx2.TransportError as error:
            # Its type says what happened; its text may be empty.
            return _Failure(type(error).__name__, maybe_done=not isinstance(error, _NOT_SENT))
        self._session.note(answer.headers.get("x-ms-session-token", ""))
        return _failure(answer) or answer

    async def _headers(self, call: Call, link: str) -> dict[str, str]:
        date = formatdate(usegmt=True)  # the real time, whatever clock the store goes by: the service compares it
        headers = {
            "authorization": await self._credential.authorization(call.verb, link, date),
            "content-type": call.content_type,
            "x-ms-date": date,
            "x-ms-documentdb-partitionkey": json.dumps([call.partition]),
            "x-ms-version": _VERSION,
            **call.headers,
        }
        if call.needs_session and self._session.token:
            headers["x-ms-session-token"] = self._session.token
        return headers


def _failure(answer: httpx2.Response) -> _Failure | None:
    """What is worth another attempt."""
    reason = f"status {answer.status_code}"
    if answer.status_code == HTTPStatus.NOT_FOUND and answer.headers.get("x-ms-substatus") == _READ_TOO_EARLY:
        return _Failure(f"{reason}, the replicas are behind")
    if answer.status_code in _MAYBE_DONE:
        return _Failure(reason, maybe_done=True)
    if answer.status_code in _NOT_DONE:
        return _Failure(reason, wait_seconds=_milliseconds(answer.headers.get("x-ms-retry-after-ms", "")) / 1000)
    return None


def _milliseconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0


def _answer(call: Call, answer: httpx2.Response, unsure: bool) -> Answer:
    status, substatus = answer.status_code, answer.headers.get("x-ms-substatus", "")
    if status not in _ANSWERS or (status == HTTPStatus.NOT_FOUND and substatus == _NO_CONTAINER):
        # Not its text: a refusal of a credential quotes what was signed.
        activity = answer.headers.get("x-ms-activity-id", "unknown")
        raise StoreError(f"Cosmos DB refused a {call.verb}: status {status}/{substatus or 0}, activity {activity}")
    try:
        body = answer.json() if status in (HTTPStatus.OK, HTTPStatus.CREATED) else None
    except ValueError:
        raise StoreError(f"Cosmos DB answered a {call.verb} with something else than JSON") from None
    return Answer(status, answer.headers, body, unsure)
