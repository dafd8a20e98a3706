"""The gateway as an ASGI application: the translation there and back, and clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from core import errors
from core.asgi import AsgiApplication
from core.http import Request, Response

pytestmark = pytest.mark.anyio

_SCOPE = {
    "type": "http",
    "method": "post",
    "path": "/v1/models/a/b",
    "raw_path": b"/v1/models/a%2Fb",
    "query_string": b"x=%20&y",
    "headers": [(b"Accept", b"a"), (b"accept", b"b"), (b"x-odd", b"\xff\xfe")],
    "client": ("10.0.0.1", 1234),
}
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class FakeGateway:
    """A gateway with another mind."""

    def __init__(self, handle: Handler) -> None:
        self.handle = handle

    def refuse(self, request: Request, error: errors.TrefoilError) -> Response:
        return errors.to_response(error, request.id)


class Client:
    """The other side of an ASGI conversation: sends its body's parts, keeps what it gets, leaves when told to."""

    def __init__(self, *parts: bytes) -> None:
        self.sent: list[Any] = []
        self.leaves = asyncio.Event()
        self.received = asyncio.Event()
        self._parts = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, 1)
        ]

    async def receive(self) -> dict[str, Any]:
        if self._parts:
            return self._parts.pop(0)
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        self.received.set()


def _application(handle: Handler, **more: Any) -> AsgiApplication:
    return AsgiApplication(lambda: FakeGateway(handle), body_limit_bytes=10, **more)  # type: ignore[arg-type,return-value]


async def test_a_request_is_read_and_a_response_written() -> None:
    requests = []

    async def handle(request: Request) -> Response:
        requests.append(request)
        return Response(201, {"x-a": "b"}, b"done")

    client = Client(b"a", b"", b"bc")
    await _application(handle)(dict(_SCOPE), client.receive, client.send)
    (request,) = requests
    assert request == Request(
        method="POST",
        path="/v1/models/a%2Fb",
        query="x=%20&y",
        headers={"accept": "a, b", "x-odd": "\xff\xfe"},
        body=b"abc",
        client="10.0.0.1",
        id=request.id,
    )
    assert client.sent == [
        {"type": "http.response.start", "status": 201, "headers": [(b"x-a", b"b"), (b"content-length", b"4")]},
        {"type": "http.response.body", "body": b"done"},
    ]


async def test_the_platform_s_times_become_deadlines() -> None:
    requests = []

    async def handle(request: Request) -> Response:
        requests.append(request)
        return Response(200, {}, b"")

    application = _application(handle, timeout_seconds=100, first_byte_timeout_seconds=10)
    client = Client(b"")
    await application(dict(_SCOPE), client.receive, client.send)
    (request,) = requests
    assert request.deadline is not None
    assert request.first_byte_deadline is not None
    assert request.deadline - request.first_byte_deadline == 90


@pytest.mark.parametrize(
    ("headers", "parts", "closes"),
    [
        ([], (b"123456", b"789012", b"and so on"), False),
        ([(b"content-length", b"40")], (b"1" * 40,), False),
        ([], (b"1" * 30, b"2" * 30), True),
        ([(b"content-length", b"41")], (), True),
    ],
)
async def test_a_body_that_is_too_long_is_refused(
    headers: list[tuple[bytes, bytes]], parts: tuple[bytes, ...], closes: bool
) -> None:
    async def handle(request: Request) -> Response:
        raise AssertionError("not to be called")

    client = Client(*parts)
    await _application(handle)({**_SCOPE, "headers": headers}, client.receive, client.send)
    assert client.sent[0]["status"] == 413
    assert ((b"connection", b"close") in client.sent[0]["headers"]) is closes
    assert b"10 bytes" in client.sent[1]["body"]


async def test_a_client_that_leaves_while_it_sends_is_not_answered() -> None:
    async def handle(request: Request) -> Response:
        raise AssertionError("not to be called")

    client = Client()
    client.leaves.set()
    await _application(handle)(dict(_SCOPE), client.receive, client.send)
    assert client.sent == []


async def test_a_client_that_leaves_before_the_answer_cancels_it() -> None:
    working, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(request: Request) -> Response:
        try:
            working.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError("not reached")

    client = Client(b"")
    serving = asyncio.create_task(_application(handle)(dict(_SCOPE), client.receive, client.send))
    await working.wait()
    client.leaves.set()
    await asyncio.wait_for(serving, 5)
    assert cancelled.is_set()
    assert client.sent == []


async def test_a_client_that_leaves_a_stream_closes_it() -> None:
    closed = asyncio.Event()

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            yield b"1"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def handle(request: Request) -> Response:
        return Response(200, {}, events())

    client = Client(b"")
    serving = asyncio.create_task(_application(handle)(dict(_SCOPE), client.receive, client.send))
    while len(client.sent) < 2:
        client.received.clear()
        await client.received.wait()
    client.leaves.set()
    await asyncio.wait_for(serving, 5)
    assert closed.is_set()
    assert client.sent[1] == {"type": "http.response.body", "body": b"1", "more_body": True}


async def test_a_stream_ends_with_an_empty_last_part() -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield b"1"
        yield b"2"

    async def handle(request: Request) -> Response:
        return Response(200, {}, events())

    client = Client(b"")
    await _application(handle)(dict(_SCOPE), client.receive, client.send)
    assert [message.get("body") for message in client.sent] == [None, b"1", b"2", b""]
    assert (b"content-length", b"3") not in client.sent[0]["headers"]


async def test_being_cancelled_itself_it_leaves_nothing_behind() -> None:
    working, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(request: Request) -> Response:
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError("not reached")

    client, others = Client(b""), asyncio.all_tasks()
    serving = asyncio.create_task(_application(handle)(dict(_SCOPE), client.receive, client.send))
    await working.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert cancelled.is_set()
    assert asyncio.all_tasks() == others


async def test_who_leaves_as_the_answer_ends_cancels_nothing_more() -> None:
    """What follows the application in its task, such as a middleware, is none of the client's."""

    async def handle(request: Request) -> Response:
        return Response(200, {}, b"done")

    for turns in range(6):
        client = Client(b"")

        async def send(message: Any, client: Client = client, turns: int = turns) -> None:
            await client.send(message)
            if message["type"] == "http.response.body":
                client.leaves.set()
                for _ in range(turns):
                    await asyncio.sleep(0)

        await _application(handle)(dict(_SCOPE), client.receive, send)
        for _ in range(6):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
