"""One connection to an HTTP/1.1 server, and the answer that it is bringing.

Messages are taken apart by `httptools`, which is Node.js's parser. A general client takes several times as long to pass
the same bytes on, and to be imported (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Mapping
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

_LONGEST_HEAD_BYTES = 256 * 1024
"""So long may be what surrounds a body, too: hints before an answer, trailers, and what chunks say of themselves."""
_BUFFERED_BYTES = 128 * 1024
"""When so much of an answer waits to be read, the server is not let send more."""
_PIECE_BYTES = 256 * 1024
"""Of a long request so much is written at a time, lest all of it is copied into a buffer."""


class HttpError(Exception):
    """A call that got no whole answer."""


class ConnectFailed(HttpError):
    """Nothing was sent: there is no connection."""


class ConnectTimedOut(ConnectFailed):
    """Nothing was sent: there was no connection in time."""


class Dropped(HttpError):
    """The connection ended, or what it brought was not HTTP, before an answer had begun."""


class Silence(HttpError):
    """Nothing came for too long."""


class CutOff(HttpError):
    """The connection ended, or what it brought was not HTTP, before the answer's end."""


class HttpAnswer:
    """An answer from its head on. Who has one reads it to its end, or closes it."""

    __slots__ = ("_connection", "_error", "_is_whole", "_received", "_waiter", "headers", "received_bytes", "status")

    def __init__(self, connection: HttpConnection) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        """Lower-case names; repeated ones joined by a comma."""
        self.received_bytes = 0
        """How much waits to be read."""
        self._connection = connection
        self._received: list[bytes] = []
        self._is_whole = False
        self._error: HttpError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> HttpAnswer:
        return self

    async def __anext__(self) -> bytes:
        """What has come since, at least a byte.

        Raises:
            HttpError: there is no more, and it is not the end.
        """
        while not self._received:
            self._look_at_end()
            await self._wait()
        received, self._received, self.received_bytes = self._received, [], 0
        self._connection.was_read(self)
        return received[0] if len(received) == 1 else b"".join(received)

    async def read(self) -> bytes:
        """All of the body that has not been read.

        Raises:
            HttpError: its end does not come.
        """
        pieces = []
        try:
            async for piece in self:
                pieces.append(piece)
        except BaseException:
            await self.aclose()
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def aclose(self) -> None:
        """Let go of it. Where it has not ended, its connection ends."""
        self._received.clear()
        self._connection.give_up(self)

    # What its connection needs of it.

    async def has_begun(self) -> None:
        """Wait for the head.

        Raises:
            HttpError: it does not come.
        """
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    def receive(self, body: bytes) -> None:
        self._received.append(body)
        self.received_bytes += len(body)

    def end(self, error: HttpError | None = None) -> None:
        self._is_whole = error is None
        self._error = error
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _look_at_end(self) -> None:
        if self._error is not None:
            raise self._error
        if self._is_whole:
            raise StopAsyncIteration

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class HttpConnection(asyncio.Protocol):
    """Carries one call after the other."""

    def __init__(
        self,
        silence_seconds: float,
        on_free: Callable[[HttpConnection], None],
        on_lost: Callable[[HttpConnection], None],
    ) -> None:
        """
        Args:
            silence_seconds: the longest wait for the server's next byte.
            on_free: told whenever it can carry another call.
            on_lost: told when it has ended.
        """
        self._silence_seconds = silence_seconds
        self._on_free = on_free
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._socket = select.poll()
        self._answer: HttpAnswer | None = None
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._ends_with_connection = False
        self._is_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._is_writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self.free_since = 0.0

    def is_usable(self) -> bool:
        """Whether it is open, and the server has not closed it meanwhile: where the process was frozen, as Lambda does
        it between requests, the event loop has not been told yet.
        """
        if self._transport is None or self._transport.is_closing():
            return False
        return not self._socket.poll(0)

    async def ask(self, head: bytes, body: bytes) -> HttpAnswer:
        """Send a request; its answer, as soon as its head is there.

        Raises:
            Dropped: there is none. Silence: there is none in time.
        """
        assert self._transport is not None
        answer = self._answer = HttpAnswer(self)
        self._head_bytes = 0
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(self._silence_seconds, self._look_for_silence)
        try:
            if len(body) <= _PIECE_BYTES:
                self._transport.write(head + body)
            else:
                await self._write(answer, head, body)
            await answer.has_begun()
        except BaseException:
            self.give_up(answer)
            raise
        return answer

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What answers tell.

    def was_read(self, answer: HttpAnswer) -> None:
        if self._is_paused and answer is self._answer:
            self._resume()

    def give_up(self, answer: HttpAnswer) -> None:
        if answer is self._answer:
            self._fail(CutOff("let go of"))

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none
        self._socket.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:  # nothing was asked
            self.abort()
            return
        self._heard_at = self._loop.time()
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fail_with("what came is not HTTP")
            return
        if self._head_bytes > _LONGEST_HEAD_BYTES and answer is self._answer:
            self._fail_with("a head without an end")
            return
        answer.wake()
        if answer is self._answer and not self._is_paused and answer.received_bytes > _BUFFERED_BYTES:
            assert self._transport is not None
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        answer = self._answer
        if answer is not None and answer.status and self._ends_with_connection:
            self._finish(answer)
        else:
            self._fail_with("the server closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(self)
        self._fail_with(type(exc).__name__ if exc else "the connection was closed")

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        self._resume_writing()

    # What the parser tells.

    def on_message_begin(self) -> None:
        self._headers = {}
        if self._answer is None:
            self.abort()  # an answer to nothing, whose end the next call would get

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        answer = self._answer
        if status < 200 or answer is None:  # a hint before the answer
            return
        answer.status, answer.headers = status, self._headers
        coding = self._headers.get("transfer-encoding", "").lower()
        self._ends_with_connection = "content-length" not in self._headers and not coding.endswith("chunked")
        self._headers = {}  # what comes after the body is not for those who have read these
        self._resume_writing()  # a server that answers already may not read on

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        if self._answer is not None:
            self._answer.receive(body)

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status:
            self._finish(self._answer)

    # What follows from it.

    def _finish(self, answer: HttpAnswer) -> None:
        assert self._transport is not None
        self._let_go()
        answer.end()
        # What is left of this request would lie before the next one.
        is_sent = not self._is_writing and not self._transport.get_write_buffer_size()
        if is_sent and self._parser.should_keep_alive() and not self._transport.is_closing():
            self.free_since = self._loop.time()
            self._on_free(self)
        else:
            self.abort()

    def _fail_with(self, reason: str) -> None:
        has_begun = self._answer is not None and self._answer.status
        self._fail(CutOff(reason) if has_begun else Dropped(reason))

    def _fail(self, error: HttpError) -> None:
        answer = self._answer
        self._let_go()
        self.abort()
        if answer is not None:
            answer.end(error)

    def _let_go(self) -> None:
        self._answer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_paused:
            self._resume()
        self._resume_writing()

    def _look_for_silence(self) -> None:
        quiet = 0.0 if self._is_paused else self._loop.time() - self._heard_at
        if quiet < self._silence_seconds:
            self._timer = self._loop.call_later(self._silence_seconds - quiet, self._look_for_silence)
        else:
            self._timer = None
            self._fail(Silence(f"nothing came for {self._silence_seconds:g} s"))

    def _resume(self) -> None:
        assert self._transport is not None
        self._is_paused = False
        self._heard_at = self._loop.time()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    async def _write(self, answer: HttpAnswer, head: bytes, body: bytes) -> None:
        """A long request, piece by piece, until the server has heard enough of it."""
        assert self._transport is not None
        self._is_writing = True
        self._transport.write(head)
        rest = memoryview(body)
        while rest and answer is self._answer and not answer.status and not self._transport.is_closing():
            self._transport.write(rest[:_PIECE_BYTES])
            rest = rest[_PIECE_BYTES:]
            if self._drained is not None:
                await self._drained
            self._heard_at = self._loop.time()
        self._is_writing = bool(rest)

    def _resume_writing(self) -> None:
        if self._drained is not None:
            drained, self._drained = self._drained, None
            if not drained.done():
                drained.set_result(None)
