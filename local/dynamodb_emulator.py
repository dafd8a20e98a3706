"""DynamoDB on this machine: moto's, made atomic.

    python -m local.dynamodb_emulator --host 127.0.0.1 --port 8705 --table trefoil

What it holds is gone when it stops.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import boto3  # type: ignore[import-untyped]
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from local.listener import listen

REGION = "us-east-1"


def create_table(endpoint_url: str, table: str, *, region: str = REGION) -> None:
    """Make the store's table, as the deployment's Terraform does."""
    client = boto3.Session().client(
        "dynamodb",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106
    )
    with contextlib.closing(client):
        client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        client.update_time_to_live(
            TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
        )


class _Handler(MotoRequestHandler):
    disable_nagle_algorithm = True  # head and body are sent apart: the second would wait 40 ms for an acknowledgement

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


class _Atomic:
    """One request at a time.

    moto looks at an item, changes it, and then writes its answer from it, and lets other threads do so in between:
    conditions that held hold no more, and an answer tells of a later change.
    """

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._alone = threading.Lock()
        self.is_ready = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/healthz":
            start_response("200 OK" if self.is_ready.is_set() else "503 Service Unavailable", [])
            return []
        with self._alone:
            answer: Iterable[bytes] = self._app(environ, start_response)
            return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    options = _parse(arguments)
    try:
        listener = listen(options.host, options.port)
    except (OSError, OverflowError) as error:
        print(f"dynamodb_emulator: cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    host, port = listener.getsockname()[:2]
    with listener:
        app = _Atomic()
        server = make_server(host, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno())
        with contextlib.suppress(KeyboardInterrupt):
            _serve(server, app, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", options)
    return 0


def _serve(server: BaseWSGIServer, app: _Atomic, url: str, options: argparse.Namespace) -> None:
    thread = threading.Thread(target=server.serve_forever, name="dynamodb-emulator", daemon=True)
    thread.start()
    for table in options.table:
        create_table(url, table, region=options.region)
    app.is_ready.set()
    print(f"dynamodb_emulator: {url} (any credentials will do)", flush=True)
    thread.join()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.dynamodb_emulator", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free (default: %(default)s)")
    parser.add_argument("--table", action="append", default=[], help="make this table; may be repeated")
    parser.add_argument("--region", default=REGION, help="where the tables lie (default: %(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
