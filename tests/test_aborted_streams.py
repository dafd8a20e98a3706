"""A thousand clients that leave in the middle of their streams leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from core.admin import Admin
from core.asgi import AsgiApplication
from core.gateway import Gateway
from core.settings import Settings
from core.sqlite_store import SqliteStore
from scripted_upstream import Exchange, ScriptedUpstream

pytestmark = pytest.mark.anyio

_STREAMS = 1000
_AT_ONCE = 50
_BODY = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"hi"}]}'


class Leaver:
    """An ASGI client that leaves as soon as the first event has arrived."""

    def __init__(self) -> None:
        self.received = asyncio.Event()
        self._asked = False

    async def receive(self) -> dict[str, object]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": _BODY}
        await self.received.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: object) -> None:
        if isinstance(message, dict) and message.get("body"):
            self.received.set()


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    ended, tasks = asyncio.Semaphore(0), asyncio.all_tasks()

    async def endless(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await exchange.send_chunk(b"data: 1\n\n")
        await exchange.client_left()
        ended.release()

    async with ScriptedUpstream.playing(endless) as upstream:
        settings = Settings.load({"OPENAI_API_KEY": "sk-x", "TREFOIL_UPSTREAM_URL": upstream.url})
        store = SqliteStore(tmp_path / "store.sqlite3")
        key = await Admin(store).new_key("web-shop")
        gateway = Gateway(settings, store)
        application = AsgiApplication(lambda: gateway, body_limit_bytes=1000)
        scope = {
            "method": "POST",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {key}".encode())],
        }
        gate = asyncio.Semaphore(_AT_ONCE)

        async def leave() -> None:
            async with gate:
                client = Leaver()
                await asyncio.wait_for(application(dict(scope), client.receive, client.send), 30)

        await asyncio.gather(*(leave() for _ in range(_STREAMS)))
        for _ in range(_STREAMS):
            await asyncio.wait_for(ended.acquire(), 10)  # upstream saw each of them go
        await gateway.close()
        store.close()
    gc.collect()  # a connection that was dropped rather than closed would warn here, which is an error
    assert asyncio.all_tasks() == tasks
