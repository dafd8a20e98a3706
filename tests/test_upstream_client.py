"""Which client an upstream gets, and what the plain one sends and gives back."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from core.http_connection import CutOff
from core.key_client import KeyClient
from core.openai_client import SdkClient
from core.settings import Settings
from core.upstream_client import Client, make
from scripted_upstream import Script, ScriptedUpstream, plain

_URL = "http://model.example/v1"
_WORKLOAD = {"platform": "gcp", "identity_provider_id": "idp", "service_account_id": "sa"}
_IDENTITY = {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/token", "IDENTITY_HEADER": "secret-header"}


def _client(toml: Mapping[str, Any], **environ: str) -> Client:
    sections = {"upstreams": {"one": {"base_url": _URL, **toml}}}
    return make(Settings.read(sections, {"OPENAI_API_KEY": "the-key", "KEY": "the-key", **environ}), "one")


@pytest.mark.parametrize(
    ("toml", "kind"),
    [
        pytest.param({"kind": "openai"}, KeyClient, id="openai"),
        pytest.param({"kind": "openai", "workload_identity": _WORKLOAD}, SdkClient, id="openai without a key"),
        pytest.param({"kind": "compatible"}, KeyClient, id="compatible"),
        pytest.param({"kind": "compatible", "api_key_env": "KEY"}, KeyClient, id="compatible with a key"),
        pytest.param({"kind": "azure", "api_key_env": "KEY"}, KeyClient, id="azure"),
        pytest.param({"kind": "azure", "api_key_env": "KEY", "api_version": "2024-10-21"}, SdkClient, id="dated azure"),
        pytest.param({"kind": "azure", "managed_identity": True}, SdkClient, id="azure without a key"),
        pytest.param({"kind": "bedrock", "region": "eu-west-1", "api_key_env": "KEY"}, SdkClient, id="bedrock"),
        pytest.param({"kind": "vertex"}, SdkClient, id="vertex"),
    ],
)
def test_the_sdk_s_is_for_what_takes_more_than_a_key(toml: Mapping[str, Any], kind: type) -> None:
    assert type(_client(toml, **_IDENTITY)) is kind


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({"HTTP_PROXY": "http://proxy.example:3128"}, SdkClient),
        ({"http_proxy": "http://proxy.example:3128"}, SdkClient),
        ({"ALL_PROXY": "http://proxy.example:3128"}, SdkClient),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, KeyClient),
        ({"HTTP_PROXY": ""}, KeyClient),
        ({"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": "model.example"}, KeyClient),
        ({"HTTP_PROXY": "http://proxy.example:3128", "no_proxy": ".example"}, KeyClient),
        ({"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": "*"}, KeyClient),
        ({"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": "other.example"}, SdkClient),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else value.__name__,
)
def test_so_is_it_where_a_proxy_leads_to_the_upstream(
    variables: Mapping[str, str], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert type(_client({"kind": "compatible"}, **variables)) is kind


async def _answered(script: Script, **environ: str) -> tuple[Any, Any]:
    async with ScriptedUpstream.playing(script) as server:
        client = _client({"kind": "openai", "base_url": server.url}, **environ)
        try:
            answer = await client.send("POST", "/some", "a=b", headers={"accept": "text/plain"}, body=b"", model=None)
            return await answer.read(), server.exchanges[0]
        finally:
            await client.close()


@pytest.mark.anyio
async def test_what_it_sends() -> None:
    variables = {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1"}
    _, exchange = await _answered(plain("200 OK", b"{}"), **variables)
    assert exchange.head.split(b"\r\n")[0] == b"POST /v1/some?a=b HTTP/1.1"
    assert exchange.header("authorization") == "Bearer the-key"
    assert exchange.header("content-type") == "application/json"
    assert exchange.header("content-length") == "0"
    assert exchange.header("accept") == "text/plain"
    assert exchange.header("accept-encoding") == "identity"
    assert (exchange.header("openai-organization"), exchange.header("openai-project")) == ("org-1", "proj-1")


@pytest.mark.anyio
@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
async def test_what_came_compressed_unasked_is_given_decompressed(compress: Any) -> None:
    coding = "GZIP " if compress is gzip.compress else "deflate"
    content, _ = await _answered(plain("200 OK", compress(b"some text" * 1000), f"content-encoding: {coding}"))
    assert content == b"some text" * 1000


@pytest.mark.anyio
@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"some text")[:-9]], ids=["not at all", "cut"])
async def test_what_cannot_be_decompressed_is_cut_off(content: bytes) -> None:
    with pytest.raises(CutOff):
        await _answered(plain("200 OK", content, "content-encoding: gzip"))


@pytest.mark.anyio
async def test_nothing_may_be_said_to_be_compressed() -> None:
    content, _ = await _answered(plain("429 Too Many Requests", b"", "content-encoding: gzip"))
    assert content == b""


@pytest.mark.anyio
async def test_a_get_has_no_body() -> None:
    async with ScriptedUpstream.playing(plain("200 OK", b"{}")) as server:
        client = _client({"kind": "openai", "base_url": server.url})
        await (await client.send("GET", "/models", "", headers={}, body=b"some", model=None)).read()
        await client.close()
    assert server.exchanges[0].header("content-length") is None
