"""Targets that fail in every way, over real sockets: which is asked next, how often, and what the client is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from core import errors
from core.endpoints import Endpoint
from core.http import Request, Response
from core.settings import Settings
from core.upstream import Surroundings, Upstream
from manual_clock import ManualClock
from scripted_upstream import Exchange, Script, ScriptedUpstream, plain

pytestmark = pytest.mark.anyio

_CHAT = Endpoint("chat", "POST", "/v1/chat/completions", last_events=frozenset({"[DONE]"}))
_UPLOAD = Endpoint("upload", "POST", "/v1/files", repeatable=False)
_SPEECH = Endpoint("speech", "POST", "/v1/audio/speech", answers_json=False)
_BODY = b'{ "model": "fast" }'
_JSON = "content-type: application/json"
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

_OK = plain("200 OK", b'{"ok": true}', _JSON)
_BUSY = plain("503 Busy", b'{"error": {"code": "busy"}}', _JSON)
_LIMITED = plain("429 Too Many", b'{"error": {"code": "rate_limit_exceeded"}}', _JSON)
_UNPAID = plain("429 Too Many", b'{"error": {"code": "insufficient_quota"}}', _JSON)
_DENIED = plain("401 Unauthorized", b'{"error": {"message": "sk-operators"}}', _JSON)
_GARBAGE = plain("200 OK", b"<html>", "content-type: text/html")


async def _hang_up(exchange: Exchange) -> None:
    exchange.writer.close()


async def _break_off(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
    exchange.writer.close()


async def _keep_silent(exchange: Exchange) -> None:
    await exchange.client_left()


async def _break_before_the_first_event(exchange: Exchange) -> None:
    await exchange.send(_SSE)
    await exchange.send_chunk(b'data: {"cho')
    exchange.writer.close()


async def _stream(exchange: Exchange) -> None:
    await exchange.send(_SSE)
    await exchange.send_chunk(b"data: 1\n\ndata: [DONE]\n\n")
    await exchange.send(b"0\r\n\r\n")


def _in_turn(*scripts: Script) -> Script:
    """Another script for each request; the last one for all that follow."""
    left = list(scripts)

    async def script(exchange: Exchange) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return script


@dataclass(slots=True)
class Setup:
    upstream: Upstream
    targets: list[ScriptedUpstream]
    clock: ManualClock
    waits: list[float] = field(default_factory=list)

    async def send(
        self, endpoint: Endpoint = _CHAT, model: str | None = "fast", *, pays_once: bool = False, **request: Any
    ) -> Response:
        given = {"method": endpoint.method, "path": endpoint.path, "body": _BODY, "id": "req_ours", **request}
        answer = await self.upstream.send(
            endpoint, Request(**given), stream=True, on_end=lambda _: None, model=model, pays_once=pays_once
        )
        return answer.response

    def received(self) -> list[int]:
        """How many requests each target got."""
        return [len(target.exchanges) for target in self.targets]


@asynccontextmanager
async def _setup(*scripts: Script | None, **sections: Mapping[str, Any]) -> AsyncIterator[Setup]:
    """Targets `t0`, `t1` … of the alias `fast`, in this order; where there is no script, nobody listens."""
    clock, waits = ManualClock(0.0), list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with AsyncExitStack() as stack:
        targets = [
            await stack.enter_async_context(ScriptedUpstream.playing(script)) if script else ScriptedUpstream()
            for script in scripts
        ]
        upstreams = {
            f"t{number}": {
                "kind": "compatible",
                "base_url": target.url or "http://127.0.0.1:1/v1",
                "silence_timeout_seconds": 0.3,
            }
            for number, target in enumerate(targets)
        }
        models = {"fast": {"targets": [{"upstream": name, "model": f"model-{name}"} for name in upstreams]}}
        settings = Settings.read(
            {"upstreams": upstreams, "models": models, "route": {"default_upstream": "t0"}, **sections}, {}
        )
        around = Surroundings(monotonic=clock, random=lambda: 0.5, sleep=sleep)
        setup = Setup(Upstream(settings, around), targets, clock, waits)
        try:
            yield setup
        finally:
            await setup.upstream.close()


def _trace(answer: Response | errors.UpstreamError) -> tuple[str, int]:
    return answer.headers["x-trefoil-target"], int(answer.headers["x-trefoil-attempts"])


_NO_RETRY = {"max_retries": 0}


@pytest.mark.parametrize(
    ("first", "attempts", "waits"),
    [
        (None, 3, [0.25, 0.5]),
        (_hang_up, 3, [0.25, 0.5]),
        (_BUSY, 3, [0.25, 0.5]),
        (_LIMITED, 3, [0.25, 0.5]),
        (plain("429 Too Many", b"{}", _JSON, "retry-after: 2"), 3, [2, 2]),
        (plain("429 Too Many", b"{}", _JSON, "retry-after: 20"), 1, []),
        (plain("502 Bad", b"<html>", "content-type: text/html"), 3, [0.25, 0.5]),
        (_UNPAID, 1, []),
        (_DENIED, 1, []),
        (_GARBAGE, 1, []),
        (_break_off, 1, []),
        (_keep_silent, 1, []),
        (_break_before_the_first_event, 1, []),
        (plain("404 Not Found", b"<html>", "content-type: text/html"), 1, []),
        (plain("501 No", b"{}", _JSON), 1, []),
    ],
    ids=[
        "nobody listens",
        "hangs up",
        "503",
        "429",
        "429 for 2 s",
        "429 for 20 s",
        "502 of a proxy",
        "quota",
        "401",
        "garbage",
        "breaks off",
        "silent",
        "stream without an event",
        "404 of a proxy",
        "501",
    ],
)
async def test_the_second_target_answers_for_the_first(first: Script | None, attempts: int, waits: list[float]) -> None:
    async with _setup(first, _OK) as setup:
        response = await setup.send()
        assert (response.status, response.body) == (200, b'{"ok": true}')
        assert _trace(response) == ("t1", attempts + 1)
        assert setup.waits == waits
        assert setup.received() == [attempts if first else 0, 1]


@pytest.mark.parametrize("first", [_break_before_the_first_event, _BUSY, None], ids=["breaks", "503", "refused"])
async def test_a_stream_too_has_another_target_until_its_first_event(first: Script | None) -> None:
    async with _setup(first, _stream, retry=_NO_RETRY) as setup:
        response = await setup.send()
        assert not isinstance(response.body, bytes)
        assert b"".join([event async for event in response.body]) == b"data: 1\n\ndata: [DONE]\n\n"
        assert _trace(response) == ("t1", 2)


async def test_a_stream_that_breaks_after_its_first_event_is_not_begun_again() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(_SSE)
        await exchange.send_chunk(b"data: 1\n\n")
        exchange.writer.close()

    async with _setup(script, _stream) as setup:
        response = await setup.send()
        assert not isinstance(response.body, bytes)
        events = [event async for event in response.body]
        assert json.loads(events[1].removeprefix(b"data: "))["error"]["code"] == "upstream_cut_off"
        assert _trace(response) == ("t0", 1)
        assert setup.received() == [1, 0]


async def test_each_target_gets_the_model_by_its_own_name() -> None:
    async with _setup(_GARBAGE, _OK) as setup:
        await setup.send()
        assert [target.exchanges[0].body for target in setup.targets] == [
            b'{ "model": "model-t0" }',
            b'{ "model": "model-t1" }',
        ]


@pytest.mark.parametrize("model", ["gpt-4o", None])
async def test_what_has_no_entry_goes_to_the_default_upstream_as_it_is(model: str | None) -> None:
    async with _setup(_OK, _OK) as setup:
        assert _trace(await setup.send(model=model)) == ("t0", 1)
        assert setup.targets[0].exchanges[0].body == _BODY


@pytest.mark.parametrize("status", ["400 Bad", "404 Not Found", "409 Conflict", "422 Bad"])
async def test_the_client_s_own_error_is_its_answer_at_once(status: str) -> None:
    async with _setup(plain(status, b'{"error": {}}', _JSON), _OK) as setup:
        response = await setup.send()
        assert (response.status, response.body, _trace(response)) == (int(status[:3]), b'{"error": {}}', ("t0", 1))
        assert setup.received() == [1, 0]


async def test_a_moment_later_the_same_target_answers() -> None:
    async with _setup(_in_turn(_BUSY, _hang_up, _OK)) as setup:
        assert _trace(await setup.send()) == ("t0", 3)
        assert setup.waits == [0.25, 0.5]


async def test_retries_are_counted_over_all_targets() -> None:
    async with _setup(_in_turn(_LIMITED, _UNPAID), _BUSY, _BUSY) as setup:
        response = await setup.send()
        assert (response.status, _trace(response)) == (503, ("t2", 5))
        assert setup.received() == [2, 2, 1]


@pytest.mark.parametrize(
    ("last", "error", "code"),
    [
        (_DENIED, errors.UpstreamAuthFailed, "upstream_auth_failed"),
        (None, errors.UpstreamError, "upstream_unreachable"),
        (_keep_silent, errors.UpstreamTimeout, "upstream_timeout"),
        (_GARBAGE, errors.UpstreamError, "upstream_invalid"),
    ],
)
async def test_the_last_failure_is_what_the_client_is_told(
    last: Script | None, error: type[errors.UpstreamError], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with _setup(_DENIED, last, retry=_NO_RETRY) as setup:
        with pytest.raises(error) as caught:
            await setup.send()
    assert (caught.value.code, _trace(caught.value)) == (code, ("t1", 2))
    assert "127.0.0.1" not in f"{caught.value} {caught.value.headers}"
    assert "sk-operators" not in f"{caught.value} {caught.value.headers} {caplog.text}"


@pytest.mark.parametrize(
    ("first", "moves_on"),
    [
        (None, True),
        (_LIMITED, True),
        (_DENIED, True),
        (plain("503 Busy", b"{}", _JSON, "retry-after: 1"), True),
        (_BUSY, False),
        (_hang_up, False),
        (_GARBAGE, False),
        (_break_off, False),
        (_keep_silent, False),
    ],
    ids=["refused", "429", "401", "503 for 1 s", "503", "hangs up", "garbage", "breaks off", "silent"],
)
async def test_what_must_not_be_made_twice_goes_elsewhere_only_if_it_was_not_taken(
    first: Script | None, moves_on: bool
) -> None:
    async with _setup(first, _OK, retry=_NO_RETRY) as setup:
        try:
            answer: Response | errors.UpstreamError = await setup.send(_UPLOAD)
        except errors.UpstreamError as error:
            answer = error
        assert _trace(answer) == (("t1", 2) if moves_on else ("t0", 1))
        assert setup.received()[1] == int(moves_on)


async def test_a_failed_target_rests_and_is_probed_by_one_call() -> None:
    arrived, probed = asyncio.Event(), asyncio.Event()

    async def slow_recovery(exchange: Exchange) -> None:
        arrived.set()
        await probed.wait()
        await _OK(exchange)

    sections: dict[str, Any] = {"retry": _NO_RETRY, "route": {"default_upstream": "t0", "rest_seconds": 30}}
    async with _setup(_in_turn(_BUSY, slow_recovery), _OK, **sections) as setup:
        assert _trace(await setup.send()) == ("t1", 2)
        assert _trace(await setup.send()) == ("t1", 1)
        setup.clock.now = 30.0
        probe = asyncio.create_task(setup.send())
        await arrived.wait()
        assert _trace(await setup.send()) == ("t1", 1)
        probed.set()
        assert _trace(await probe) == ("t0", 1)
        assert _trace(await setup.send()) == ("t0", 1)


async def test_if_all_targets_rest_they_are_used_anyway() -> None:
    async with _setup(_in_turn(_BUSY, _OK), _BUSY, retry=_NO_RETRY) as setup:
        assert (await setup.send()).status == 503
        assert _trace(await setup.send()) == ("t0", 1)


async def _begin_a_stream_and_keep_silent(exchange: Exchange) -> None:
    await exchange.send(_SSE)
    await exchange.client_left()


@pytest.mark.parametrize(
    "script",
    [_keep_silent, _begin_a_stream_and_keep_silent, _BUSY],
    ids=["during an attempt", "before the first event", "during a wait"],
)
async def test_the_deadline_ends_everything(script: Script) -> None:
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(10)

    async with _setup(_in_turn(_OK, script), _OK) as setup:
        await setup.send()  # makes the client, which takes its time
        setup.upstream._around = Surroundings(sleep=sleep, random=lambda: 0.0)
        with pytest.raises(errors.UpstreamTimeout) as caught:
            await setup.send(deadline=time.monotonic() + 1.2)
        assert _trace(caught.value) == ("t0", 1)
        assert setup.received() == [2, 0]


async def test_an_answer_that_need_not_be_json() -> None:
    speech = plain("200 OK", b"\xff\xfb\x90", "content-type: audio/mpeg")
    async with _setup(speech, _OK) as setup:
        response = await setup.send(_SPEECH)
        assert not isinstance(response.body, bytes)
        assert [chunk async for chunk in response.body] == [b"\xff\xfb\x90"]
        assert response.headers["content-type"] == "audio/mpeg"
        assert _trace(response) == ("t0", 1)
    async with _setup(_GARBAGE, _OK) as setup:
        assert _trace(await setup.send(_CHAT)) == ("t1", 2)


async def test_each_upstream_has_one_client_and_one_connection() -> None:
    async with _setup(_BUSY, _OK, retry=_NO_RETRY) as setup:
        for _ in range(4):
            await setup.send()
        assert [target.connections for target in setup.targets] == [1, 1]


async def test_a_form_goes_up_with_its_own_boundary_and_the_target_s_model() -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nfast\r\n--x--\r\n'
    transcribe = Endpoint("transcribe", "POST", "/v1/audio/transcriptions")
    async with _setup(_OK) as setup:
        content_type = "Multipart/form-data; boundary=x"
        await setup.send(transcribe, body=form, headers={"content-type": content_type})
        (exchange,) = setup.targets[0].exchanges
    assert exchange.body == form.replace(b"fast", b"model-t0")
    assert exchange.header("content-type") == "multipart/form-data; boundary=x"  # as nobody can take it otherwise
    assert b"x-trefoil" not in exchange.head.lower()


@pytest.mark.parametrize(("method", "body"), [("DELETE", b""), ("POST", b""), ("GET", b"")])
async def test_methods_without_a_body(method: str, body: bytes) -> None:
    endpoint = Endpoint("one", method, "/v1/responses/resp_1")
    async with _setup(_OK) as setup:
        response = await setup.send(endpoint, model=None, body=body)
        (exchange,) = setup.targets[0].exchanges
    assert (response.status, response.body) == (200, b'{"ok": true}')
    assert exchange.head.startswith(f"{method} /v1/responses/resp_1 HTTP/1.1".encode())
    assert exchange.body == b""


async def test_the_sdk_s_own_variables_do_not_reach_other_services(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, f"private-{name}")
    async with _setup(_OK) as setup:
        await setup.send()
        assert b"private" not in setup.targets[0].exchanges[0].head
        assert setup.targets[0].exchanges[0].header("authorization") is None


@pytest.mark.parametrize("script", [_keep_silent, _break_off], ids=["silent", "breaks off"])
async def test_what_may_have_cost_something_is_not_done_twice_where_it_is_paid_once(script: Script) -> None:
    async with _setup(script, _OK) as setup:
        with pytest.raises(errors.UpstreamError) as caught:
            await setup.send(pays_once=True)
        assert caught.value.may_cost
        assert setup.received() == [1, 0]


@pytest.mark.parametrize(
    ("script", "received"),
    [(plain("503 No", b"{}", _JSON), [3, 1]), (None, [0, 1])],
    ids=["503", "nobody listens"],
)
async def test_what_was_surely_free_is_done_again_even_where_it_is_paid_once(
    script: Script | None, received: list[int]
) -> None:
    async with _setup(script, _OK) as setup:
        assert (await setup.send(pays_once=True)).status == 200
        assert setup.received() == received
