"""The AWS adapter's two translations, with a gateway that only remembers and answers what it was told."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs

import pytest

from core.http import Request, Response
from core.sqlite_store import SqliteStore

HERE = Path(__file__).parent
EVENT: dict[str, Any] = json.loads((HERE / "events" / "function_url.json").read_text("utf-8"))
REST_EVENT: dict[str, Any] = json.loads((HERE / "events" / "rest_api.json").read_text("utf-8"))


@dataclass
class Context:
    """What awslambdaric hands in beside the event."""

    aws_request_id: str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    remaining_ms: int = 30_000

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@dataclass
class FakeGateway:
    response: Response = field(default_factory=lambda: Response(200, {"content-type": "application/json"}, b"{}"))
    requests: list[Request] = field(default_factory=list)
    loops: list[asyncio.AbstractEventLoop] = field(default_factory=list)

    async def handle(self, request: Request) -> Response:
        self.requests.append(request)
        self.loops.append(asyncio.get_running_loop())
        return self.response


class FakeStream:
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = iter(chunks)
        self.closed = False

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    module = importlib.import_module("lambda_function")
    yield module
    module._runner().close()
    module._runner.cache_clear()


@pytest.fixture
def gateway(function: ModuleType, monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    gateway = FakeGateway()
    monkeypatch.setattr(function, "_gateway", lambda: gateway)
    return gateway


def test_an_event_is_read_whole(function: ModuleType, gateway: FakeGateway) -> None:
    function.lambda_handler(EVENT, Context())

    [request] = gateway.requests
    assert request == Request(
        method="POST",
        path="/v1/chat/completions",
        query="parameter1=value1&parameter1=value2&parameter2=value",
        headers={"content-type": "application/json", "header1": "value1,value2", "cookie": "cookie1=a; cookie2=b"},
        body='{"model": "🍀"}'.encode(),
        deadline=request.deadline,
        client="123.123.123.123",
        id="8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    )


def test_an_event_of_a_rest_api_is_read_whole(function: ModuleType, gateway: FakeGateway) -> None:
    function.lambda_handler(REST_EVENT, Context(remaining_ms=600_000))

    [request] = gateway.requests
    assert request == Request(
        method="POST",
        path="/v1/files/a%2Fb%20%C3%A9",
        query="include%5B%5D=a&include%5B%5D=b%26c%3Dd&empty=&%C3%A9=1%2B1%20%3D%202",
        headers={
            "accept": "*/*",
            "content-type": "application/json",
            "cookie": "a=1; b=2; d=4",
            "header1": "value1,value2,value3",
        },
        body='{"model": "🍀"}'.encode(),
        deadline=request.deadline,
        first_byte_deadline=request.first_byte_deadline,
        client="203.0.113.7",
        id="8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    )
    assert request.deadline is not None
    assert request.first_byte_deadline is not None
    assert request.deadline - request.first_byte_deadline == pytest.approx(600 - 290, abs=5)


@pytest.mark.parametrize(
    "parameters",
    [
        {"a": ["1", "2", ""], "metadata[key]": ["+ %&=;|{}#?/"], "": ["x"]},
        {"🍀\u0000\n": ["\u00e9\u2028"]},
        {},
        None,
    ],
    ids=["reserved", "unicode", "none", "null"],
)
def test_the_query_of_a_rest_api_is_encoded_anew(
    function: ModuleType, gateway: FakeGateway, parameters: dict[str, list[str]] | None
) -> None:
    function.lambda_handler({**REST_EVENT, "multiValueQueryStringParameters": parameters}, Context())

    query = gateway.requests[0].query
    assert query.isascii()
    assert parse_qs(query, keep_blank_values=True) == (parameters or {})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/v1/models/ft:gpt-4o:org::id", "/v1/models/ft:gpt-4o:org::id"),
        ("/a%2Fb%3F%25/-._~!$&'()*+,;=:@", "/a%2Fb%3F%25/-._~!$&'()*+,;=:@"),
        ("/a?b#c d/é", "/a%3Fb%23c%20d/%C3%A9"),
    ],
    ids=["root", "model", "encoded", "not encoded"],
)
def test_the_path_of_a_rest_api_stays_a_path(
    function: ModuleType, gateway: FakeGateway, path: str, expected: str
) -> None:
    function.lambda_handler({**REST_EVENT, "path": path}, Context())

    assert gateway.requests[0].path == expected


def test_the_least_that_a_rest_api_sends(function: ModuleType, gateway: FakeGateway) -> None:
    nothing = {"multiValueHeaders": None, "multiValueQueryStringParameters": None, "body": None}
    event = {"httpMethod": "get", "path": "/healthz", "requestContext": {"identity": {"sourceIp": "::1"}}, **nothing}

    function.lambda_handler(event, Context())

    [request] = gateway.requests
    assert (request.method, request.path, request.query, request.headers) == ("GET", "/healthz", "", {})
    assert (request.body, request.client) == (b"", "::1")


@pytest.mark.parametrize(
    ("cookie", "written"),
    [({"set-cookie": "a=b; Path=/"}, {"set-cookie": ["a=b; Path=/"]}), ({}, {})],
    ids=["cookie", "none"],
)
def test_a_rest_api_gets_no_key_that_its_format_has_not(
    function: ModuleType, gateway: FakeGateway, cookie: dict[str, str], written: dict[str, list[str]]
) -> None:
    gateway.response = Response(201, {"content-type": "image/png", **cookie}, b"\x89PNG\r\n")

    assert function.lambda_handler(REST_EVENT, Context()) == {
        "statusCode": 201,
        "headers": {"content-type": "image/png"},
        "multiValueHeaders": written,
        "body": "iVBORw0K",
        "isBase64Encoded": True,
    }


def test_the_deadline_is_what_lambda_leaves(function: ModuleType, gateway: FakeGateway) -> None:
    function.lambda_handler(EVENT, Context(remaining_ms=10_000))
    function.lambda_handler(EVENT, Context(remaining_ms=70_000))

    early, late = (request.deadline for request in gateway.requests)
    assert early is not None
    assert late is not None
    assert late - early == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({"body": base64.b64encode(b"\xff\x00").decode(), "isBase64Encoded": True}, b"\xff\x00"),
        ({"body": None}, b""),
        ({"body": ""}, b""),
    ],
    ids=["base64", "null", "empty"],
)
def test_bodies(function: ModuleType, gateway: FakeGateway, changes: dict[str, Any], body: bytes) -> None:
    function.lambda_handler({**EVENT, **changes}, Context())

    assert gateway.requests[0].body == body


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in EVENT.items() if name != key}


def test_the_least_an_event_may_hold(function: ModuleType, gateway: FakeGateway) -> None:
    event = {"rawPath": "/healthz", "requestContext": {"http": {"method": "get"}}}

    function.lambda_handler(event, Context())

    [request] = gateway.requests
    assert request == Request("GET", "/healthz", deadline=request.deadline, id=Context().aws_request_id)


@pytest.mark.parametrize(
    ("event", "hint"),
    [
        (None, "event"),
        ([], "event"),
        ("GET /", "event"),
        ({}, "rawPath"),
        (without("requestContext"), "requestContext"),
        ({**EVENT, "requestContext": {}}, "requestContext.http"),
        ({**EVENT, "headers": {"a": ["b"]}}, "headers.a"),
        ({**EVENT, "cookies": "a=b"}, "cookies"),
        ({**EVENT, "rawPath": 7}, "rawPath"),
        ({**EVENT, "body": {"model": "x"}}, "body"),
        ({**EVENT, "body": "\ud800"}, "body"),
        ({**EVENT, "body": "not base64!", "isBase64Encoded": True}, "base64"),
        ({**EVENT, "body": "Zm9v🍀", "isBase64Encoded": True}, "base64"),
        ({"Records": [{"eventSource": "aws:sqs"}]}, "rawPath"),
        ({**REST_EVENT, "path": None}, "path"),
        ({**REST_EVENT, "multiValueHeaders": {"a": "b"}}, "multiValueHeaders.a"),
        ({**REST_EVENT, "body": "not base64!"}, "base64"),
        ({**REST_EVENT, "requestContext": {"elb": {"targetGroupArn": "arn"}}}, "requestContext.identity"),
    ],
)
def test_what_is_no_http_request_gets_a_400(
    function: ModuleType, gateway: FakeGateway, event: object, hint: str
) -> None:
    answer = function.lambda_handler(event, Context())

    assert answer["statusCode"] == 400
    error = json.loads(answer["body"])["error"]
    assert error["type"] == "invalid_request_error"
    assert hint in error["message"]
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"ok": "🍀"}'.encode(), {"body": '{"ok": "🍀"}', "isBase64Encoded": False}),
        (b"", {"body": "", "isBase64Encoded": False}),
        (b"\x89PNG\r\n", {"body": "iVBORw0K", "isBase64Encoded": True}),
        (b"nul\x00inside", {"body": "nul\x00inside", "isBase64Encoded": False}),
    ],
    ids=["text", "empty", "binary", "nul"],
)
def test_an_answer_is_written_whole(
    function: ModuleType, gateway: FakeGateway, body: bytes, expected: dict[str, Any]
) -> None:
    gateway.response = Response(201, {"content-type": "x/y", "set-cookie": "a=b; Path=/"}, body)

    answer = function.lambda_handler(EVENT, Context())

    assert answer == {"statusCode": 201, "headers": {"content-type": "x/y"}, "cookies": ["a=b; Path=/"], **expected}


def test_a_stream_is_collected_and_closed(function: ModuleType, gateway: FakeGateway) -> None:
    clover = "🍀".encode()
    stream = FakeStream(b"data: ", clover[:2], clover[2:])
    gateway.response = Response(200, {}, stream)

    answer = function.lambda_handler(EVENT, Context())

    assert (answer["body"], answer["isBase64Encoded"], stream.closed) == ("data: 🍀", False, True)


def test_all_calls_share_one_event_loop(function: ModuleType, gateway: FakeGateway) -> None:
    function.lambda_handler(EVENT, Context())
    function.lambda_handler(EVENT, Context())

    assert gateway.loops[0] is gateway.loops[1]


def test_the_composition_root_makes_one_gateway_that_answers(
    function: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "_store", SqliteStore(tmp_path / "store"))
    build: Callable[[], object] = function._gateway.__wrapped__
    gateway = build()
    monkeypatch.setattr(function, "_gateway", lambda: gateway)

    answer = function.lambda_handler({**EVENT, "body": "{"}, Context())

    assert answer["statusCode"] == 401, answer["body"]


def test_a_wrong_setting_is_an_init_error_that_names_it() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    environ["PYTHONPATH"] = f"{HERE.parent}{os.pathsep}{HERE.parent / 'aws'}"

    command = [sys.executable, "-c", "import lambda_function"]
    run = subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=60)

    assert run.returncode == 1
    assert "OPENAI_API_KEY is not set" in run.stderr.splitlines()[-1]
