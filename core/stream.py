"""A streamed answer on its way to the client: whole events, byte for byte, and no end that looks better than it was."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable

from core import errors

_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class EventStream:
    """The server-sent events of an upstream answer, each passed on as soon as it is whole.

    The bytes are upstream's own. What is held back is only an event's beginning until its end has come, so that a cut
    never hands a client half an event. A stream that ends too soon gets one last event, `{"error": ...}`, on which the
    SDKs raise: the status has gone out long before.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        last_event: re.Pattern[bytes] | None,
        on_end: Callable[[str], None],
    ) -> None:
        """
        Args:
            chunks: upstream's bytes, cut anywhere; raises an `UpstreamError` where upstream fails.
            last_event: found in the last event of a complete stream; None where the protocol has no such event.
            on_end: called once when a started stream has ended, with `ok`, `client_left` or an error's code.
        """
        self._chunks = chunks
        self._last_event = last_event
        self._on_end = on_end
        self._complete = last_event is None
        self._held = b""
        self._first: bytes | None = None
        self._open = False

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
            self._end(error.code or error.type)
            return errors.to_event(error)

    async def aclose(self) -> None:
        """Let go of upstream, whose answer nobody reads any more. Closing twice, or after the end, does nothing."""
        self._end("client_left")
        await self._chunks.aclose()

    def _end(self, outcome: str) -> None:
        if self._open:
            self._open = False
            self._on_end(outcome)

    async def _whole_events(self) -> bytes:
        """The next bytes that end with an event's end."""
        async for chunk in self._chunks:
            events, self._held = _split(self._held, chunk)
            if events:
                self._note(events)
                return events
        rest, self._held = self._held, b""
        self._note(rest)
        if not self._complete:
            raise errors.UpstreamError("The model's answer was cut off before its end.", code="upstream_cut_off")
        if not rest:
            raise StopAsyncIteration
        return rest

    def _note(self, events: bytes) -> None:
        if not self._complete and self._last_event is not None:
            self._complete = self._last_event.search(events) is not None


def _split(held: bytes, chunk: bytes) -> tuple[bytes, bytes]:
    """`held` and `chunk` as whole events, and the beginning of one that is not whole yet."""
    if not held and chunk.endswith(b"\n\n"):
        return chunk, b""
    joined, cut = held + chunk, 0
    # An event's end may lie across the two, but never wholly in what was held.
    for end in _END_OF_EVENT.finditer(joined, max(0, len(held) - 3)):
        cut = end.end()
    return joined[:cut], joined[cut:]
