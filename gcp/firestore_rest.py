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

from pydantic_core import to_json

from core import errors, json_text
from core.http_connection import ConnectFailed, HttpError
from core.ports import StoreError
from core.store_client import StoreClient, WholeAnswer

TokenSource = Callable[[], Awaitable[str]]
"""Gives an access token, such as `core.cloud_identity.cached(google_token)` does."""

_CALLS_AT_ONCE = 100
"""A call takes some 30 ms: so they are 3,000 a second, more than a process can make."""
_HEADERS = {"accept": "application/json", "content-type": "application/json", "user-agent": "Trefoil"}
_ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 0.02
_PATIENCE_SECONDS = 8.0
"""After which a call that failed is not made again."""
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
    """Calls for one database, over connections that stay open: making an object opens none."""

    def __init__(self, base_url: str, database: str, token: TokenSource | None) -> None:
        """
        Args:
            database: such as `projects/my-project/databases/(default)`.
            token: None where nothing asks for one: an emulator.

        Raises:
            ValueError: `base_url` is no URL of a server.
        """
        self._target = f"/v1/{database}/"
        self._token = token
        self._client = StoreClient(base_url, at_once=_CALLS_AT_ONCE)

    async def call(self, method: str, body: Mapping[str, Any]) -> Any:
        """POST to a method such as `documents:commit`, several times where that may help.

        So every call has to be one that does no harm when it is done twice.

        Raises:
            Refused: also when the last attempt failed.
            StoreError: no access token.
        """
        content = _content(body)
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
        await self._client.close()

    async def _attempt(self, method: str, content: bytes) -> Any:
        headers = {**_HEADERS, **await self._authorization()}
        try:
            answer = await self._client.send("POST", self._target + method, headers, content)
        except HttpError as error:
            raise Refused(
                f"Firestore cannot be reached: {type(error).__name__}",
                passing=True,
                maybe_done=not isinstance(error, ConnectFailed),
            ) from error
        if answer.status != 200:
            raise _refused(answer)
        try:
            return json_text.read(answer.body)
        except ValueError:
            raise Refused("what answered in Firestore's place is not Firestore", maybe_done=True) from None

    async def _authorization(self) -> Mapping[str, str]:
        if self._token is None:
            return {}
        try:
            return {"authorization": f"Bearer {await self._token()}"}
        except errors.UpstreamAuthFailed as error:
            raise StoreError("Google's metadata server gave no access token for Firestore") from error


def _content(body: Mapping[str, Any]) -> bytes:
    try:
        return to_json(body)
    except ValueError:
        # Half of a surrogate pair in a name. Firestore refuses that itself.
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _refused(answer: WholeAnswer) -> Refused:
    status, message = _error(answer)
    explanation = f": {message[:_LONGEST_EXPLANATION]}" if status in _EXPLAINED else ""
    unavailable = answer.status >= 500 and answer.status != 501
    return Refused(
        f"Firestore answered {answer.status} {status}{explanation}".rstrip(),
        status=status,
        passing=unavailable or answer.status == 429 or status == "ABORTED",
        maybe_done=unavailable,
    )


def _error(answer: WholeAnswer) -> tuple[str, str]:
    """Google's status and message. Methods that answer with an array put their error into one, too."""
    try:
        body = json_text.read(answer.body)
        error = (body[0] if isinstance(body, list) else body)["error"]
        return str(error["status"]), str(error["message"])
    except (ValueError, KeyError, TypeError, IndexError):
        return "", ""
