"""What is logged holds neither prompts nor answers nor keys, whatever happens, and each entry is one line."""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from core import app_keys, logs
from core.endpoints import ENDPOINTS
from core.http import Request
from core.ports import Key, Limits, StoreError
from local.services import CLOUDS
from local_deployment import LocalDeployment
from log_watch import LogWatch, leaks_in, service_lines
from scripted_upstream import Exchange, plain
from two_tenants import BUDGET, JSON, UPSTREAM_KEY, own, requests_of, tenants

pytestmark = pytest.mark.anyio

_LIMITS = {"shop": Limits(total_nano_usd=BUDGET)}
_LOGGED_SECONDS = 30
_MODEL = "offline;pace=0"


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the service itself has logged. Each is one line, to every reader of lines."""
    texts = [record.getMessage() for record in caplog.records if record.name == "trefoil"]
    assert [text for text in texts if len(text.splitlines()) != 1 or not text.isascii()] == []
    return [json.loads(text) for text in texts]


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Logging as an operator turns it up who looks for a fault: all loggers, those of libraries too."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "trefoil")
    return caplog


async def test_every_endpoint(tmp_path: Path, everything: pytest.LogCaptureFixture, log_watch: LogWatch) -> None:
    heard = log_watch.lines
    async with tenants(tmp_path, _LIMITS) as setup:
        for endpoint, path, body, headers in requests_of("shop"):
            await own(setup.store, "shop")
            response = await setup.call("shop", endpoint.method, path, body, headers)
            assert response.status == (404 if "{conversation}" in endpoint.path else 200), endpoint.name
        assert any(b"canary-prompt-shop" in exchange.body for exchange in setup.upstream.exchanges)
    lines = _lines(everything)
    names = {row.name for row in ENDPOINTS if not row.public and row.name != "tasks.run"}
    assert {line["endpoint"] for line in lines} == names | {"tasks.mine"}
    assert {line["app"] for line in lines} == {"shop"}
    assert len(everything.records) > len(lines)  # those of libraries are there
    assert log_watch.lines - heard >= len(lines)
    assert leaks_in(everything.text.splitlines()) == []


def _cut_off(head: bytes) -> Any:
    async def script(exchange: Exchange) -> None:
        await exchange.send(head + b'data: {"choices":[{"delta":{"content":"canary-answer-1"}}]}\n\n')
        exchange.writer.close()

    return script


_ECHO = b'{"error": {"message": "You wrote canary-prompt-shop", "code": "canary-answer-code"}}'
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 10000\r\n\r\n"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "script",
    [
        plain("400 Bad", _ECHO, JSON),
        plain("401 No", b'{"error": {"message": "Incorrect API key provided: %s"}}' % UPSTREAM_KEY.encode(), JSON),
        plain("429 Slow", _ECHO, JSON),
        plain("500 No", b"canary-answer-1", "content-type: text/html"),
        plain("200 OK", b"canary-answer-1", JSON),
        plain("302 Found", b"", "location: https://elsewhere.invalid/?canary-prompt-shop"),
        _cut_off(_SSE),
        _cut_off(b"HTTP/1.1 200 OK\r\ncontent-type: canary-answer-type\r\n"),
        _cut_off(b"canary-answer-no-http\r\n\r\n"),
    ],
)
async def test_every_way_that_upstream_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, script: Any, stream: bool
) -> None:
    caplog.set_level(logging.INFO)  # on the level below, a library shows the head of an answer, which has no content
    async with tenants(tmp_path, _LIMITS, script) as setup:
        await setup.chat("shop", stream=stream)
        assert setup.upstream.exchanges
    assert _lines(caplog)
    assert leaks_in(caplog.text.splitlines()) == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m", "messages": "canary-prompt-shop"}',
        b'{"model": "m", "messages": [{"content": "canary-prompt-shop"}], "n": "canary-prompt-shop"}',
        b'{"model": "m", "canary-prompt-shop": 1, "messages": [',
        b'{"model": "m", "messages": [{"file_id": "canary-prompt-shop"}]}',
        b"canary-prompt-shop",
    ],
)
async def test_what_is_refused(tmp_path: Path, everything: pytest.LogCaptureFixture, body: bytes) -> None:
    async with tenants(tmp_path, _LIMITS) as setup:
        assert 400 <= (await setup.call("shop", "POST", "/v1/chat/completions", body)).status < 500
    assert len(_lines(everything)) == 1
    assert leaks_in(everything.text.splitlines()) == []


async def test_a_store_that_fails_and_a_bug(tmp_path: Path, everything: pytest.LogCaptureFixture) -> None:
    class Broken:
        error: Exception = StoreError("the store is not there")

        async def get(self, key: Key) -> Any:
            raise self.error

    async with tenants(tmp_path, _LIMITS) as setup:
        setup.store.behind, behind = Broken(), setup.store.behind  # type: ignore[assignment]
        assert (await setup.chat("shop")).status == 503
        Broken.error = RuntimeError(f"canary-prompt-shop {setup.keys}")
        assert (await setup.chat("shop")).status == 500
        setup.store.behind = behind
    events = [line["event"] for line in _lines(everything)]
    assert events == ["store_unavailable", "request", "crash", "request"]
    assert leaks_in(everything.text.splitlines()) == []


async def test_a_key_that_is_written_where_it_does_not_belong(
    tmp_path: Path, everything: pytest.LogCaptureFixture
) -> None:
    async with tenants(tmp_path, _LIMITS) as setup:
        for key in (setup.keys["shop"], app_keys.generate(), "sk-proj-canary-upstream-key-0123456789"):
            await setup.call("shop", "GET", f"/v1/{key}")
            await setup.chat("shop", model=key)
            await setup.chat("shop", model=f"{key} {key}")
            await setup.chat("shop", {"authorization": f"Bearer {key}", "x-client-request-id": key})
    assert [line["path"] for line in _lines(everything)][:1] == ["/v1/[a key]"]
    assert {line["model"] for line in _lines(everything)} == {None, "[a key]", "[a key] [a key]", "m"}
    assert leaks_in(everything.text.splitlines()) == []


@pytest.mark.parametrize(
    "breaking", ["\n", "\r\n", "\x0b", "\x1b[2J", "\x7f", "\x85", "\x9b", "\u2028", "\u2029", '"}', "\u202e", "漢"]
)
async def test_what_a_client_writes_ends_no_line(
    tmp_path: Path, everything: pytest.LogCaptureFixture, breaking: str
) -> None:
    model = f'm{breaking}{{"severity": "ERROR", "event": "forged"}}'
    async with tenants(tmp_path, _LIMITS) as setup:
        await setup.chat("shop", model=model)
        await setup.call("shop", "GET", f"/v1/{breaking}")
    lines = _lines(everything)
    assert [line["event"] for line in lines] == ["request", "request"]
    assert lines[0]["model"] == model


def test_half_a_character_can_be_logged(everything: pytest.LogCaptureFixture) -> None:
    logs.RequestLine(Request("GET", "/v1/\udcff")).write("ok")
    assert _lines(everything)[0]["path"] == "/v1/\udcff"


def test_the_watch_hears_loggers_that_nobody_else_does(log_watch: LogWatch) -> None:
    logger = logging.Logger("lonely")
    logger.addHandler(logging.NullHandler())
    heard, leaks = log_watch.lines, len(log_watch.leaks)
    logger.info("harmless")
    logger.info("%s", "canary-answer-1")
    try:
        raise ValueError(app_keys.generate())
    except ValueError:
        logger.exception("it failed")
    assert (log_watch.lines - heard, len(log_watch.leaks) - leaks) == (3, 2)
    del log_watch.leaks[leaks:]


def _wait(deployment: LocalDeployment, text: str) -> None:
    end = time.monotonic() + _LOGGED_SECONDS
    while text not in deployment.log.read_text("utf-8"):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_the_runtimes_write(deployment: LocalDeployment, cloud: str) -> None:
    """The real ones, with their own lines about requests; all that they write in this session is looked at once more
    when it ends.
    """
    _wait(deployment, "Requests are shown below")
    url, headers = deployment.base_urls[cloud], {"authorization": f"Bearer {deployment.app_key}"}
    question = {"role": "user", "content": f"canary-prompt-{cloud}"}
    body: dict[str, Any] = {"model": _MODEL, "messages": [question]}
    answers = [
        httpx2.post(f"{url}/chat/completions", headers=headers, json=body, timeout=30),
        httpx2.post(f"{url}/chat/completions", headers=headers, json={**body, "stream": True}, timeout=30),
        httpx2.post(f"{url}/chat/completions", headers=headers, json={**body, "n": "canary-prompt-n"}, timeout=30),
        httpx2.post(f"{url}/responses", headers=headers, json={"model": _MODEL, "input": f"canary-prompt-{cloud}"}),
        httpx2.get(f"{url}/{app_keys.generate()}", headers=headers, timeout=30),
        httpx2.get(f"{url}/models", headers={"api-key": app_keys.generate()}, timeout=30),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 400, 200, 404, 401]
    assert f"canary-prompt-{cloud}" in answers[0].text  # the offline upstream repeats what it was told
    for answer in answers:
        _wait(deployment, answer.headers["x-request-id"])
    lines = [line for line in service_lines(deployment.log) if line.startswith(cloud)]
    assert sum(bool(re.search(r'"event":"request"', line)) for line in lines) >= len(answers)
    assert leaks_in(lines) == []
