"""What a call costs that goes through: whole answers at 1, 16 and 64 at once, and streams. All variants run together,
and each round asks them in another order.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from local.bench import bench, peers, servers, stores
from local.bench.bench import Bench
from local.bench.servers import Server, Variant

OURS = "Trefoil"
KEY_ONLY = "Trefoil, key alone"
MEMORY = "Trefoil, free store"
FIRESTORE = "Trefoil, Firestore"
"""Its emulator, which is slower than the service: what counts here is the CPU that talking to it takes."""
RAW = "bare raw SDK call"
OWN_CLIENT = "bare call, own client"
TYPED = "typed SDK call"
FLOOR = "hello world"
"""What the runtime itself takes, which asks nobody."""
DIRECT = "upstream itself"
AT_ONCE = (1, 16, 64)
_STREAMS = 16
_WARM_UP = 200
"""Interpreters that compile as they go, and caches, are measured once they have settled."""


def variants(run: Bench, store: Mapping[str, str]) -> list[Variant]:
    """Ours on Google's runtime, which serves as one process without anything of ours around it, and all others.

    Args:
        store: the variables by which Firestore is found.
    """
    shop, url = run.shop, run.plain_url
    environ, plain = servers.gateway_environ(shop, url), servers.base_environ(shop, url)
    return [
        servers.gcp(OURS, shop, shop.root("gcp"), environ, shop.limited_key),
        servers.gcp(FIRESTORE, shop, shop.root("gcp"), servers.gateway_environ(shop, url, store), shop.limited_key),
        servers.gcp(KEY_ONLY, shop, shop.root("gcp"), environ, shop.free_key),
        servers.gcp_handler(MEMORY, "memory_gcp", shop, environ, shop.limited_key),
        servers.gcp_handler(RAW, "raw_gcp", shop, plain),
        servers.gcp_handler(OWN_CLIENT, "own_client_gcp", shop, plain),
        servers.gcp_handler(TYPED, "naive_gcp", shop, plain),
        servers.gcp_handler(FLOOR, "floor_gcp", shop, plain),
        servers.thin_httpx(shop, url),
        *(peers.variant(name, shop, url) for name in run.peers),
    ]


async def measure(run: Bench) -> list[str]:
    """The names of the variants, as the samples have them."""
    async with AsyncExitStack() as stack:
        running: list[Server | int] = [run.plain_port]
        store = await stack.enter_async_context(stores.emulated("gcp", run.shop))
        for variant in variants(run, store):
            run.say(f"starting {variant.name}")
            server = await stack.enter_async_context(servers.answering(variant))
            await bench.first_answer(server, bench.body())
            await bench.load(server, bench.body(), at_once=_STREAMS, count=_WARM_UP)
            running.append(server)
        for number in range(run.rounds):
            run.say(f"requests and streams, round {number + 1} of {run.rounds}")
            for target in run.random.sample(running, len(running)):
                await _requests(run, target)
            for target in run.random.sample(running, len(running)):
                await _streams(run, target)
        return [_name(target) for target in running]


async def _requests(run: Bench, target: Server | int) -> None:
    name = _name(target)
    share = 5 if name == "LiteLLM" else 1
    for at_once in AT_ONCE:
        count = (100 if run.quick else 250 if at_once == 1 else 800) // share
        outcome = await bench.load(target, bench.body(), at_once=at_once, count=count, warm_up=count // 5)
        run.samples.add(name, f"p50 at {at_once}", outcome.p50_ms)
        run.samples.add(name, f"p99 at {at_once}", outcome.p99_ms)
        run.samples.add(name, f"rate at {at_once}", count / outcome.seconds)
        run.samples.add(name, f"cpu at {at_once}", outcome.cpu_ms / count)
    run.samples.add(name, "rss", outcome.rss_mb)


async def _streams(run: Bench, target: Server | int) -> None:
    name = _name(target)
    if name in (TYPED, FLOOR):  # which do not stream
        return
    share = 5 if name == "LiteLLM" else 1
    one = bench.body(script=bench.stream_script(chunks=3, pace_ms=5))
    first = await bench.load(target, one, at_once=1, count=10 if run.quick else 50, warm_up=5)
    run.samples.add(name, "first chunk", first.first_p50_ms)
    for metric, chunks, pace_ms, streams in (
        ("paced", 50, 20, _STREAMS),
        ("burst", (500 if run.quick else 2000) // share, 0, _STREAMS * 2),
    ):
        content = bench.body(script=bench.stream_script(chunks=chunks, pace_ms=pace_ms))
        outcome = await bench.load(target, content, at_once=_STREAMS, count=streams, warm_up=_STREAMS // 4)
        run.samples.add(name, f"cpu per chunk, {metric}", outcome.cpu_ms * 1000 / (chunks * streams))
        run.samples.add(name, f"chunks/s, {metric}", chunks * streams / outcome.seconds)


def _name(target: Server | int) -> str:
    return DIRECT if isinstance(target, int) else target.variant.name
