"""The whole core against an upstream of raw bytes: what goes up, what comes down, what is said when things go wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core import app_keys
from core.admin import Admin
from core.gateway import Gateway
from core.http import Request, Response
from core.ports import Key
from core.settings import Settings
from core.sqlite_store import SqliteStore
from scripted_upstream import Exchange, Script, ScriptedUpstream, plain

pytestmark = pytest.mark.anyio

_OPERATORS_KEY = "sk-operators-own-key"
_JSON = "content-type: application/json"
_FIRST_TRY = {"x-trefoil-target": "openai", "x-trefoil-attempts": "1"}
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_BODY = b'{ "model":"gpt-4o",\t"messages":[{"role":"user","content":"na\xc3\xafve"}], "brand_new": 1.0 }'


@dataclass(frozen=True, slots=True)
class Setup:
    gateway: Gateway
    upstream: ScriptedUpstream
    app_key: str

    async def call(
        self, method: str = "POST", path: str = "/v1/chat/completions", body: bytes = _BODY, **more: Any
    ) -> Response:
        headers = {"authorization": f"Bearer {self.app_key}", **more.pop("headers", {})}
        return await self.gateway.handle(Request(method, path, headers=headers, body=body, id="req_ours", **more))


@asynccontextmanager
async def _setup(tmp_path: Path, script: Script, **environ: str) -> AsyncIterator[Setup]:
    async with ScriptedUpstream.playing(script) as upstream:
        defaults = {"OPENAI_API_KEY": _OPERATORS_KEY, "TREFOIL_UPSTREAM_URL": upstream.url}
        settings = Settings.load({**defaults, "TREFOIL_CONFIG": str(_config(tmp_path)), **environ})
        store = SqliteStore(tmp_path / "store.sqlite3")
        gateway = Gateway(settings, store)
        try:
            yield Setup(gateway, upstream, await Admin(store).new_key("web-shop"))
        finally:
            await gateway.close()
            store.close()


def _config(tmp_path: Path) -> Path:
    file = tmp_path / "trefoil.toml"
    file.write_text(
        "[upstreams.openai]\nconnect_timeout_seconds = 2\nsilence_timeout_seconds = 1\n"
        "[retry]\nfirst_wait_seconds = 0\n"
        "[limits]\nbody_bytes = 1000\n"
    )
    return file


def _error(response: Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    assert response.headers["content-type"] == "application/json"
    error: dict[str, Any] = json.loads(response.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def test_the_body_goes_up_and_comes_down_byte_for_byte(tmp_path: Path) -> None:
    answer = '{ "choices": [],\n"unknown": "naïve 漢字" }'.encode()
    async with _setup(tmp_path, plain("200 OK", answer, _JSON, "x-request-id: req_theirs")) as setup:
        response = await setup.call(headers={"x-client-request-id": "mine", "openai-beta": "assistants=v2"})
        (exchange,) = setup.upstream.exchanges
    assert (response.status, response.body) == (200, answer)
    assert response.headers == {"content-type": "application/json", "x-request-id": "req_theirs", **_FIRST_TRY}
    assert exchange.head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert exchange.body == _BODY
    assert exchange.header("authorization") == f"Bearer {_OPERATORS_KEY}"
    assert exchange.header("content-type") == "application/json"
    assert exchange.header("x-client-request-id") == "mine"
    assert exchange.header("openai-beta") == "assistants=v2"


async def test_nothing_of_the_client_s_identity_goes_up(tmp_path: Path) -> None:
    private = {"cookie": "a=b", "openai-organization": "org-mine", "x-forwarded-for": "10.1.2.3", "x-api-key": "other"}
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON)) as setup:
        await setup.call(headers=private)
        (exchange,) = setup.upstream.exchanges
        sent = exchange.head.decode("latin-1").lower()
        assert setup.app_key.lower() not in sent
    assert not [name for name, value in private.items() if f"\n{name}:" in sent or value in sent]


@pytest.mark.parametrize("name", ["accept", "openai-beta", "x-client-request-id"])
async def test_a_header_that_is_no_ascii_is_left_out(tmp_path: Path, name: str) -> None:
    answer = plain("200 OK", b"{}", _JSON, "x-request-id: \xe6\xbc\xa2", "openai-version: 1")
    async with _setup(tmp_path, answer) as setup:
        response = await setup.call(headers={name: "na\xefve"})
        (exchange,) = setup.upstream.exchanges
    assert response.status == 200
    assert exchange.header(name) != "na\xefve"
    assert (response.headers["x-request-id"], response.headers["openai-version"]) == ("req_ours", "1")


async def test_the_operator_s_own_affairs_do_not_come_down(tmp_path: Path) -> None:
    theirs = ["openai-organization: org-operator", "x-ratelimit-remaining-requests: 7", "set-cookie: a=b", "server: x"]
    kept = ["openai-processing-ms: 12", "openai-version: 2020-10-01"]
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON, *theirs, *kept)) as setup:
        response = await setup.call()
    assert response.headers == {
        "content-type": "application/json",
        "openai-processing-ms": "12",
        "openai-version": "2020-10-01",
        "x-request-id": "req_ours",
        **_FIRST_TRY,
    }


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/v1/models", "", b"GET /v1/models HTTP/1.1"),
        ("/v1/models", "limit=2&after=a%2Fb&x[]=1", b"GET /v1/models?limit=2&after=a%2Fb&x[]=1 HTTP/1.1"),
        ("/v1/models/ft:gpt-4o:acme::7p", "", b"GET /v1/models/ft:gpt-4o:acme::7p HTTP/1.1"),
        ("/v1/models/a%2Fb%20c", "", b"GET /v1/models/a%2Fb%20c HTTP/1.1"),
    ],
)
async def test_paths_and_queries_go_up_as_they_came(tmp_path: Path, path: str, query: str, expected: bytes) -> None:
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON)) as setup:
        response = await setup.call("GET", path, b"", query=query)
        (exchange,) = setup.upstream.exchanges
    assert response.status == 200
    assert exchange.head.split(b"\r\n")[0] == expected


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "404 Not Found", "409 Conflict", "429 Too Many", "500 Oops", "503 Busy"]
)
async def test_an_error_of_upstream_comes_down_unchanged(tmp_path: Path, status: str) -> None:
    body = b'{"error": {"message": "no",  "type": "theirs", "param": "p", "code": "c", "extra": 1}}'
    headers = [_JSON, "x-request-id: req_theirs", "retry-after: 7", "retry-after-ms: 6500", "x-should-retry: false"]
    async with _setup(tmp_path, plain(status, body, *headers)) as setup:
        for stream in (b"false", b"true"):
            response = await setup.call(body=_BODY[:-1] + b', "stream": ' + stream + b"}")
            assert (response.status, response.body) == (int(status[:3]), body)
            assert response.headers == dict(header.split(": ") for header in headers) | _FIRST_TRY


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refused_operator_s_key_is_not_the_client_s_fault(
    tmp_path: Path, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {_OPERATORS_KEY}"}}).encode()
    async with _setup(tmp_path, plain(status, body, _JSON)) as setup:
        response = await setup.call()
    assert response.status == 502
    assert _error(response)["code"] == "upstream_auth_failed"
    assert "OPENAI_API_KEY" in caplog.text
    assert _OPERATORS_KEY not in caplog.text + str(response)


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (plain("200 OK", b"<html>", "content-type: text/html"), 502, "upstream_invalid"),
        (plain("200 OK", b'{"choices": [', _JSON), 502, "upstream_invalid"),
        (plain("200 OK", b"[]", _JSON), 502, "upstream_invalid"),
        (plain("200 OK", b"", _JSON), 502, "upstream_invalid"),
        (plain("302 Found", b"{}", _JSON, "location: http://127.0.0.1:1/"), 502, "upstream_invalid"),
        (plain("503 Busy", b"<html>", "content-type: text/html", "retry-after: 7"), 503, "upstream_invalid"),
    ],
)
async def test_an_unreadable_answer(tmp_path: Path, answer: Script, status: int, code: str) -> None:
    async with _setup(tmp_path, answer) as setup:
        response = await setup.call()
    assert (response.status, _error(response)["code"]) == (status, code)
    assert response.headers.get("retry-after") == ("7" if status == 503 else None)


@pytest.mark.parametrize("content_type", ["application/json", "text/html", "application/x-anything"])
@pytest.mark.parametrize("content", [b"", b'""', b"<html>"])
async def test_a_stored_file_is_passed_on_whatever_it_is(tmp_path: Path, content_type: str, content: bytes) -> None:
    async with _setup(tmp_path, plain("200 OK", content, f"content-type: {content_type}")) as setup:
        store = SqliteStore(tmp_path / "store.sqlite3")
        await store.put(Key("apps/web-shop/objects/files", "file-1"), {"created_at_ns": 1, "upstream": "openai"})
        store.close()
        response = await setup.call("GET", "/v1/files/file-1/content", b"")
        assert (response.status, response.headers["content-type"]) == (200, content_type)
        assert b"".join(await _collect(response)) == content


async def test_a_connection_that_breaks_in_the_body(tmp_path: Path) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        exchange.writer.close()

    async with _setup(tmp_path, script) as setup:
        response = await setup.call()
    assert (response.status, _error(response)["code"]) == (502, "upstream_cut_off")


async def test_what_is_no_http_at_all(tmp_path: Path) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"\x00\x01SSH-2.0\r\n\r\n")
        exchange.writer.close()

    async with _setup(tmp_path, script) as setup:
        response = await setup.call()
    assert (response.status, _error(response)["code"]) == (502, "upstream_unreachable")


async def test_nobody_listens(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", b""), TREFOIL_UPSTREAM_URL="http://127.0.0.1:1/v1") as setup:
        response = await setup.call()
    assert (response.status, _error(response)["code"]) == (502, "upstream_unreachable")
    assert "127.0.0.1" not in str(response.body)


async def _silence(exchange: Exchange) -> None:
    await exchange.client_left()


async def test_upstream_that_keeps_silent_is_given_up(tmp_path: Path) -> None:
    async with _setup(tmp_path, _silence) as setup:
        response = await setup.call()
    assert (response.status, _error(response)["code"]) == (504, "upstream_timeout")


def _named(name: str, value: Any) -> dict[str, Any]:
    return {name: value}


@pytest.mark.parametrize("name", ["deadline", "first_byte_deadline"])
async def test_the_answer_comes_before_the_platform_s_deadline(tmp_path: Path, name: str) -> None:
    async with _setup(tmp_path, _silence) as setup:
        deadline = time.monotonic() + 1.2
        response = await setup.call(**_named(name, deadline))
        assert time.monotonic() < deadline
    assert (response.status, _error(response)["code"]) == (504, "upstream_timeout")


async def test_a_stream_ends_by_itself_before_the_platform_s_deadline(tmp_path: Path) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(_SSE)
        await exchange.send_chunk(b"data: 1\n\n")
        await exchange.client_left()

    async with _setup(tmp_path, script) as setup:
        deadline = time.monotonic() + 1.3
        response = await setup.call(body=_STREAMED, deadline=deadline, first_byte_deadline=deadline)
        received = await _collect(response)
        assert time.monotonic() < deadline
    assert received[0] == b"data: 1\n\n"
    assert json.loads(received[1].removeprefix(b"data: "))["error"]["code"] == "upstream_timeout"


_STREAMED = _BODY[:-1] + b', "stream": true}'


async def _collect(response: Response) -> list[bytes]:
    assert not isinstance(response.body, bytes)
    return [chunk async for chunk in response.body]


async def test_a_stream_arrives_event_by_event(tmp_path: Path) -> None:
    received = asyncio.Queue[bytes]()

    async def script(exchange: Exchange) -> None:
        await exchange.send(_SSE)
        for event in (b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"):
            await exchange.send_chunk(event)
            assert await received.get() == event  # nothing more is sent until this one has arrived
        await exchange.send(b"0\r\n\r\n")

    async with _setup(tmp_path, script) as setup:
        response = await setup.call(body=_STREAMED)
        assert (response.status, response.headers["content-type"]) == (200, "text/event-stream")
        assert not isinstance(response.body, bytes)
        events = []
        async for event in response.body:
            events.append(event)
            received.put_nowait(event)
    assert events == [b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"]


async def test_a_client_that_leaves_a_stream_ends_the_upstream_call(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(_SSE)
        await exchange.send_chunk(b"data: 1\n\n")
        await exchange.client_left()
        left.set()

    async with _setup(tmp_path, script) as setup:
        response = await setup.call(body=_STREAMED)
        assert not isinstance(response.body, bytes)
        await anext(response.body)
        await response.body.aclose()
        await asyncio.wait_for(left.wait(), 5)


async def test_a_client_that_leaves_before_the_answer_ends_the_upstream_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trefoil")
    arrived, left = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        arrived.set()
        await exchange.client_left()
        left.set()

    async with _setup(tmp_path, script) as setup:
        call = asyncio.create_task(setup.call())
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(left.wait(), 5)
    assert '"outcome":"client_left"' in caplog.text


async def test_a_stream_that_was_asked_for_but_not_given_is_a_plain_answer(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", b'{"choices": []}', _JSON)) as setup:
        response = await setup.call(body=_STREAMED)
    assert response.body == b'{"choices": []}'


async def test_no_cookie_is_carried_from_call_to_call(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON, "set-cookie: sid=of-one-app; path=/")) as setup:
        for _ in range(2):
            await setup.call()
        assert [exchange.header("cookie") for exchange in setup.upstream.exchanges] == [None, None]


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/responses", b'"conversation": "conv_1"'),
        ("/v1/responses", b'"background": true'),
        ("/v1/chat/completions", b'"store": true'),
    ],
)
async def test_what_would_be_there_twice_is_not_tried_again(tmp_path: Path, path: str, more: bytes) -> None:
    async def drop(exchange: Exchange) -> None:
        exchange.writer.close()

    async with _setup(tmp_path, drop) as setup:
        store = SqliteStore(tmp_path / "store.sqlite3")
        await store.put(
            Key("apps/web-shop/objects/conversations", "conv_1"), {"created_at_ns": 1, "upstream": "openai"}
        )
        store.close()
        response = await setup.call(path=path, body=_BODY[:-1] + b", " + more + b"}")
        assert response.status == 502
        assert len(setup.upstream.exchanges) == 1


async def test_browsers(tmp_path: Path) -> None:
    """Each page is told what is meant for it: before there is a key by the settings, then by the app's own list."""
    file = tmp_path / "cors.toml"
    file.write_text('[cors]\norigins = ["https://shop.example", "https://other.example"]\n')
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON), TREFOIL_CONFIG=str(file)) as setup:
        store = SqliteStore(tmp_path / "store.sqlite3")
        await Admin(store).set_app_origins("web-shop", ["https://shop.example"])
        store.close()

        async def allowed(origin: str, **more: Any) -> str | None:
            response = await setup.call(**{"headers": {"origin": origin}, **more})
            return response.headers.get("access-control-allow-origin")

        assert await allowed("https://shop.example") == "https://shop.example"
        assert await allowed("https://other.example") is None
        assert await allowed("https://evil.example") is None
        asked = {"origin": "https://other.example", "access-control-request-method": "POST", "authorization": ""}
        assert await allowed("", method="OPTIONS", headers=asked) == "https://other.example"
        refused = {"origin": "https://other.example", "authorization": ""}
        assert await allowed("", headers=refused) == "https://other.example"  # so that the page can read the 401
        assert len(setup.upstream.exchanges) == 3


