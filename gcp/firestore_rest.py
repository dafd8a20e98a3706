"""Firestore's REST API (https://firebase.google.com/docs/firestore/reference/rest).

Google's own library would cost every cold start a sixth of a second and 30 MB.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2

from core import errors, tls
from core.ports import StoreError

TokenSource = Callable[[], Awaitable[str]]
"""Gives an access token, such as `core.cloud_identity.cached(google_token)` does."""

_TIMEOUT = httpx2.Timeout(5.0, connect=2.0)
_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20)
_ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 0.02
_PATIENCE_SECONDS = 8.0
"""After which a call that failed is not made again."""
_UNREACHED = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
# What these say is about the operator's set-up. Other messages may quote a document.
_EXPLAINED = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND", "FAILED_PRECONDITION"})
_LONGEST_EXPLANATION = 300


class Refused(StoreError):
    """A call that was not answered as asked."""

    def __init__(self, message: str, *, status: str = "", passing: bool = False, maybe_done: bool = False) -> None:
        super().__init__(message)
        self.status = status
        """Google's name for it, such as `ALREADY_EXISTS`
        (https://cloud.google.com/apis/design/errors#handling_errors); empty where Google did not answer.
        """
        self.passing = passing
        """Whether the same call may well succeed a moment later."""
        self.maybe_done = maybe_done
        """Whether what the call was to do may have been done nevertheless, at an attempt whose answer was lost."""


class FirestoreRest:
    """Calls for one database, over one lazily made pool of connections: making an object opens nothing."""

    def __init__(self, base_url: str, database: str, token: TokenSource | None) -> None:
        """
        Args:
            database: such as `projects/my-project/databases/(default)`.
            token: None where nothing asks for one: an emulator.
        """
        self._url = f"{base_url.rstrip('/')}/v1/{database}/"
        self._token = token
        self._client: httpx2.AsyncClient | None = None

    async def call(self, method: str, body: Mapping[str, Any]) -> Any:
        """POST to a method such as `documents:commit`, several times where that may help.

        So every call has to be one that does no harm when it is done twice.

        Raises:
            Refused: also when the last attempt failed.
            StoreError: no access token.
        """
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        attempt, maybe_done, end = 1, False, time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return await self._attempt(method, content)
            except Refused as refused:
                maybe_done = refused.maybe_done = maybe_done or refused.maybe_done
                if not refused.passing or attempt == _ATTEMPTS or time.monotonic() > end:
                    raise
            await asyncio.sleep(random.uniform(0.5, 1.0) * _FIRST_WAIT_SECONDS * 2**attempt)  # noqa: S311
            attempt += 1

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _attempt(self, method: str, content: bytes) -> Any:
        headers = {"content-type": "application/json", **await self._authorization()}
        if self._client is None:
            self._client = httpx2.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS, verify=tls.context())
        try:
            answer = await self._client.post(self._url + method, content=content, headers=headers)
        except httpx2.HTTPError as error:
            raise Refused(
                f"Firestore cannot be reached: {type(error).__name__}",
                passing=True,
                maybe_done=not isinstance(error, _UNREACHED),
            ) from error
        if answer.status_code != 200:
            raise _refused(answer)
        try:
            return answer.json()
        except ValueError:
            raise Refused("what answered in Firestore's place is not Firestore", maybe_done=True) from None

    async def _authorization(self) -> Mapping[str, str]:
        if self._token is None:
            return {}
        try:
            return {"authorization": f"Bearer {await self._token()}"}
        except errors.UpstreamAuthFailed as error:
            raise StoreError("Google's metadata server gave no access token for Firestore") from error


def _refused(answer: httpx2.Response) -> Refused:
    status, message = _error(answer)
    explanation = f": {message[:_LONGEST_EXPLANATION]}" if status in _EXPLAINED else ""
    unavailable = answer.status_code >= 500 and answer.status_code != 501
    return Refused(
        f"Firestore answered {answer.status_code} {status}{explanation}".rstrip(),
        status=status,
        passing=unavailable or answer.status_code == 429 or status == "ABORTED",
        maybe_done=unavailable,
    )


def _error(answer: httpx2.Response) -> tuple[str, str]:
    """Google's status and message. Methods that answer with an array put their error into one, too."""
    try:
        body = answer.json()
        error = (body[0] if isinstance(body, list) else body)["error"]
        return str(error["status"]), str(error["message"])
    except (ValueError, KeyError, TypeError, IndexError):
        return "", ""
