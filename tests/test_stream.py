"""Streams on their way to a client: every byte, whole events only, and an honest end."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Sequence

import pytest

from core import endpoints, errors
from core.stream import ByteStream, EventStream

pytestmark = pytest.mark.anyio

_CHAT = endpoints.find("POST", "/v1/chat/completions").endpoint.last_events
Ends = list[str]
_EVENTS = (
    'data: {"choices":[{"delta":{"content":"naïve 漢字 🍀"}}]}\n\n'.encode(),
    b": a comment\n\n",
    b'event: x\ndata: {"a":\ndata: 1}\n\n',
    b"data: [DONE]\n\n",
)
_CUT = errors.to_event(errors.UpstreamError("The model's answer was cut off before its end.", code="upstream_cut_off"))


class Upstream:
    """Chunks to come, and then perhaps an error."""

    def __init__(self, chunks: Sequence[bytes], error: errors.UpstreamError | None = None) -> None:
        self.closed = False
        self.taken = 0
        self._chunks = chunks
        self._error = error

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            for chunk in self._chunks:
                self.taken += 1
                yield chunk
            if self._error:
                raise self._error
        finally:
            self.closed = True


async def _received(upstream: Upstream, ends: Ends) -> list[bytes]:
    stream = EventStream(upstream.chunks(), last_events=_CHAT, on_end=ends.append)
    await stream.start()
    received = [events async for events in stream]
    await stream.aclose()
    return received


async def test_each_event_goes_out_as_it_comes() -> None:
    upstream, ends = Upstream(_EVENTS), Ends()
    assert await _received(upstream, ends) == list(_EVENTS)
    assert ends == ["ok"]
    assert upstream.closed


@pytest.mark.parametrize("line_ends", [(b"\n", b"\n"), (b"\r\n", b"\r\n"), (b"\r", b"\r"), (b"\n", b"\r\n")], ids=repr)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
async def test_however_it_is_cut_all_bytes_arrive_in_whole_events(size: int, line_ends: tuple[bytes, bytes]) -> None:
    events = [event[:-1].replace(b"\n", line_ends[0]) + line_ends[1] for event in _EVENTS]
    sent = b"".join(events)
    ends = Ends()
    received = await _received(Upstream([sent[at : at + size] for at in range(0, len(sent), size)]), ends)
    assert b"".join(received) == sent
    boundaries = {0, *itertools.accumulate(map(len, events))}
    assert set(itertools.accumulate(map(len, received))) <= boundaries
    assert ends == ["ok"]


async def test_nothing_is_read_ahead() -> None:
    upstream = Upstream(_EVENTS)
    stream = EventStream(upstream.chunks(), last_events=_CHAT, on_end=Ends().append)
    await stream.start()
    assert upstream.taken == 1
    await anext(stream)
    assert upstream.taken == 1
    await stream.aclose()


@pytest.mark.parametrize(
    "sent",
    [
        [_EVENTS[0]],
        [_EVENTS[0], b"data: {"],
        [_EVENTS[0], b"data: [DO"],
        [b'data: {"content":"data: [DONE]"}\n\n'],
    ],
)
async def test_a_clean_end_that_comes_too_soon_is_an_error(sent: list[bytes]) -> None:
    ends = Ends()
    assert await _received(Upstream(sent), ends) == [sent[0], _CUT]
    assert ends == ["upstream_cut_off"]


async def test_a_failure_in_mid_stream_is_an_event_after_the_last_whole_one() -> None:
    error, ends = errors.UpstreamTimeout("too slow"), Ends()
    received = await _received(Upstream([_EVENTS[0], b'data: {"cho'], error), ends)
    assert received == [_EVENTS[0], errors.to_event(error)]
    assert ends == ["upstream_timeout"]


async def test_upstreams_own_error_event_is_passed_on_alone() -> None:
    event, ends = b'data: {"error": {"message": "overloaded"}}\n\n', Ends()
    assert await _received(Upstream([_EVENTS[0], event]), ends) == [_EVENTS[0], event]
    assert ends == ["ok"]


async def test_a_break_after_the_end_is_none() -> None:
    ends = Ends()
    assert await _received(Upstream(_EVENTS, errors.UpstreamError("reset")), ends) == list(_EVENTS)
    assert ends == ["ok"]


async def test_a_large_event_in_small_chunks_is_not_copied_for_each() -> None:
    """Sixteen megabytes in 4 KB chunks: copied each time, that would be 32 gigabytes, and take half a minute."""
    chunk, ends = b"x" * 4096, Ends()
    received = await _received(Upstream([b"data: ", *[chunk] * 4096, b"\n\n", _EVENTS[-1]]), ends)
    assert [len(events) for events in received] == [6 + 16 * 1024 * 1024 + 2, len(_EVENTS[-1])]
    assert ends == ["ok"]


async def test_an_event_without_an_end_is_given_up() -> None:
    ends = Ends()
    received = await _received(Upstream([_EVENTS[0], *[b"x" * 2**20] * 40]), ends)
    assert [received[0], b"upstream_invalid" in received[1]] == [_EVENTS[0], True]
    assert ends == ["upstream_invalid"]


async def test_a_missing_last_line_end_is_forgiven() -> None:
    ends = Ends()
    assert await _received(Upstream([_EVENTS[0], b"data: [DONE]"]), ends) == [_EVENTS[0], b"data: [DONE]"]
    assert ends == ["ok"]


@pytest.mark.parametrize("sent", [[], [b"data: {"], [b"\n"]])
async def test_a_failure_before_the_first_event_can_still_be_a_status(sent: list[bytes]) -> None:
    ends = Ends()
    stream = EventStream(Upstream(sent).chunks(), last_events=_CHAT, on_end=ends.append)
    with pytest.raises(errors.UpstreamError):
        await stream.start()
    assert ends == []


async def test_a_client_that_leaves_frees_upstream() -> None:
    upstream, ends = Upstream(_EVENTS), Ends()
    stream = EventStream(upstream.chunks(), last_events=_CHAT, on_end=ends.append)
    await stream.start()
    await anext(stream)
    await stream.aclose()
    await stream.aclose()
    assert upstream.closed
    assert ends == ["client_left"]
    assert [events async for events in stream] == []


async def test_a_stream_that_nobody_began_to_read_frees_upstream_too() -> None:
    upstream, ends = Upstream(_EVENTS), Ends()
    stream = EventStream(upstream.chunks(), last_events=_CHAT, on_end=ends.append)
    await stream.start()
    await stream.aclose()
    assert upstream.closed
    assert ends == ["client_left"]


async def test_a_protocol_without_a_last_event_may_end_anywhere() -> None:
    ends = Ends()
    stream = EventStream(Upstream([b"data: 1\n\n"]).chunks(), last_events=frozenset(), on_end=ends.append)
    await stream.start()
    assert [events async for events in stream] == [b"data: 1\n\n"]
    assert ends == ["ok"]


async def test_sound_is_passed_on_chunk_by_chunk() -> None:
    upstream, ends = Upstream([b"a", b"b"]), Ends()
    stream = ByteStream(upstream.chunks(), may_be_empty=False, on_end=ends.append)
    await stream.start()
    assert upstream.taken == 1
    assert [chunk async for chunk in stream] == [b"a", b"b"]
    await stream.aclose()
    assert ends == ["ok"]


async def test_sound_that_is_cut_raises() -> None:
    ends = Ends()
    stream = ByteStream(
        Upstream([b"a"], errors.UpstreamError("cut", code="upstream_cut_off")).chunks(),
        may_be_empty=False,
        on_end=ends.append,
    )
    await stream.start()
    assert await anext(stream) == b"a"
    with pytest.raises(errors.UpstreamError):
        await anext(stream)
    assert ends == ["upstream_cut_off"]


async def test_sound_that_never_begins_can_still_be_a_status() -> None:
    stream = ByteStream(Upstream([], errors.UpstreamError("no")).chunks(), may_be_empty=False, on_end=Ends().append)
    with pytest.raises(errors.UpstreamError):
        await stream.start()


async def test_a_client_that_leaves_sound_frees_upstream() -> None:
    upstream, ends = Upstream([b"a", b"b"]), Ends()
    stream = ByteStream(upstream.chunks(), may_be_empty=False, on_end=ends.append)
    await stream.start()
    await stream.aclose()
    assert upstream.closed
    assert ends == ["client_left"]
    assert [chunk async for chunk in stream] == []


@pytest.mark.parametrize("quoted", [{"type": "error"}, {"type": "response.completed"}, {"error": {"message": "x"}}])
async def test_what_an_event_quotes_ends_no_stream(quoted: dict[str, object]) -> None:
    """A response repeats the client's metadata and tools: they must not pass for the stream's own word."""
    last_events = endpoints.find("POST", "/v1/responses").endpoint.last_events
    event = b"data: " + json.dumps({"type": "response.created", "response": {"metadata": quoted}}).encode() + b"\n\n"
    ends = Ends()
    stream = EventStream(Upstream([event]).chunks(), last_events=last_events, on_end=ends.append)
    await stream.start()
    assert [events async for events in stream] == [event, _CUT]
    assert ends == ["upstream_cut_off"]


async def test_a_file_may_be_empty() -> None:
    ends = Ends()
    stream = ByteStream(Upstream([]).chunks(), may_be_empty=True, on_end=ends.append)
    await stream.start()
    assert [chunk async for chunk in stream] == []
    assert ends == ["ok"]


@pytest.mark.parametrize("kind", [[], {}, 1, None, ["error"]])
async def test_an_event_with_an_odd_type_harms_nothing(kind: object) -> None:
    event = b"data: " + json.dumps({"type": kind, "text": "error [DONE]"}).encode() + b"\n\n"
    ends = Ends()
    assert await _received(Upstream([event, _EVENTS[-1]]), ends) == [event, _EVENTS[-1]]
    assert ends == ["ok"]