async def test_one_connection_serves_many_calls(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON)) as setup:
        for _ in range(5):
            assert (await setup.call()).status == 200
        assert setup.upstream.connections == 1


async def test_nothing_reaches_upstream_without_a_key(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON)) as setup:
        responses = [
            await setup.call(headers={"authorization": "Bearer sk-wrong"}),
            await setup.call("GET", "/v1/models", headers={"authorization": ""}),
        ]
        assert setup.upstream.exchanges == []
    assert [response.status for response in responses] == [401, 401]
    assert responses[0].headers["www-authenticate"] == "Bearer"


async def test_health_asks_nobody(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("500 No", b"")) as setup:
        response = await setup.call("GET", "/healthz", b"", headers={"authorization": ""})
        assert setup.upstream.exchanges == []
    assert (response.status, response.body) == (200, b'{"status":"ok"}')


async def test_a_body_over_the_limit(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON)) as setup:
        response = await setup.call(body=b" " * 1001)
    assert response.status == 413
    assert "1,000 bytes" in _error(response)["message"]


async def test_a_url_that_no_client_library_takes(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON)) as setup:
        response = await setup.call("GET", "/v1/models/" + "a" * 70_000, b"")
    assert response.status == 400


async def test_the_log_says_who_and_how_but_not_what(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trefoil")
    async with _setup(tmp_path, plain("200 OK", b'{"answer": "geheim"}', _JSON, "x-request-id: req_theirs")) as setup:
        await setup.call()
        assert setup.app_key not in caplog.text
    (record,) = caplog.records
    line = json.loads(record.message)
    assert isinstance(line.pop("duration_ms"), int)
    assert line == {
        "severity": "INFO",
        "event": "request",
        "request_id": "req_ours",
        "upstream_request_id": "req_theirs",
        "app": "web-shop",
        "method": "POST",
        "path": None,
        "endpoint": "chat.completions.create",
        "model": "gpt-4o",
        "target": "openai",
        "attempts": "1",
        "status": 200,
        "outcome": "ok",
    }


async def test_an_alias_is_answered_by_its_target(tmp_path: Path) -> None:
    file = tmp_path / "alias.toml"
    file.write_text('[models."gpt-4o"]\ntargets = [{ upstream = "openai", model = "gpt-5" }]\n')
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON), TREFOIL_CONFIG=str(file)) as setup:
        response = await setup.call()
        (exchange,) = setup.upstream.exchanges
    assert exchange.body == _BODY.replace(b'"gpt-4o"', b'"gpt-5"')
    assert response.headers.items() >= _FIRST_TRY.items()


