"""The Azure Functions host on this machine: `python -m local.azure_host --port 8702 --app-dir FOLDER`.

Microsoft's worker library hosts the app in this process, and the front before it does what Azure's own host does there.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import uvicorn

from local.azure_exchange import Limits
from local.azure_front import Front
from local.azure_host_json import HostJson
from local.azure_routes import Routes
from local.azure_worker import CannotHost, Worker
from local.listener import listen

BODY_LIMIT_BYTES = 104_857_600
IDLE_SECONDS = 230.0
"""After which Azure's load balancer gives up on a silent response."""
_FAREWELL_SECONDS = 0.5


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `_serve`, which must end without waiting for open streams."""
        yield


def _server(front: Front) -> uvicorn.Server:
    config = uvicorn.Config(
        front,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    return _Server(config)


async def _serve(arguments: argparse.Namespace) -> None:
    app_dir: Path = arguments.app_dir.resolve()
    host_json = HostJson.read(app_dir)
    listener = _listen(arguments.host, arguments.port)
    worker = await Worker.start(app_dir)
    limits = Limits(BODY_LIMIT_BYTES, arguments.idle_timeout, arguments.timeout or host_json.timeout_seconds)
    front = Front(worker, Routes(worker.functions, host_json.route_prefix), limits)

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(_server(front).serve(sockets=[listener]))
    print("azure host: http://{}:{}".format(*listener.getsockname()), file=sys.stderr, flush=True)
    residents = asyncio.all_tasks()
    await asyncio.wait({serving, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
    await _say_farewell(front, residents)


async def _say_farewell(front: Front, residents: set[asyncio.Task[Any]]) -> None:
    """Cut what is open, and give the app a moment to notice: what it has spent must still be written down."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what ends now ends on purpose
    front.cut()
    current = asyncio.current_task()
    guests = {task for task in asyncio.all_tasks() - residents if task is not current}
    if guests:
        await asyncio.wait(guests, timeout=_FAREWELL_SECONDS)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise CannotHost(f"cannot listen on {host}:{port}: {error.strerror}") from None


def _configure_logging() -> None:
    """The app's lines to stdout; of everything else only warnings, to stderr."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("azure.functions").setLevel(logging.CRITICAL)  # the worker library: its answers say the same
    # No warning for each request that is no HTTP. A filter, for every server that is made sets the logger's level anew.
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.levelno >= logging.ERROR)
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s"))
    app = logging.getLogger("trefoil")
    app.setLevel(logging.INFO)
    app.addHandler(lines)
    app.propagate = False


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.azure_host", description="Host an Azure Functions app here.")
    parser.add_argument("--app-dir", type=Path, required=True, help="the folder with function_app.py and host.json")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=7071, help="0 for a free one; it is printed to stderr")
    parser.add_argument(
        "--timeout", type=float, help="seconds a function may run; default: host.json's functionTimeout"
    )
    parser.add_argument("--idle-timeout", type=float, default=IDLE_SECONDS, help="seconds a response may be silent")
    return parser.parse_args(argv)


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)  # while the app is being imported; later the loop handles them
    _configure_logging()
    try:
        asyncio.run(_serve(arguments))
    except CannotHost as error:
        first_line = str(error).partition("\n")[0]
        print(f"azure host: {first_line}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
