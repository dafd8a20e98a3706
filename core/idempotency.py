"""Idempotency-Key: who repeats a request under the same key gets the first answer again, which was paid for once.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NamedTuple

from core import errors, forms, logs, stream_end
from core.http import Request, Response, Stream
from core.ports import App, Key, Store, StoreError

HEADER = "idempotency-key"
REPLAYED = "idempotent-replayed"

_LONGEST_KEY = 255
_KEPT_SECONDS = 86_400
_LONGEST_WORK_SECONDS = 900
"""So long a key stays taken by a request whose process died."""
_PART_BYTES = 180 * 1024
"""What of an answer goes into one item: in base64 and JSON that is within 400 KB, the least of the stores' limits."""
_LAST_EVENT_BYTES = 64 * 1024
_OF_THE_MOMENT = "x-ratelimit-"
"""How the names of headers begin that say nothing any more when an answer is given again."""
_LONGEST_ANSWER_BYTES = 8 * 1024 * 1024
"""A longer answer is not kept: its repetition is a new request."""

Work = Callable[[], Awaitable[Response]]


class Idempotency:
    """The first answers of the last day, by app and key."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._working: set[asyncio.Future[Response]] = set()

    async def once(self, app: App, request: Request, work: Work) -> Response:
        """What `work` answers, or what it answered the first time.

        Only successes are kept: after an error the same key may be tried again.

        Raises:
            InvalidRequest: the key is too long, or came with another request before (422).
            Conflict: the first request is still at work.
            StoreError: the store cannot be asked, or has lost the answer.
        """
        name = request.headers.get(HEADER)
        if not name or request.method != "POST":
            return await work()
        if len(name) > _LONGEST_KEY:
            raise errors.InvalidRequest(f"The Idempotency-Key is longer than {_LONGEST_KEY} characters.")
        claim = _Claim(self._store, app, name, _fingerprint(request), self._clock)
        if not await claim.take():
            return await claim.replay()
        # A client that gives up waiting comes again with the same key: its answer is fetched and kept meanwhile.
        working = asyncio.ensure_future(claim.fulfil(work))
        self._working.add(working)
        working.add_done_callback(self._working.discard)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            working.add_done_callback(_let_go)
            raise


class _Claim(NamedTuple):
    """A key of an app's, for one request."""

    store: Store
    app: App
    name: str
    fingerprint: str
    clock: Callable[[], float]

    async def take(self) -> bool:
        """Whether the key was free."""
        return await self.store.put(
            self._key(),
            {"fingerprint": self.fingerprint, "parts": None},
            if_absent=True,
            expires_at=int(self.clock()) + _LONGEST_WORK_SECONDS,
        )

    async def replay(self) -> Response:
        record = await self.store.get(self._key())
        if record is None:  # given back in this moment
            raise errors.Conflict("The first request with this Idempotency-Key has just failed. Please try again.")
        if record["fingerprint"] != self.fingerprint:
            raise errors.IdempotencyKeyReused()
        if record["parts"] is None:
            raise errors.Conflict("The first request with this Idempotency-Key is still being answered.")
        parts = [await self.store.get(self._key(number)) for number in range(record["parts"])]
        if None in parts:  # half an answer must not pass for one
            raise StoreError("a part of an answer that was kept under an Idempotency-Key is gone")
        body = b"".join(base64.b64decode(part["body"]) for part in parts if part is not None)
        return Response(record["status"], {**record["headers"], REPLAYED: "true"}, body)

    async def fulfil(self, work: Work) -> Response:
        """Do the work and keep its answer; where it fails, give the key back."""
        try:
            response = await work()
        except BaseException:
            await self.give_back()
            raise
        if response.status >= HTTPStatus.BAD_REQUEST:
            await self.give_back()
        elif isinstance(response.body, bytes):
            await self.keep(response, response.body)
        else:
            return replace(response, body=_KeptStream(self, response, response.body))
        return response

    async def keep(self, response: Response, body: bytes) -> None:
        """Keep a whole answer for a day. Where that fails, the client has its answer all the same."""
        try:
            if len(body) > _LONGEST_ANSWER_BYTES:
                await self.give_back()
            else:
                await self._write(response, body)
        except StoreError as error:
            logs.write(logging.ERROR, "answer_not_kept", app=self.app.id, error=str(error))

    async def _write(self, response: Response, body: bytes) -> None:
        """The parts before the record that says that they are there."""
        expires_at = int(self.clock()) + _KEPT_SECONDS
        parts = [body[at : at + _PART_BYTES] for at in range(0, len(body), _PART_BYTES)]
        for number, part in enumerate(parts):
            value = {"body": base64.b64encode(part).decode()}
            await self.store.put(self._key(number), value, expires_at=expires_at + _LONGEST_WORK_SECONDS)
        record: Mapping[str, Any] = {
            "fingerprint": self.fingerprint,
            "status": response.status,
            "headers": {name: value for name, value in response.headers.items() if not name.startswith(_OF_THE_MOMENT)},
            "parts": len(parts),
        }
        await self.store.put(self._key(), record, expires_at=expires_at)

    async def give_back(self) -> None:
        """Free the key, even where this request is being cancelled. Where that fails, it frees itself in time."""
        await asyncio.shield(asyncio.ensure_future(self._delete()))

    async def _delete(self) -> None:
        try:
            await self.store.delete(self._key())
        except StoreError as error:
            logs.write(logging.ERROR, "idempotency_key_not_freed", app=self.app.id, error=str(error))

    def _key(self, part: int | None = None) -> Key:
        digest = hashlib.sha256(self.name.encode("utf-8", "surrogateescape")).hexdigest()
        partition = f"apps/{self.app.id}/idempotency"
        return Key(partition, digest) if part is None else Key(partition, f"{digest}/{part:03}")


def _let_go(working: asyncio.Future[Response]) -> None:
    """What came of work whose client has left: a stream has nobody to read it, an error nobody to hear it."""
    if not working.cancelled() and working.exception() is None:
        body = working.result().body
        if not isinstance(body, bytes):
            closing = asyncio.ensure_future(body.aclose())
            closing.add_done_callback(lambda done: done.cancelled() or done.exception())


class _KeptStream:
    """A stream that is kept when it has come to its end, and whose key is given back when it has not."""

    def __init__(self, claim: _Claim, response: Response, stream: Stream) -> None:
        self._claim = claim
        self._response = response
        self._stream = stream
        self._body = bytearray()
        self._settled = False

    def __aiter__(self) -> _KeptStream:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._stream)
        except StopAsyncIteration:
            await self._settle()
            raise
        if len(self._body) <= _LONGEST_ANSWER_BYTES:
            self._body += chunk
        return chunk

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            if not self._settled:
                self._settled = True
                await self._claim.give_back()

    async def _settle(self) -> None:
        if self._settled:
            return
        self._settled = True
        last = bytes(self._body[-_LAST_EVENT_BYTES:])
        if stream_end.find(last, frozenset()) is stream_end.End.FAILED:
            await self._claim.give_back()
        else:
            await self._claim.keep(self._response, bytes(self._body))


def _fingerprint(request: Request) -> str:
    """Tells requests apart. A form's boundary does not count: libraries make a new one each time they send."""
    digest = hashlib.sha256(f"{request.method} {request.path}?{request.query}\n".encode("utf-8", "surrogateescape"))
    content_type = request.headers.get("content-type", "")
    is_form = forms.is_form(content_type)
    for part in request.body.split(forms.boundary(content_type).encode()) if is_form else [request.body]:
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()