async def test_the_log_names_no_upstream_where_none_was_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trefoil")
    async with _setup(tmp_path, plain("200 OK", b"{}", _JSON)) as setup:
        await setup.call(headers={"authorization": ""})
    (record,) = caplog.records
    line = json.loads(record.message)
    assert (line["outcome"], line["upstream_request_id"], line["target"]) == ("missing_api_key", None, None)


async def test_a_store_that_cannot_be_reached_is_a_503(tmp_path: Path) -> None:
    gateway = Gateway(Settings.load({"OPENAI_API_KEY": _OPERATORS_KEY}), SqliteStore(tmp_path))
    headers = {"authorization": f"Bearer {app_keys.generate()}"}
    response = await gateway.handle(Request("GET", "/v1/models", headers=headers))
    assert (response.status, _error(response)["code"]) == (503, "store_unavailable")
    assert response.headers["retry-after"] == "1"


async def test_a_bug_is_a_500_that_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class BrokenStore(SqliteStore):
        async def get(self, key: object) -> None:
            raise RuntimeError(f"secret {key}")

    settings = Settings.load({"OPENAI_API_KEY": _OPERATORS_KEY})
    store = SqliteStore(tmp_path / "store.sqlite3")
    key = await Admin(store).new_key("web-shop")
    store.close()
    gateway = Gateway(settings, BrokenStore(tmp_path / "store.sqlite3"))
    response = await gateway.handle(Request("GET", "/v1/models", headers={"authorization": f"Bearer {key}"}))
    assert (response.status, _error(response)["code"]) == (500, "internal_error")
    assert "RuntimeError" in caplog.text
    assert "test_gateway.py" in caplog.text
    assert "secret" not in caplog.text + str(response)
