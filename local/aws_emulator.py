"""AWS on this machine: one function behind its function URL, in sandboxes that speak the Lambda Runtime API.

    python -m local.aws_emulator --host 127.0.0.1 --port 8701 --task-root DIR

What AWS would log of a failure goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import uvicorn

from local import rest_api
from local.function_url import FunctionUrl, ToEvent
from local.listener import listen
from local.runtime_api import InitError, SandboxError
from local.sandbox import Function
from local.sandboxes import Sandboxes


class _Server(uvicorn.Server):
    """One that leaves the signals to `_serve`: uvicorn would die of them before the sandboxes are stopped."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        listener = listen(options.host, options.port)
    except OSError as error:
        print(f"aws_emulator: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        to_event = rest_api.to_event if options.rest_api else None
        asyncio.run(_serve(_to_function(options), listener, to_event))
    except SandboxError as error:
        kind = "init error" if isinstance(error, InitError) else "error"
        print(f"aws_emulator: {kind}: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.aws_emulator", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8701, help="0 for any that is free (default: %(default)s)")
    parser.add_argument("--task-root", type=Path, required=True, help="the folder that the zip would hold")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one request (default: %(default)s)")
    parser.add_argument("--memory", type=int, default=512, help="MB, as the function is told (default: %(default)s)")
    parser.add_argument("--max-sandboxes", type=int, default=50, help="requests at once (default: %(default)s)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--buffered", action="store_true", help="Lambda's own runtime instead of the zip's `run`")
    kind.add_argument("--rest-api", action="store_true", help="a REST API's events instead of a function URL's")
    options = parser.parse_args(arguments)
    needed = options.task_root / ("lambda_function.py" if options.buffered else "run")
    if not needed.is_file():
        parser.error(f"--task-root: there is no {needed}")
    return options


def _to_function(options: argparse.Namespace) -> Function:
    return Function(
        task_root=options.task_root.resolve(),
        timeout_seconds=options.timeout,
        memory_mb=options.memory,
        streaming=not options.buffered,
        concurrency=options.max_sandboxes,
    )


async def _serve(function: Function, listener: socket.socket, to_event: ToEvent | None) -> None:
    """Serve until SIGINT or SIGTERM, then leave no sandbox behind.

    Raises:
        SandboxError: the function cannot be set up, which is found out before any request is answered.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    sandboxes = Sandboxes(function)
    warming = asyncio.create_task(sandboxes.warm())
    try:
        await asyncio.wait({warming, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if warming.done():
            warming.result()
            app = FunctionUrl(sandboxes, streaming=function.streaming, to_event=to_event)
            await _answer(app, listener, sandboxes, stopping)
    finally:
        await sandboxes.close()
        await asyncio.gather(warming, return_exceptions=True)


async def _answer(
    app: FunctionUrl, listener: socket.socket, sandboxes: Sandboxes, stopping: asyncio.Task[Literal[True]]
) -> None:
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", log_config=None, log_level="critical", server_header=False
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    host, port = listener.getsockname()[:2]
    print(f"aws_emulator: the function URL is http://{host}:{port}/", flush=True)
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await sandboxes.close()  # first, so that what is being answered breaks off and the server need not wait
    server.should_exit = True
    await serving


if __name__ == "__main__":
    sys.exit(main())
