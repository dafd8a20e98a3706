"""Each kind of upstream over a real socket: the URL it is called by, and the credential it is shown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core import cloud_identity, errors
from core.endpoints import Endpoint
from core.http import Request, Response
from core.settings import Settings
from core.upstream import Upstream
from scripted_upstream import Exchange, Script, ScriptedUpstream, plain

pytestmark = pytest.mark.anyio

_JSON = "content-type: application/json"
_OK = plain("200 OK", b"{}", _JSON)
_CHAT = Endpoint("chat", "POST", "/v1/chat/completions")
_TRANSCRIBE = Endpoint("transcribe", "POST", "/v1/audio/transcriptions")
_FILES = Endpoint("files", "GET", "/v1/files")


@asynccontextmanager
async def _upstream(url: str, toml: Mapping[str, Any], **environ: str) -> AsyncIterator[Upstream]:
    sections = {"upstreams": {"one": {"base_url": url, **toml}}, "retry": {"max_retries": 0}}
    upstream = Upstream(Settings.read(sections, {"KEY": "the-key", **environ}))
    try:
        yield upstream
    finally:
        await upstream.close()


async def _send(upstream: Upstream, endpoint: Endpoint = _CHAT, **request: Any) -> Response:
    given = {"method": endpoint.method, "path": endpoint.path, "body": b'{"model":"m/1"}', **request}
    answer = await upstream.send(endpoint, Request(**given), stream=False, on_end=lambda _: None, model="m/1")
    return answer.response


async def _exchange(toml: Mapping[str, Any], endpoint: Endpoint = _CHAT, path: str = "", **request: Any) -> Exchange:
    async with ScriptedUpstream.playing(_OK) as server:
        origin = server.url.removesuffix("/v1")
        async with _upstream(origin + path, toml) as upstream:
            assert (await _send(upstream, endpoint, **request)).status == 200
        (exchange,) = server.exchanges
        return exchange


def _target(exchange: Exchange) -> str:
    return exchange.head.split(b" ", 2)[1].decode()


async def test_openai() -> None:
    toml = {"kind": "openai", "api_key_env": "KEY", "organization": "org-1", "project": "proj-1"}
    exchange = await _exchange(toml, path="/v1")
    assert _target(exchange) == "/v1/chat/completions"
    assert exchange.header("authorization") == "Bearer the-key"
    assert (exchange.header("openai-organization"), exchange.header("openai-project")) == ("org-1", "proj-1")


async def test_compatible() -> None:
    exchange = await _exchange({"kind": "compatible", "api_key_env": "KEY"}, path="/api/v3")
    assert _target(exchange) == "/api/v3/chat/completions"
    assert exchange.header("authorization") == "Bearer the-key"


async def test_azure() -> None:
    exchange = await _exchange({"kind": "azure", "api_key_env": "KEY"})
    assert _target(exchange) == "/openai/v1/chat/completions"
    assert exchange.header("authorization") == "Bearer the-key"


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        (_CHAT, "/openai/deployments/m%2F1/chat/completions?api-version=2024-10-21"),
        (_FILES, "/openai/files?limit=2&api-version=2024-10-21"),
    ],
)
async def test_azure_s_dated_api(endpoint: Endpoint, target: str) -> None:
    toml = {"kind": "azure", "api_key_env": "KEY", "api_version": "2024-10-21"}
    query = "limit=2" if endpoint is _FILES else ""
    exchange = await _exchange(toml, endpoint, query=query)
    assert _target(exchange) == target
    assert (exchange.header("api-key"), exchange.header("authorization")) == ("the-key", None)


async def test_a_form_to_azure_s_dated_api() -> None:
    toml = {"kind": "azure", "api_key_env": "KEY", "api_version": "2024-10-21"}
    form = {"content-type": "multipart/form-data; boundary=x"}
    exchange = await _exchange(toml, _TRANSCRIBE, headers=form)
    assert _target(exchange) == "/openai/deployments/m%2F1/audio/transcriptions?api-version=2024-10-21"
    assert exchange.header("content-type") == form["content-type"]


async def test_bedrock_with_a_key() -> None:
    exchange = await _exchange({"kind": "bedrock", "region": "eu-west-1", "api_key_env": "KEY"}, path="/openai/v1")
    assert _target(exchange) == "/openai/v1/chat/completions"
    assert exchange.header("authorization") == "Bearer the-key"


async def test_bedrock_with_the_function_s_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "not named in the file")
    exchange = await _exchange({"kind": "bedrock", "region": "eu-west-1"}, path="/openai/v1")
    authorization = exchange.header("authorization") or ""
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIATEST/")
    assert "/eu-west-1/bedrock-mantle/aws4_request" in authorization
    assert exchange.header("x-amz-security-token") == "session"


async def test_vertex_with_the_function_s_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_identity, "google_token", lambda: ("ya29.token", 3600.0))
    exchange = await _exchange({"kind": "vertex"}, path="/v1/projects/p/locations/l/endpoints/openapi")
    assert _target(exchange) == "/v1/projects/p/locations/l/endpoints/openapi/chat/completions"
    assert exchange.header("authorization") == "Bearer ya29.token"


def _azure_identity(url: str) -> dict[str, str]:
    return {"IDENTITY_ENDPOINT": f"{url}/msi/token", "IDENTITY_HEADER": "proof"}


@pytest.mark.parametrize("api_version", [None, "2024-10-21"])
async def test_azure_with_its_managed_identity(api_version: str | None) -> None:
    token = {"access_token": "entra-token", "expires_on": str(int(time.time()) + 3600)}
    async with ScriptedUpstream.playing(plain("200 OK", json.dumps(token).encode(), _JSON)) as platform:
        async with ScriptedUpstream.playing(_OK) as server:
            toml = {
                "kind": "azure",
                "managed_identity": True,
                "managed_identity_client_id": "me",
                "api_version": api_version,
            }
            async with _upstream(server.url, toml, **_azure_identity(platform.url)) as upstream:
                for _ in range(2):
                    assert (await _send(upstream)).status == 200
        (asked,) = platform.exchanges
    assert {exchange.header("authorization") for exchange in server.exchanges} == {"Bearer entra-token"}
    assert {exchange.header("api-key") for exchange in server.exchanges} == {None}
    assert _target(asked) == (
        "/v1/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=me"
    )
    assert asked.header("x-identity-header") == "proof"


_WORKLOAD = {"platform": "azure", "identity_provider_id": "idp_1", "service_account_id": "svc_1"}


@pytest.mark.parametrize(
    "toml",
    [{"kind": "azure", "managed_identity": True}, {"kind": "openai", "workload_identity": _WORKLOAD}],
    ids=["azure", "openai"],
)
@pytest.mark.parametrize("platform_answer", [plain("500 No", b""), plain("200 OK", b"{}"), plain("200 OK", b"<html>")])
async def test_no_token_is_a_failure_of_the_operator_s(toml: Mapping[str, Any], platform_answer: Script) -> None:
    async with ScriptedUpstream.playing(platform_answer) as platform, ScriptedUpstream.playing(_OK) as server:
        async with _upstream(server.url, toml, **_azure_identity(platform.url)) as upstream:
            with pytest.raises(errors.UpstreamAuthFailed) as caught:
                await _send(upstream)
        assert server.exchanges == []
        assert len(platform.exchanges) == 1
    assert caught.value.headers == {
        "x-should-retry": "false",
        "x-trefoil-target": "one",
        "x-trefoil-attempts": "1",
    }


async def test_settings_that_the_sdk_refuses_are_the_operator_s_affair() -> None:
    async with _upstream(
        "https://bedrock-runtime.us-east-1.amazonaws.com", {"kind": "bedrock", "region": "eu-west-1"}
    ) as one:
        with pytest.raises(errors.UpstreamAuthFailed):
            await _send(one)


async def test_no_tls_where_there_should_be() -> None:
    async def answer_in_the_clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer_in_the_clear, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with _upstream(url, {"kind": "compatible"}) as upstream:
            with pytest.raises(errors.UpstreamError) as caught:
                await _send(upstream)
    assert caught.value.code == "upstream_unreachable"
