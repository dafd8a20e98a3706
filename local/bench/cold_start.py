"""A fresh process of each cloud's packaged artefact, until its first answer, which comes from upstream over TLS."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from local.bench import accounting, bench, peers, servers, stores
from local.bench.bench import Bench
from local.bench.servers import CHAT, Variant
from local.bench.workshop import CLOUDS, FOLDER
from local.failure import Failure
from local.runtime_api import RuntimeApi, SandboxLost

OURS, STORED, NAIVE, FLOOR = "Trefoil", "Trefoil, cloud's store", "typed SDK call", "hello world"
"""With the embedded store, and with an emulator of the cloud's own."""
_IMPORTED = re.compile(rb"^import time: +\d", re.MULTILINE)
_TIMEOUT_SECONDS = 60


def name(cloud: str, kind: str) -> str:
    """As the samples have it."""
    return f"{cloud}, {kind}"


async def measure(run: Bench) -> list[str]:
    """The names of what was measured."""
    async with AsyncExitStack() as stack:
        found: dict[str, Mapping[str, str]] = {}
        for cloud in CLOUDS:
            try:
                found[cloud] = await stack.enter_async_context(stores.emulated(cloud, run.shop))
            except Failure as failure:
                run.say(f"{cloud}: not measured with its own store: {failure}")
        all_of = [variant for cloud in CLOUDS for variant in _variants(run, cloud, found.get(cloud))]
        all_of += [peers.variant(peer, run.shop, run.plain_url) for peer in run.peers]
        for variant in all_of:  # once to fill the disk's cache, and to count
            run.samples.add(variant.name, "modules", await _count_modules(run, variant))
        for number in range(run.rounds):
            run.say(f"cold starts, round {number + 1} of {run.rounds}")
            for variant in run.random.sample(all_of, len(all_of)):
                await _start(run, variant)
    return [variant.name for variant in all_of]


def _variants(run: Bench, cloud: str, store: Mapping[str, str] | None) -> list[Variant]:
    shop, url = run.shop, run.tls_url
    make = {"aws": servers.aws, "azure": servers.azure, "gcp": servers.gcp}[cloud]
    own = {"aws": servers.aws_handler, "azure": servers.azure_handler, "gcp": servers.gcp_handler}[cloud]
    root, embedded, plain = shop.root(cloud), servers.gateway_environ(shop, url), servers.base_environ(shop, url)
    found = [
        make(name(cloud, OURS), shop, root, embedded, shop.limited_key),
        own(name(cloud, NAIVE), f"naive_{cloud}", shop, plain),
        own(name(cloud, FLOOR), f"floor_{cloud}", shop, plain),
    ]
    if store is not None:
        environ = servers.gateway_environ(shop, url, store)
        found.append(make(name(cloud, STORED), shop, root, environ, shop.limited_key))
    return found


async def _start(run: Bench, variant: Variant) -> None:
    started = time.perf_counter()
    used = await _first_answer(variant)
    run.samples.add(variant.name, "wall", (time.perf_counter() - started) * 1000)
    run.samples.add(variant.name, "cpu", used.cpu_ms)
    run.samples.add(variant.name, "peak", used.peak_mb)


async def _count_modules(run: Bench, variant: Variant) -> int:
    """How many modules are loaded by the first answer; 0 for what is not Python."""
    log = FOLDER / "imports.txt"
    await _first_answer(replace(variant, environ={**variant.environ, "PYTHONPROFILEIMPORTTIME": "1"}, log=log))
    return len(_IMPORTED.findall(log.read_bytes()))


async def _first_answer(variant: Variant) -> accounting.Used:
    if variant.command[0].endswith("/run"):
        return await _first_invocation(variant)
    with servers.started(variant) as server:
        await bench.first_answer(server, bench.body())
        return accounting.used(server.pid)


async def _first_invocation(variant: Variant) -> accounting.Used:
    """As Lambda does it: a sandbox, and its first event as soon as it asks for one."""
    api = RuntimeApi()
    environ = {**variant.environ, "AWS_LAMBDA_RUNTIME_API": await api.open()}
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            with servers.started(replace(variant, environ=environ)) as server:
                await api.asked()
                event = json.dumps(_event(variant)).encode()
                async with api.invoke(event, request_id="bench", timeout_seconds=_TIMEOUT_SECONDS) as answer:
                    said = await anext(answer.chunks)
                    used = accounting.used(server.pid)
                    said += b"".join([chunk async for chunk in answer.chunks])
                if b'"statusCode": 200' not in said:
                    raise Failure(f"'{variant.name}' answered: {said.decode('utf-8', 'replace')}")
                return used
    finally:
        api.lose(SandboxLost("the benchmark has what it wanted"))


def _event(variant: Variant) -> Mapping[str, object]:
    """Payload format 2.0 of a function URL."""
    return {
        "version": "2.0",
        "rawPath": CHAT,
        "rawQueryString": "",
        "headers": {**variant.headers, "content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": CHAT, "sourceIp": "127.0.0.1"}},
        "body": bench.body().decode(),
        "isBase64Encoded": False,
    }
