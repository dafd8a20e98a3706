"""A Cosmos DB for NoSQL on this machine: Vercel's server from npm, with the database and the container of the store.

It keeps everything in memory, and checks no key.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import shutil
import signal
import sys
import urllib.request
from collections.abc import Sequence
from typing import Any

from local.failure import Failure
from local.processes import Child
from local.staging import REPOSITORY

DATABASE = "trefoil"
CONTAINER = "store"
KEY = base64.b64encode(b"the emulator checks no key").decode()

INSTALL = "make cosmos"
_PROGRAM = REPOSITORY / ".trefoil/cosmos/node_modules/@vercel/cosmosdb-server/lib/cli.js"

_CONTAINER_DEFINITION = {"id": CONTAINER, "partitionKey": {"paths": ["/partition"], "kind": "Hash"}, "defaultTtl": -1}
_START_SECONDS = 30.0
_ANSWER_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        asyncio.run(_serve(options.host, options.port))
    except Failure as failure:
        print(f"cosmos_emulator: {failure}", file=sys.stderr)
        return 1
    return 0


def command(host: str, port: int) -> tuple[str, ...]:
    """What starts the server, without database and container.

    Raises:
        Failure: Node.js or the server is not installed.
    """
    node = shutil.which("node")
    if node is None:
        raise Failure("the Cosmos DB emulator needs Node.js, which is not installed: there is no `node` on the PATH")
    if not _PROGRAM.is_file():
        raise Failure(f"the Cosmos DB emulator is not installed: run '{INSTALL}'")
    return node, str(_PROGRAM), "--host", host, "--port", str(port), "--no-ssl"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.cosmos_emulator", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081, help="0 for any that is free (default: %(default)s)")
    return parser.parse_args(arguments)


async def _serve(host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        Failure: the server does not start, or stopped.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    listening: asyncio.Future[str] = loop.create_future()

    def on_line(_: str, line: str) -> None:
        if line.startswith("Ready") and not listening.done():
            listening.set_result(f"http://{host}:{line.rpartition(':')[2]}")
        else:
            print(f"cosmos_emulator: {line}", file=sys.stderr)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = await Child.start("cosmos", command(host, port), directory=REPOSITORY, environ=os.environ, on_line=on_line)
    ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(server.ended()), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait([listening, *ends], timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            await asyncio.to_thread(_make_container, listening.result())
            print(f"cosmos_emulator: {listening.result()}", flush=True)
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            raise Failure("the server stopped, or did not start")
    finally:
        for end in ends:
            end.cancel()
        await server.stop()


def _make_container(url: str) -> None:
    _post(f"{url}/dbs", {"id": DATABASE})
    _post(f"{url}/dbs/{DATABASE}/colls", _CONTAINER_DEFINITION)


def _post(url: str, body: object) -> None:
    """
    Raises:
        Failure: it was not done.
    """
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine
    try:
        opener.open(request, timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise Failure(f"the server did not take a POST to {url}: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
