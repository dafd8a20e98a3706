"""What one process holds: after many requests and streams, with many streams open, before slow readers, with large
bodies.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.request import urlopen

from local.bench import accounting, bench, servers
from local.bench.bench import Bench
from local.bench.figures import slope
from local.bench.load import request
from local.bench.servers import Server, Variant

_STEPS = 20
_SETTLED_STEP = 5
"""By then what is made once is made: the slope is that of the steps from here on."""
_BIG_BYTES = 10_000_000
_BIG_AT_ONCE = 4
_FLOOD_CHUNKS = 400_000
"""Of some 250 bytes: more than any buffer on the way may hold."""
_READ_BYTES = 64 * 1024


async def measure(run: Bench) -> list[str]:
    """The names of what was measured."""
    shop, environ = run.shop, servers.gateway_environ(run.shop, run.plain_url)
    gcp = servers.gcp("gcp", shop, shop.root("gcp"), environ, shop.limited_key)
    azure = servers.azure("azure", shop, shop.root("azure"), environ, shop.limited_key)
    for what, measured in (("memory", _memory), ("10 MB bodies", _big_bodies)):
        run.say(what)
        await _with(gcp, run, measured)
    for variant in (gcp, azure):
        run.say(f"{variant.name}: many open streams, and a slow reader")
        await _with(variant, run, _open_streams)
        await _with(variant, run, _slow_reader)
    return [gcp.name, azure.name]


async def _with(variant: Variant, run: Bench, measured: Callable[[Bench, Server], Awaitable[None]]) -> None:
    async with servers.answering(variant) as server:
        await bench.first_answer(server, bench.body())
        await measured(run, server)


async def _memory(run: Bench, server: Server) -> None:
    name, samples = server.variant.name, run.samples
    samples.add(name, "rss at start", accounting.used(server.pid).rss_mb)
    streamed = bench.body(script=bench.stream_script(chunks=50, pace_ms=0))
    for metric, content, total in (("requests", bench.body(), 20_000), ("streams", streamed, 2_000)):
        step = total // _STEPS // (20 if run.quick else 1)
        points = []
        for number in range(_STEPS):
            outcome = await bench.load(server, content, at_once=16, count=step)
            points.append(((number + 1) * step / 1000, outcome.rss_mb * 1024))
        samples.add(name, f"rss after {metric}", outcome.rss_mb)
        samples.add(name, f"slope over {metric}", slope(points[_SETTLED_STEP:]))


async def _big_bodies(run: Bench, server: Server) -> None:
    content = bench.body(padding="x" * _BIG_BYTES)
    for at_once in (1, _BIG_AT_ONCE):
        accounting.forget_peak(server.pid)
        before = accounting.used(server.pid).peak_mb
        await bench.load(server, content, at_once=at_once, count=at_once * 2)
        grown_mb = accounting.used(server.pid).peak_mb - before
        run.samples.add(server.variant.name, f"growth by {at_once} of 10 MB", grown_mb / (at_once * _BIG_BYTES / 2**20))


async def _open_streams(run: Bench, server: Server) -> None:
    name, samples = server.variant.name, run.samples
    at_once = 50 if run.quick else 500
    paced = bench.body(script=bench.stream_script(chunks=3000, pace_ms=200))
    count = 30 if run.quick else 200
    asks = {
        "health": partial(bench.load, server, b"", at_once=1, count=count, path="/healthz", headers={}),
        "calls": partial(bench.load, server, bench.body(), at_once=1, count=count),
    }
    for metric, ask in asks.items():
        alone = await ask()
        samples.add(name, f"{metric} alone p50", alone.p50_ms)
    samples.add(name, "rss before streams", accounting.used(server.pid).rss_mb)
    async with bench.held(server, paced, at_once=at_once):
        for metric, ask in asks.items():
            beside = await ask()
            samples.add(name, f"{metric} beside streams p50", beside.p50_ms)
            samples.add(name, f"{metric} beside streams p99", beside.p99_ms)
        samples.add(name, "rss with streams", accounting.used(server.pid).rss_mb)
    samples.add(name, "open streams", at_once)


async def _slow_reader(run: Bench, server: Server) -> None:
    """A client that asks for 100 MB, takes the first bytes and no more."""
    name, before = server.variant.name, accounting.used(server.pid).rss_mb
    flood = bench.body(script=bench.stream_script(chunks=_FLOOD_CHUNKS, pace_ms=0))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=_READ_BYTES)
    writer.write(request(server.port, server.variant.path, server.variant.headers, flood))
    await reader.readexactly(1000)
    taken_before, taken = -1, 0
    while taken != taken_before:  # until upstream is not let write any more
        await asyncio.sleep(1)
        taken_before, taken = taken, await asyncio.to_thread(_written, run.plain_url)
    run.samples.add(name, "growth by a slow reader", accounting.used(server.pid).rss_mb - before)
    writer.close()


def _written(upstream_url: str) -> int:
    with urlopen(f"{upstream_url}/written") as answer:  # noqa: S310 - a fake upstream of this run
        chunks: int = json.load(answer)
        return chunks
