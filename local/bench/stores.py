"""The emulators of the clouds' own stores, with the benchmark's apps in them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from local import native_stores
from local.bench import bench, servers
from local.bench.servers import Variant
from local.bench.workshop import Workshop
from local.failure import Failure
from local.staging import REPOSITORY

_OPENERS = {"aws": "lambda_store", "azure": "function_app_store", "gcp": "run_function_store"}
_PROBES = 200


@asynccontextmanager
async def emulated(cloud: str, shop: Workshop) -> AsyncIterator[Mapping[str, str]]:
    """The store of `cloud` while the block runs: the variables by which its function finds it.

    Raises:
        Failure: what it needs is not installed.
    """
    module, options = native_stores.MODULES[cloud], native_stores.OPTIONS[cloud]
    command = (sys.executable, "-m", module, "--host", "127.0.0.1", "--port", "{port}", *options)
    variant = Variant(f"store of {cloud}", command, REPOSITORY, os.environ, path=native_stores.PROBES[cloud])
    async with servers.answering(variant) as server:
        for attempt in range(_PROBES):
            try:
                await bench.first_answer(server, b"")
                break
            except (Failure, OSError):
                if attempt == _PROBES - 1:
                    raise
                await asyncio.sleep(0.05)
        variables = native_stores.variables(cloud, f"http://127.0.0.1:{server.port}", {})
        await asyncio.to_thread(_fill, cloud, shop, variables)
        yield variables


def _fill(cloud: str, shop: Workshop, variables: Mapping[str, str]) -> None:
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / cloud)])
    command = (sys.executable, "-m", "local.bench.fill", _OPENERS[cloud], shop.limited_key, shop.free_key)
    environ = {**os.environ, **variables, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, check=False, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"the store of {cloud} did not take the apps: {done.stderr.strip()}")
