"""How often a call asks the store, counted in this process. A call of an app without limits needs no permission."""

from __future__ import annotations

from collections import Counter

from core.gateway import Gateway
from core.http import Request
from core.settings import Settings
from local.bench import bench, servers
from local.bench.bench import Bench
from local.bench.memory_store import copied


async def measure(run: Bench) -> dict[str, str]:
    """What each kind of call asks, in words."""
    found = {}
    for app, key in (("limits and a budget", run.shop.limited_key), ("no limit", run.shop.free_key)):
        store = copied(str(run.shop.store))
        gateway = Gateway(Settings.load(servers.gateway_environ(run.shop, run.plain_url)), store)
        for call, content in (
            ("first call of a process", bench.body()),
            ("next call", bench.body()),
            ("next stream", bench.body(script=bench.stream_script(chunks=5, pace_ms=0))),
        ):
            store.calls.clear()
            await _ask(gateway, key, content)
            found[f"{call}, app with {app}"] = _in_words(store.calls)
        await gateway.close()
    return found


async def _ask(gateway: Gateway, key: str, content: bytes) -> None:
    headers = {**servers.bearer(key), "content-type": "application/json"}
    response = await gateway.handle(Request("POST", servers.CHAT, headers=headers, body=content))
    assert response.status == 200, response
    if not isinstance(response.body, bytes):
        async for _ in response.body:
            pass


def _in_words(calls: Counter[str]) -> str:
    return ", ".join(f"{count} {verb}" for verb, count in sorted(calls.items())) or "none"
