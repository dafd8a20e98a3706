"""A streamed answer on its way to the client: whole events, byte for byte, and no end that looks better than it was."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable

from core import errors, stream_end

# Two line ends in a row, each in one of the three ways that the standard allows. Of a last \r it is not known yet
# whether it is a whole one.
_END_OF_EVENT = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?=[^\n]))")
_LONGEST_END_OF_EVENT = 4
_LONGEST_EVENT_BYTES = 32 * 1024 * 1024
"""Of a longer event nothing is waited for: an image in base64 has a few MB."""


class _Passing:
    """Upstream's bytes on their way, until their end or until the client leaves."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], on_end: Callable[[str], None]) -> None:
        self._chunks = chunks
        self._on_end = on_end
        self._first: bytes | None = None
        self._open = False

    async def aclose(self) -> None:
        """Let go of upstream, whose answer nobody reads any more. Closing twice, or after the end, does nothing."""
        self._end("client_left")
        self._first = None
        await self._chunks.aclose()

    def _end(self, outcome: str) -> None:
        if self._open:
            self._open = False
            self._on_end(outcome)


class EventStream(_Passing):
    """The server-sent events of an upstream answer, each passed on as soon as it is whole.

    The bytes are upstream's own. What is held back is only an event's beginning until its end has come, so that a cut
    never hands a client half an event. A stream that ends too soon gets one last event, `{"error": ...}`, on which the
    SDKs raise: the status has gone out long before.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        last_events: frozenset[str],
        on_end: Callable[[str], None],
    ) -> None:
        """
        Args:
            chunks: upstream's bytes, cut anywhere; raises an `UpstreamError` where upstream fails.
            last_events: the types that a complete stream's last event can have; empty where there is no such event.
            on_end: called once when a started stream has ended, with `ok`, `client_left` or an error's code.
        """
        super().__init__(chunks, on_end)
        self._last_events = last_events
        self._complete = not last_events
        self._held = bytearray()

    async def start(self) -> None:
        """Wait for the first event, while the response can still be something else.

        Raises:
            UpstreamError: upstream failed before it.
        """
        try:
            self._first = await self._whole_events()
        except StopAsyncIteration:
            self._first = b""
        self._open = True

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            events, self._first = self._first, None
            return events
        if not self._open:
            raise StopAsyncIteration
        try:
            return await self._whole_events()
        except StopAsyncIteration:
            self._end("ok")
            raise
        except errors.UpstreamError as error:
            if self._has_last_event:  # it broke after the end
                self._end("ok")
                raise StopAsyncIteration from None
            self._end(error.code or error.type)
            return errors.to_event(error)

    @property
    def _has_last_event(self) -> bool:
        return self._complete and bool(self._last_events)

    async def _whole_events(self) -> bytes:
        """The next bytes that end with an event's end."""
        async for chunk in self._chunks:
            if events := self._take_whole(chunk):
                self._note(events)
                return events
        rest = bytes(self._held)
        self._held.clear()
        self._note(rest)
        if not self._complete:
            raise errors.UpstreamError("The model's answer was cut off before its end.", code="upstream_cut_off")
        if not rest:
            raise StopAsyncIteration
        return rest

    def _take_whole(self, chunk: bytes) -> bytes:
        """The whole events that `chunk` completes; what begins after them is held."""
        held = self._held
        if not held and chunk.endswith(b"\n\n"):
            return chunk
        # An event's end may lie across the two, but never wholly in what was held: that has been searched before.
        seam = max(0, len(held) - _LONGEST_END_OF_EVENT + 1)
        held += chunk
        cut = 0
        for end in _END_OF_EVENT.finditer(held, seam):
            cut = end.end()
        if len(held) - cut > _LONGEST_EVENT_BYTES:
            raise errors.UpstreamError("The model's service sent an event without an end.", code="upstream_invalid")
        events = bytes(memoryview(held)[:cut])
        del held[:cut]
        return events

    def _note(self, events: bytes) -> None:
        if not self._complete:
            self._complete = stream_end.find(events, self._last_events) is not None


class ByteStream(_Passing):
    """An upstream answer that is no text, such as speech, each chunk passed on as it comes.

    There is no place in it to say that it was cut, so that raises: the adapter then breaks its connection off, by which
    a client can tell.
    """

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], *, may_be_empty: bool, on_end: Callable[[str], None]
    ) -> None:
        """
        Args:
            chunks: upstream's bytes; raises an `UpstreamError` where upstream fails.
            may_be_empty: whether an answer without a byte is one.
            on_end: called once when a started stream has ended, with `ok`, `client_left` or an error's code.
        """
        super().__init__(chunks, on_end)
        self._may_be_empty = may_be_empty

    async def start(self) -> None:
        """Wait for the first chunk, while the response can still be something else.

        Raises:
            UpstreamError: upstream failed before it.
        """
        self._first = await anext(self._chunks, b"")
        if not self._first and not self._may_be_empty:
            raise errors.UpstreamError("The model's service sent an empty answer.", code="upstream_invalid")
        self._open = True

    def __aiter__(self) -> ByteStream:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            chunk, self._first = self._first, None
            return chunk
        if not self._open:
            raise StopAsyncIteration
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            self._end("ok")
            raise
        except errors.UpstreamError as error:
            self._end(error.code or error.type)
            raise
