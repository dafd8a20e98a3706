"""One request, answered once, however often it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from core import errors
from core.http import Request, Response
from core.idempotency import Idempotency
from core.ports import App, Key, StoreError, Value
from core.sqlite_store import SqliteStore
from manual_clock import ManualClock

pytestmark = pytest.mark.anyio

_APP = App(id="web-shop", created_at=0)
_REQUEST = Request("POST", "/v1/chat/completions", headers={"idempotency-key": "order-17"}, body=b"{}")


class Worker:
    """Answers, and counts how often it did."""

    def __init__(self, response: Response) -> None:
        self.times = 0
        self._response = response

    async def __call__(self) -> Response:
        self.times += 1
        return self._response


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000)


@pytest.fixture
async def idempotency(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Idempotency]:
    store = SqliteStore(tmp_path / "store.sqlite3", clock=clock)
    yield Idempotency(store, clock=clock)
    store.close()


async def test_the_first_answer_is_given_again(idempotency: Idempotency) -> None:
    worker = Worker(Response(200, {"x-request-id": "one"}, b"first"))
    first = await idempotency.once(_APP, _REQUEST, worker)
    again = await idempotency.once(_APP, _REQUEST, worker)
    assert (first.status, first.body) == (again.status, again.body) == (200, b"first")
    assert again.headers == {"x-request-id": "one", "idempotent-replayed": "true"}
    assert worker.times == 1


async def test_without_a_key_each_request_is_new(idempotency: Idempotency) -> None:
    worker = Worker(Response(200, {}, b""))
    for request in (replace(_REQUEST, headers={}), replace(_REQUEST, method="GET")):
        await idempotency.once(_APP, request, worker)
        await idempotency.once(_APP, request, worker)
    assert worker.times == 4


@pytest.mark.parametrize("other", [{"body": b"{ }"}, {"path": "/v1/responses"}, {"query": "a=b"}])
async def test_another_request_under_the_same_key_is_refused(
    idempotency: Idempotency, other: dict[str, bytes | str]
) -> None:
    worker = Worker(Response(200, {}, b""))
    await idempotency.once(_APP, _REQUEST, worker)
    with pytest.raises(errors.IdempotencyKeyReused):
        await idempotency.once(_APP, replace(_REQUEST, **other), worker)  # type: ignore[arg-type]
    assert worker.times == 1


async def test_apps_do_not_share_keys(idempotency: Idempotency) -> None:
    worker = Worker(Response(200, {}, b"secret"))
    await idempotency.once(_APP, _REQUEST, worker)
    await idempotency.once(App(id="other", created_at=0), _REQUEST, worker)
    assert worker.times == 2


async def test_at_the_same_time_only_one_works(idempotency: Idempotency) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> Response:
        begun.set()
        await go_on.wait()
        return Response(200, {}, b"done")

    first = asyncio.create_task(idempotency.once(_APP, _REQUEST, work))
    await begun.wait()
    for _ in range(3):
        with pytest.raises(errors.Conflict) as caught:
            await idempotency.once(_APP, _REQUEST, work)
        assert caught.value.headers == {"retry-after": "1"}
    go_on.set()
    assert (await first).body == b"done"


async def test_after_an_error_the_key_is_free(idempotency: Idempotency) -> None:
    failing, worker = Worker(Response(429, {}, b"")), Worker(Response(200, {}, b""))

    async def broken() -> Response:
        raise errors.UpstreamTimeout("too slow")

    await idempotency.once(_APP, _REQUEST, failing)
    with pytest.raises(errors.UpstreamTimeout):
        await idempotency.once(_APP, _REQUEST, broken)
    assert (await idempotency.once(_APP, _REQUEST, worker)).status == 200
    assert (failing.times, worker.times) == (1, 1)


async def test_a_client_that_leaves_finds_its_answer_when_it_comes_again(idempotency: Idempotency) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> Response:
        begun.set()
        await go_on.wait()
        return Response(200, {}, b"paid for once")

    call = asyncio.create_task(idempotency.once(_APP, _REQUEST, work))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    worker = Worker(Response(200, {}, b"twice"))
    with pytest.raises(errors.Conflict):
        await idempotency.once(_APP, _REQUEST, worker)
    go_on.set()
    while True:
        try:
            again = await idempotency.once(_APP, _REQUEST, worker)
            break
        except errors.Conflict:
            await asyncio.sleep(0)
    assert again.body == b"paid for once"
    assert worker.times == 0


async def test_a_stream_that_nobody_waits_for_is_let_go(idempotency: Idempotency) -> None:
    begun, go_on, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Abandoned:
        def __aiter__(self) -> Abandoned:
            return self

        async def __anext__(self) -> bytes:
            return b"data: 1\n\n"

        async def aclose(self) -> None:
            closed.set()

    async def work() -> Response:
        begun.set()
        await go_on.wait()
        return Response(200, {}, Abandoned())

    call = asyncio.create_task(idempotency.once(_APP, _REQUEST, work))
    await begun.wait()
    call.cancel()
    await asyncio.wait([call])
    go_on.set()
    await asyncio.wait_for(closed.wait(), 5)
    worker = Worker(Response(200, {}, b""))
    while worker.times == 0:
        try:
            await idempotency.once(_APP, _REQUEST, worker)
        except errors.Conflict:
            await asyncio.sleep(0)


async def test_a_process_that_died_does_not_keep_the_key(idempotency: Idempotency, clock: ManualClock) -> None:
    begun = asyncio.Event()

    async def work() -> Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("not reached")

    call = asyncio.create_task(idempotency.once(_APP, _REQUEST, work))  # as good as dead: it never ends
    await begun.wait()
    clock.now += 900
    worker = Worker(Response(200, {}, b""))
    await idempotency.once(_APP, _REQUEST, worker)
    assert worker.times == 1
    call.cancel()
    await asyncio.wait([call])


async def _events(*events: bytes) -> AsyncGenerator[bytes, None]:
    for event in events:
        yield event


async def _collect(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([chunk async for chunk in response.body])


async def test_a_stream_is_kept_when_it_has_ended(idempotency: Idempotency) -> None:
    worker = Worker(Response(200, {"content-type": "text/event-stream"}, _events(b"data: 1\n\n", b"data: [DONE]\n\n")))
    first = await idempotency.once(_APP, _REQUEST, worker)
    with pytest.raises(errors.Conflict):
        await idempotency.once(_APP, _REQUEST, worker)
    assert await _collect(first) == b"data: 1\n\ndata: [DONE]\n\n"
    again = await idempotency.once(_APP, _REQUEST, worker)
    assert await _collect(again) == b"data: 1\n\ndata: [DONE]\n\n"
    assert again.headers["content-type"] == "text/event-stream"
    assert worker.times == 1


@pytest.mark.parametrize("failure", [b'data: {"error": {"message": "x"}}\n\n', b'data: {"type":"response.failed"}\n\n'])
async def test_a_stream_that_failed_may_be_tried_again(idempotency: Idempotency, failure: bytes) -> None:
    first = await idempotency.once(_APP, _REQUEST, Worker(Response(200, {}, _events(b"data: 1\n\n", failure))))
    await _collect(first)
    worker = Worker(Response(200, {}, b""))
    await idempotency.once(_APP, _REQUEST, worker)
    assert worker.times == 1


async def test_a_stream_that_was_left_may_be_tried_again(idempotency: Idempotency) -> None:
    first = await idempotency.once(_APP, _REQUEST, Worker(Response(200, {}, _events(b"data: 1\n\n", b"data: 2\n\n"))))
    assert not isinstance(first.body, bytes)
    await anext(first.body)
    await first.body.aclose()
    worker = Worker(Response(200, {}, b""))
    await idempotency.once(_APP, _REQUEST, worker)
    assert worker.times == 1


async def test_a_large_answer_is_kept_in_parts(idempotency: Idempotency) -> None:
    body = bytes(range(256)) * 4096
    worker = Worker(Response(200, {}, body))
    await idempotency.once(_APP, _REQUEST, worker)
    assert (await idempotency.once(_APP, _REQUEST, worker)).body == body
    assert worker.times == 1


async def test_half_an_answer_is_not_given_for_a_whole_one(tmp_path: Path) -> None:
    class Forgetful(SqliteStore):
        async def get(self, key: Key) -> Value | None:
            return None if key.name.endswith("/001") else await super().get(key)

    store = Forgetful(tmp_path / "store.sqlite3")
    idempotency, worker = Idempotency(store), Worker(Response(200, {}, b"x" * 500_000))
    await idempotency.once(_APP, _REQUEST, worker)
    with pytest.raises(StoreError):
        await idempotency.once(_APP, _REQUEST, worker)
    assert worker.times == 1
    store.close()


async def test_an_answer_is_forgotten_after_a_day(idempotency: Idempotency, clock: ManualClock) -> None:
    worker = Worker(Response(200, {}, b""))
    await idempotency.once(_APP, _REQUEST, worker)
    clock.now += 86_399
    await idempotency.once(_APP, _REQUEST, worker)
    assert worker.times == 1
    clock.now += 1
    await idempotency.once(_APP, _REQUEST, worker)
    assert worker.times == 2


async def test_a_form_is_the_same_whatever_its_boundary(idempotency: Idempotency) -> None:
    worker = Worker(Response(200, {}, b""))
    for boundary in ("one", "two"):
        headers = {"idempotency-key": "k", "content-type": f"multipart/form-data; boundary={boundary}"}
        body = f'--{boundary}\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--{boundary}--'.encode()
        await idempotency.once(_APP, replace(_REQUEST, headers=headers, body=body), worker)
    assert worker.times == 1


async def test_a_key_that_is_too_long(idempotency: Idempotency) -> None:
    request = replace(_REQUEST, headers={"idempotency-key": "k" * 256})
    with pytest.raises(errors.InvalidRequest):
        await idempotency.once(_APP, request, Worker(Response(200, {}, b"")))
