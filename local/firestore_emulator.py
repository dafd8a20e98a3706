"""Firestore on this machine: `python -m local.firestore_emulator --port 8710 --grpc-port 8711`.

For `FirestoreStore`, which speaks REST, and for Google's own libraries, which speak gRPC (FIRESTORE_EMULATOR_HOST). It
keeps everything in memory, and needs the package google-cloud-firestore, whose messages it is made of.

Not known: listening, aggregations, OR, writes in batches, indexes, and how slow the service is under contention.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

import uvicorn

from local.firestore import grpc_front
from local.firestore.metadata import MetadataServer
from local.firestore.rest_front import RestFront
from local.firestore.service import Service
from local.listener import listen

_DEFAULT_PORT = 8710


async def _serve(options: argparse.Namespace) -> None:
    """Until SIGINT or SIGTERM.

    Raises:
        OSError: an address cannot be had.
    """
    service = Service(options.latency_ms / 1000)
    front = RestFront(service, MetadataServer(options.token_seconds), require_token=options.require_token)
    listener = listen(options.host, options.port)
    host = f"[{options.host}]" if ":" in options.host else options.host
    config = uvicorn.Config(
        front,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=300,  # longer than any client keeps an idle connection: it never closes under a request
        timeout_graceful_shutdown=1,
    )
    print(f"Firestore emulator: http://{host}:{listener.getsockname()[1]}", flush=True)
    async with contextlib.AsyncExitStack() as stack:
        if options.grpc_port is not None:
            server, port = grpc_front.make_server(service, f"{host}:{options.grpc_port}")
            await server.start()
            stack.push_async_callback(server.stop, None)
            print(f"Firestore emulator, gRPC: {host}:{port}", flush=True)
        await uvicorn.Server(config).serve([listener])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.firestore_emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=_DEFAULT_PORT, help="0: any free port (default: %(default)s)")
    parser.add_argument("--grpc-port", type=_port, help="offer gRPC, too; 0: on any free port")
    parser.add_argument("--latency-ms", type=int, default=0, help="between each effect and its answer (default: 0)")
    parser.add_argument("--require-token", action="store_true", help="refuse who has no token of the metadata server's")
    parser.add_argument("--token-seconds", type=int, default=3599, help="how long those are good (default: 3599)")
    return parser.parse_args()


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65_535:  # gRPC would take the rest of a division
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 65535")
    return number


def main() -> int:
    try:
        asyncio.run(_serve(_parse()))
    except OSError as error:
        print(f"Firestore emulator: cannot listen: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
