"""A body of ten megabytes lies in memory a few times over, not many times."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.admin import Admin
from core.asgi import AsgiApplication
from core.gateway import Gateway
from core.settings import Settings
from core.sqlite_store import SqliteStore
from scripted_upstream import ScriptedUpstream, plain

pytestmark = pytest.mark.anyio

_MEGABYTE = 1024 * 1024
_PART_BYTES = 64 * 1024
_ANSWER = b'{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'


def _parts(body: bytes) -> Iterator[dict[str, object]]:
    for at in range(0, len(body), _PART_BYTES):
        yield {"type": "http.request", "body": body[at : at + _PART_BYTES], "more_body": at + _PART_BYTES < len(body)}


async def test_a_large_body_is_not_copied_many_times(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10 * _MEGABYTE}}
    # Its output is bounded by nothing, so that the body has to be edited, too.
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": [image]}]}).encode()
    statuses: list[object] = []

    async with ScriptedUpstream.playing(plain("200 OK", _ANSWER, "content-type: application/json")) as upstream:
        settings = Settings.load({"OPENAI_API_KEY": "sk-x", "TREFOIL_UPSTREAM_URL": upstream.url})
        store = SqliteStore(tmp_path / "store.sqlite3")
        key = await Admin(store).new_key("web-shop")
        gateway = Gateway(settings, store)
        application = AsgiApplication(lambda: gateway, body_limit_bytes=20 * _MEGABYTE)
        scope = {
            "method": "POST",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {key}".encode()), (b"idempotency-key", b"one")],
        }
        parts = _parts(body)

        async def receive() -> dict[str, object]:
            part = next(parts, None)
            if part is None:
                await asyncio.Event().wait()
            assert part is not None
            return part

        async def send(message: object) -> None:
            if isinstance(message, dict) and "status" in message:
                statuses.append(message["status"])

        tracemalloc.start()
        try:
            await application(scope, receive, send)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        received = upstream.exchanges[0].body
        await gateway.close()

    assert statuses == [200]
    assert received == body
    # Its parts, their join, what is parsed of it, what waits in the socket's buffer; and upstream's own two, here.
    assert peak < 5 * len(body)
