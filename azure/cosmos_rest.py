"""Requests to one container of Cosmos DB for NoSQL: signed, and sent again for as long as that may help."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from core import json_text
from core.http_connection import ConnectFailed, HttpError
from core.ports import StoreError
from core.store_client import StoreClient, WholeAnswer
from cosmos_credential import Credential
from cosmos_session import Session

_VERSION = "2020-07-15"
"""Of the API, as Microsoft's own SDK names it."""

_CALLS_AT_ONCE = 64
"""Azure gives an instance 128 ports for connections to one public address
(https://learn.microsoft.com/azure/app-service/troubleshoot-intermittent-outbound-connection-errors), and a port is free
again minutes after its connection. 64 calls of 10 ms are 6,400 a second, more than a process can make.
"""

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

_HEADERS = {"accept": "application/json", "user-agent": "Trefoil", "x-ms-version": _VERSION}


def make_client(endpoint: str) -> StoreClient:
    """
    Raises:
        ValueError: the endpoint is no URL of a server.
    """
    return StoreClient(endpoint, at_once=_CALLS_AT_ONCE)


class Call(NamedTuple):
    """A request about the item `id` of `partition`, or, without an id, about the partition."""

    verb: str
    partition: str
    id: str | None = None
    body: object = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}
    needs_session: bool = False
    """Whether the answer must not be older than what this process has seen."""
    repeatable: bool = True
    """Whether it may be sent again when nobody knows whether it was carried out."""


class Answer(NamedTuple):
    status: int
    """200, 201, 204, 404, 409 or 412."""
    headers: Mapping[str, str]
    body: Any
    """Of a 200 or 201: what the JSON says."""
    unsure: bool
    """Whether the call may have been carried out by an earlier attempt than the one answered."""


class _Failure(NamedTuple):
    reason: str
    maybe_done: bool = False
    wait_seconds: float = 0.0


class CosmosRest:
    def __init__(self, client: StoreClient, database: str, container: str, credential: Credential) -> None:
        self._client = client
        self._link = f"dbs/{database}/colls/{container}"
        self._target = f"/{quote(self._link)}/docs"
        self._credential = credential
        self._session = Session()

    async def send(self, call: Call) -> Answer:
        """
        Raises:
            StoreError: there is no answer, or it is a refusal.
        """
        body = None if call.body is None else json_text.write(call.body)
        unsure, reason, end = False, "", time.monotonic() + _PATIENCE_SECONDS
        for wait in (*_WAITS_SECONDS, None):
            result = await self._attempt(call, body)
            if isinstance(result, WholeAnswer):
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
        await self._client.close()

    async def _attempt(self, call: Call, body: bytes | None) -> WholeAnswer | _Failure:
        # An id is made of letters and digits: it can stand in a URL as it is.
        target = self._target if call.id is None else f"{self._target}/{call.id}"
        headers = await self._headers(call)
        try:
            answer = await self._client.send(call.verb, target, headers, body)
        except HttpError as error:
            # Its type says what happened; its text may be empty.
            return _Failure(type(error).__name__, maybe_done=not isinstance(error, ConnectFailed))
        self._session.note(answer.headers.get("x-ms-session-token", ""))
        return _failure(answer) or answer

    async def _headers(self, call: Call) -> dict[str, str]:
        link = self._link if call.id is None else f"{self._link}/docs/{call.id}"
        date = _date(int(time.time()))  # the real time, whatever clock the store goes by: the service compares it
        headers = {
            **_HEADERS,
            "authorization": await self._credential.authorization(call.verb, link, date),
            "content-type": call.content_type,
            "x-ms-date": date,
            "x-ms-documentdb-partitionkey": f"[{json.dumps(call.partition)}]",  # in ASCII, as a header has to be
            **call.headers,
        }
        if call.needs_session and self._session.token:
            headers["x-ms-session-token"] = self._session.token
        return headers


@lru_cache(maxsize=1)
def _date(unix_time: int) -> str:
    return formatdate(unix_time, usegmt=True)


def _failure(answer: WholeAnswer) -> _Failure | None:
    """What is worth another attempt."""
    status, headers, _ = answer
    reason = f"status {status}"
    if status == 404 and headers.get("x-ms-substatus") == _READ_TOO_EARLY:
        return _Failure(f"{reason}, the replicas are behind")
    if status in _MAYBE_DONE:
        return _Failure(reason, maybe_done=True)
    if status in _NOT_DONE:
        return _Failure(reason, wait_seconds=_milliseconds(headers.get("x-ms-retry-after-ms", "")) / 1000)
    return None


def _milliseconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0


def _answer(call: Call, answer: WholeAnswer, unsure: bool) -> Answer:
    status, headers, text = answer
    substatus = headers.get("x-ms-substatus", "")
    if status not in _ANSWERS or (status == 404 and substatus == _NO_CONTAINER):
        # Not its text: a refusal of a credential quotes what was signed.
        activity = headers.get("x-ms-activity-id", "unknown")
        raise StoreError(f"Cosmos DB refused a {call.verb}: status {status}/{substatus or 0}, activity {activity}")
    try:
        body = json_text.read(text) if status in (200, 201) else None
    except ValueError:
        raise StoreError(f"Cosmos DB answered a {call.verb} with something else than JSON") from None
    return Answer(status, headers, body, unsure)
