"""A client that reads slowly, and five hundred at once: neither fills the memory, nor keeps others waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import uvicorn

from core.admin import Admin
from core.asgi import AsgiApplication
from core.gateway import Gateway
from core.settings import Settings
from core.sqlite_store import SqliteStore
from local_deployment import LocalDeployment
from scripted_upstream import Exchange, ScriptedUpstream

pytestmark = pytest.mark.anyio

_STREAMS = 500
_EVENT = b"data: " + 65_536 * b"x" + b"\n\n"
_EVENTS = 1024
_HELD_AT_MOST = 32 * 1024 * 1024
"""What the buffers of four sockets on loopback can hold, with room to spare: half of what upstream would send."""
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@asynccontextmanager
async def _served(upstream: ScriptedUpstream, folder: Path) -> AsyncIterator[tuple[int, str]]:
    """A gateway on the server that Azure and Google run it on: its port, and an app's key."""
    settings = Settings.load({"OPENAI_API_KEY": "sk-x", "TREFOIL_UPSTREAM_URL": upstream.url})
    store = SqliteStore(folder / "store.sqlite3")
    key = await Admin(store).new_key("web-shop")
    gateway = Gateway(settings, store)
    application = AsgiApplication(lambda: gateway, body_limit_bytes=1000)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, lifespan="off", log_level="error"))
    serving = asyncio.ensure_future(server.serve([listening]))
    try:
        yield listening.getsockname()[1], key
    finally:
        server.should_exit = True
        await serving
        await gateway.close()


async def test_upstream_is_read_no_faster_than_the_client_reads(tmp_path: Path) -> None:
    sent = 0

    async def pour(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(_HEAD)
        for _ in range(_EVENTS):
            await exchange.send_chunk(_EVENT)
            sent += len(_EVENT)
        await exchange.send(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    async with ScriptedUpstream.playing(pour) as upstream, _served(upstream, tmp_path) as (port, key):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"hi"}]}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        await reader.readuntil(b"\r\n\r\n")

        await _standstill(lambda: sent)
        assert 0 < sent <= _HELD_AT_MOST

        received = 0
        while chunk := await reader.read(1_000_000):
            received += len(chunk)
        assert sent == _EVENTS * len(_EVENT)
        assert received > sent
        writer.close()


async def _standstill(count: Callable[[], int]) -> None:
    """Wait until a count has not changed for a while."""
    same, last = 0, -1
    while same < 30:
        await asyncio.sleep(0.02)
        same, last = (same + 1 if count() == last else 0), count()


@pytest.mark.slow
@pytest.mark.parametrize("cloud", ["azure", "gcp"])
async def test_five_hundred_open_streams_keep_nobody_waiting(cloud: str, deployment: LocalDeployment) -> None:
    base_url, gate = deployment.base_urls[cloud], f"many-{cloud}"
    limits = httpx2.Limits(max_connections=None)
    headers = {"authorization": f"Bearer {deployment.app_key}"}
    body = {"model": f"offline;gate={gate}", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with (
        httpx2.AsyncClient(limits=limits, headers=headers, timeout=120) as client,
        AsyncExitStack() as stack,
    ):

        async def begin() -> tuple[httpx2.Response, AsyncIterator[bytes]]:
            opening = client.stream("POST", f"{base_url}/chat/completions", json=body)
            response = await stack.enter_async_context(opening)
            chunks = response.aiter_raw()
            assert (await anext(chunks)).startswith(b"data: ")
            return response, chunks

        streams = await asyncio.gather(*(begin() for _ in range(_STREAMS)))
        assert {response.status_code for response, _ in streams} == {200}

        # All of them wait for their second event: what is answered now is answered beside them.
        health = await client.get(base_url.removesuffix("/v1") + "/healthz")
        assert health.status_code == 200
        call = await client.post(f"{base_url}/chat/completions", json={**body, "model": "offline", "stream": False})
        assert call.status_code == 200

        origin = deployment.upstream_url.removesuffix("/v1")
        (await client.post(f"{origin}/offline/gates/{gate}?n={_STREAMS * 100}")).raise_for_status()
        ends = await asyncio.gather(*(_end(chunks) for _, chunks in streams))
        assert {end[-14:] for end in ends} == {b"data: [DONE]\n\n"}


async def _end(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])
