"""What is wrong with a request is said in OpenAI's shape, by each cloud alike, and the next request works."""

from __future__ import annotations

import json
import socket
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2
import pytest

from core import app_keys
from local.services import CLOUDS
from local_deployment import LocalDeployment

_CHAT = "/v1/chat/completions"
_GOOD = b'{"model":"offline","messages":[{"role":"user","content":"hi"}]}'


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    status: int
    code: str | None
    method: str = "POST"
    path: str = _CHAT
    body: bytes = _GOOD
    headers: dict[str, str] = field(default_factory=dict)
    param: str | None = None


_CASES = [
    Case("empty body", 400, "invalid_json", body=b""),
    Case("not json", 400, "invalid_json", body=b"hello"),
    Case("half json", 400, "invalid_json", body=_GOOD[:-1]),
    Case("json and more", 400, "invalid_json", body=_GOOD + b"}"),
    Case("not utf-8", 400, "invalid_json", body=_GOOD.replace(b"hi", b"\xff\xfe")),
    Case("half a surrogate pair", 400, "invalid_json", body=_GOOD.replace(b"hi", b"\\ud83d")),
    Case("utf-16", 400, "invalid_json", body=_GOOD.decode().encode("utf-16")),
    Case("nul bytes", 400, "invalid_json", body=b"\0" * 100),
    Case("too deep", 400, "invalid_json", body=b"[" * 50_000),
    Case(
        "a form",
        400,
        "invalid_json",
        body=b"model=offline",
        headers={"content-type": "application/x-www-form-urlencoded"},
    ),
    Case("a list", 400, "invalid_type", body=b"[]"),
    Case("null", 400, "invalid_type", body=b"null"),
    Case("a number", 400, "invalid_type", body=b"42"),
    Case("no model", 400, "missing_required_parameter", body=b'{"messages":[{}]}', param="model"),
    Case("null model", 400, "invalid_type", body=b'{"model":null,"messages":[{}]}', param="model"),
    Case("model of a wrong type", 400, "invalid_type", body=b'{"model":["a"],"messages":[{}]}', param="model"),
    Case("empty model", 400, "invalid_value", body=b'{"model":"","messages":[{}]}', param="model"),
    Case("unknown model", 404, "model_not_found", body=_GOOD.replace(b"offline", b"gpt-nope")),
    Case(
        "a model name as long as a prompt",
        400,
        "invalid_value",
        body=_GOOD.replace(b"offline", b"a" * 257),
        param="model",
    ),
    Case("no messages", 400, "missing_required_parameter", body=b'{"model":"offline"}', param="messages"),
    Case("messages of a wrong type", 400, "invalid_type", body=b'{"model":"offline","messages":{}}', param="messages"),
    Case(
        "a message of a wrong type",
        400,
        "invalid_type",
        body=b'{"model":"offline","messages":[1]}',
        param="messages[0]",
    ),
    Case("stream of a wrong type", 400, "invalid_type", body=_GOOD[:-1] + b',"stream":"yes"}', param="stream"),
    Case("compressed", 415, "unsupported_content", body=b"\x1f\x8b", headers={"content-encoding": "gzip"}),
    Case("unknown path", 404, "unknown_url", path="/v1/nope"),
    Case("no v1", 404, "unknown_url", path="/chat/completions"),
    Case("root", 404, "unknown_url", "GET", "/"),
    Case("odd path", 404, "unknown_url", path="/v1/%00%ff/../x"),
    Case("a line break in the path", 404, "unknown_url", path="/v1/files/a%0Ab/c"),
    Case("path up the tree", 404, "unknown_url", "GET", "/v1/models/%2e%2e%2ffiles"),
    Case("get a post", 405, "method_not_supported", "GET", "/v1/embeddings"),
    Case("delete a post", 405, "method_not_supported", "DELETE", _CHAT),
    Case("post a get", 405, "method_not_supported", "POST", "/v1/models"),
    Case("no key", 401, "missing_api_key", headers={"authorization": ""}),
    Case("wrong key", 401, "invalid_api_key", headers={"authorization": "Bearer sk-proj-wrong"}),
    Case("unknown key", 401, "invalid_api_key", headers={"authorization": f"Bearer {app_keys.generate()}"}),
    Case("no bearer", 401, "missing_api_key", headers={"authorization": "Basic dXNlcjpwdw=="}),
    Case("no key on an unknown path", 404, "unknown_url", path="/v1/nope", headers={"authorization": ""}),
]


@pytest.fixture(params=CLOUDS)
def origin(request: pytest.FixtureRequest, deployment: LocalDeployment) -> str:
    return deployment.base_urls[request.param].removesuffix("/v1")


@pytest.fixture
def http(deployment: LocalDeployment) -> Iterator[httpx2.Client]:
    with httpx2.Client(headers={"authorization": f"Bearer {deployment.app_key}"}, timeout=30) as client:
        yield client


def _assert_works(origin: str, http: httpx2.Client) -> None:
    assert http.post(origin + _CHAT, content=_GOOD).status_code == 200


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.id)
def test_refused(case: Case, origin: str, http: httpx2.Client) -> None:
    response = http.request(case.method, origin + case.path, content=case.body, headers=case.headers)
    assert response.status_code == case.status
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (case.code, case.param)
    assert error["type"] == "invalid_request_error"
    assert "Traceback" not in response.text
    _assert_works(origin, http)


def test_a_body_over_the_limit(origin: str, deployment: LocalDeployment, http: httpx2.Client) -> None:
    try:
        response = http.post(origin + _CHAT, content=b" " * (26_214_400 + 1))
    except (httpx2.WriteError, httpx2.ReadError):
        pass  # refused while it was still being sent, as a server may
    else:
        assert response.status_code == 413
        if origin != deployment.base_urls["aws"].removesuffix("/v1"):  # where Lambda refuses it before the function
            assert "26,214,400 bytes" in response.json()["error"]["message"]
    _assert_works(origin, http)


def test_a_large_body_within_the_limit(origin: str, http: httpx2.Client) -> None:
    body = json.dumps(
        {"model": "offline", "messages": [{"role": "user", "content": "ü" * 500_000}]}, ensure_ascii=False
    )
    response = http.post(origin + _CHAT, content=body.encode())
    assert response.status_code == 200


_RAW = {
    "a key that is no text": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\x80\r\n\r\n",
    "a header to forward that is no text": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nOpenAI-Beta: \xff\r\n\r\n",
    "an odd header's bytes": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Odd: \xf0\x9f\xff\r\n\r\n",
    "a header without a name": b"GET /healthz HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "a header with a blank in its name": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA B: y\r\n\r\n",
    "a path that is no text": b"GET /v1/models/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a length that is no number": b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    "two lengths": b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a negative length": b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "an odd chunk size": b"POST /v1/models HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "an endless header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("raw", _RAW.values(), ids=_RAW)
def test_what_no_client_library_would_send(raw: bytes, origin: str, http: httpx2.Client) -> None:
    """The clouds' front ends refuse most of it themselves, each in its own way; it is never a 5xx, and nobody hangs."""
    address = urllib.parse.urlsplit(origin)
    assert address.hostname
    assert address.port
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        try:
            connection.sendall(raw)
            head = connection.recv(65_536).split(b"\r\n")[0]
        except ConnectionError:
            head = b""
    assert head == b"" or int(head.split()[1]) < 500
    _assert_works(origin, http)


def test_a_client_that_leaves_in_the_middle_of_its_body(origin: str, http: httpx2.Client) -> None:
    address = urllib.parse.urlsplit(origin)
    assert address.hostname
    assert address.port
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    _assert_works(origin, http)
