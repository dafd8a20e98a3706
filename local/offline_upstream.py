"""An OpenAI-compatible server that answers without a model: for a laptop without a key, and for every test.

Its answers say that they are canned. Told by the model's name (`offline;pace=100;cut=3`) or an `x-offline` header, it
fails in the ways that a real one does. Control endpoints under /offline show and steer what happens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeAlias
from urllib.parse import parse_qs

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from local.listener import listen
from local.offline import catalog
from local.offline.account import Account
from local.offline.behaviour import Behaviour, parse_directives
from local.offline.call import Call, document
from local.offline.endpoints import ENDPOINTS, Routes, find
from local.offline.exchange import ASGIReceive, ASGISend, Exchange, Message, read_body
from local.offline.gates import Gates
from local.offline.refusal import Refusal, fault
from local.offline.request_log import Entry, Outcome, Received, RequestLog
from local.offline.script import Headers, Reply, refused, script

_DEFAULT_PACE_MS: Final = 30  # slow enough that somebody who looks on sees it stream

# What the real service sends beside the answer. The wrapper passes none of the operator's own on.
_SERVICE_HEADERS: Final[Headers] = (
    ("openai-organization", "offline-org"),
    ("openai-project", "proj_offline"),
    ("openai-processing-ms", "12"),
    ("openai-version", "2020-10-01"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-limit-tokens", "2000000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-remaining-tokens", "1999000"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-reset-tokens", "30ms"),
    ("set-cookie", "__cf_bm=offline; path=/; HttpOnly"),
    ("server", "cloudflare"),
)


Control: TypeAlias = Callable[[dict[str, str], dict[str, str]], Awaitable[object]]  # path names, query -> JSON


class OfflineUpstream:
    """The ASGI application: the API, which is logged, and the control endpoints, which are not."""

    def __init__(self, pace_ms: int = _DEFAULT_PACE_MS) -> None:
        self._default = Behaviour(pace_ms=pace_ms)
        self._gates = Gates()
        self._log = RequestLog()
        self._account = Account()
        self._controls: Routes[Control] = (
            ("GET", "/healthz", self._health),
            ("POST", "/offline/gates/{name}", self._open_gate),
            ("GET", "/offline/requests", self._show_requests),
            ("DELETE", "/offline/requests", self._forget),
            ("GET", "/offline/requests/{sequence}/outcome", self._wait_for_outcome),
            ("GET", "/offline/arrivals/{model}", self._wait_for_arrival),
            ("GET", "/offline/objects", self._show_objects),
            ("DELETE", "/offline/objects", self._drop_objects),
        )

    async def __call__(self, scope: Message, receive: ASGIReceive, send: ASGISend) -> None:
        body = await read_body(receive)
        if body is None:
            return
        exchange = Exchange(receive, send, scope["state"]["transport"], self._gates)
        received = _received(scope, body)
        if re.match(r"/healthz$|/offline/", scope["path"]):
            await self._control(exchange, received, scope["path"])
        else:
            await self._api(exchange, received, scope["path"])

    async def _api(self, exchange: Exchange, received: Received, path: str) -> None:
        entry = self._log.add(received)
        reply, behaviour = self._answer(received, path)
        steps = script(reply, behaviour, accepts_gzip="gzip" in received.header("accept-encoding"))
        outcome: Outcome = "client left"
        try:
            outcome = await exchange.play(steps, (("x-request-id", entry.request_id), *_SERVICE_HEADERS), entry)
        finally:
            self._log.end(entry, outcome)

    def _answer(self, received: Received, path: str) -> tuple[Reply, Behaviour]:
        """What a request is answered with, and how that is treated on its way out."""
        try:
            endpoint, names = find(ENDPOINTS, received.method, path)
            _authenticate(received)
            told = self._told(received)
            if told.status is not None:  # leaves no trace: whoever tries again makes one object, not two
                return refused(fault(told.status, told.code)), told
            return endpoint(Call(received, names, told, self._account, self._ask)), told
        except Refusal as refusal:
            return refused(refusal), self._default

    def _ask(self, received: Received) -> Reply:
        """The answer to a request inside a request: a line of a batch."""
        reply, _ = self._answer(received, received.path)
        return reply

    def _told(self, received: Received) -> Behaviour:
        """How the request wants to be treated, by its model's name and then its header."""
        _, in_name = catalog.split_model(received.model)
        directives = f"{in_name};{received.header('x-offline')}"
        behaviour = parse_directives(directives, self._default)
        if behaviour.times is not None and self._log.count_attempt(directives) >= behaviour.times:
            return self._default
        return behaviour

    async def _control(self, exchange: Exchange, received: Received, path: str) -> None:
        query = {name: values[-1] for name, values in parse_qs(received.query).items()}
        try:
            control, names = find(self._controls, received.method, path)
            reply = document(await control(names, query))
        except Refusal as refusal:
            reply = refused(refusal)
        await exchange.play(script(reply, Behaviour(), accepts_gzip=False), (), Entry(0, received))

    async def _health(self, names: dict[str, str], query: dict[str, str]) -> object:
        return {"status": "ok", "upstream": "offline"}

    async def _open_gate(self, names: dict[str, str], query: dict[str, str]) -> object:
        count = _whole_number(query, "n", 1)
        self._gates.open(names["name"], count)
        return {"gate": names["name"], "opened": count}

    async def _show_requests(self, names: dict[str, str], query: dict[str, str]) -> object:
        return [entry.as_json() for entry in self._log.entries(query.get("model"))]

    async def _forget(self, names: dict[str, str], query: dict[str, str]) -> object:
        self._log.clear()
        self._gates.forget()
        return {"cleared": True}

    async def _wait_for_outcome(self, names: dict[str, str], query: dict[str, str]) -> object:
        return (await self._log.wait_for_outcome(_whole_number(names, "sequence", 0))).as_json()

    async def _wait_for_arrival(self, names: dict[str, str], query: dict[str, str]) -> object:
        return (await self._log.wait_for_model(names["model"], _whole_number(query, "after", 0))).as_json()

    async def _show_objects(self, names: dict[str, str], query: dict[str, str]) -> object:
        return self._account.ids()

    async def _drop_objects(self, names: dict[str, str], query: dict[str, str]) -> object:
        self._account = Account()
        return {"cleared": True}


def _authenticate(received: Received) -> None:
    """Any bearer key will do, except one that contains `invalid`."""
    scheme, _, key = received.header("authorization").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refusal(401, "You didn't provide an API key in an Authorization header with Bearer auth.")
    if "invalid" in key:
        raise Refusal(401, f"Incorrect API key provided: {key[:3]}***{key[-4:]}.", code="invalid_api_key")


def _received(scope: Message, body: bytes) -> Received:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    return Received(scope["method"], scope["raw_path"].decode(), scope["query_string"].decode("latin-1"), headers, body)


def _whole_number(values: dict[str, str], name: str, default: int) -> int:
    try:
        return int(values.get(name, default))
    except ValueError:
        raise Refusal(400, f"'{name}' must be a whole number.", param=name) from None


class _Connection(H11Protocol):
    """uvicorn's connection, except that the application may close it, and that it does not outlive the server."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}

    def shutdown(self) -> None:
        self.transport.close()


def make_server(pace_ms: int) -> uvicorn.Server:
    """The server, to be run on a socket that is already bound."""
    config = uvicorn.Config(
        OfflineUpstream(pace_ms),
        http=_Connection,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=300,  # longer than any client keeps an idle connection: it never closes under a request
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def running(*, host: str = "127.0.0.1", port: int = 0, pace_ms: int = 0) -> Iterator[str]:
    """Serve in a thread for as long as the block runs; gives the origin, such as http://127.0.0.1:49152."""
    server, listener = make_server(pace_ms), listen(host, port)
    thread = threading.Thread(target=server.run, args=([listener],), name="offline-upstream")
    thread.start()  # the socket listens already: who connects before the loop runs is served a moment later
    try:
        yield _origin(listener)
    finally:
        server.should_exit = True
        thread.join()


def _origin(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m local.offline_upstream", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8700, help="0: any free port (default: 8700)")
    parser.add_argument("--pace-ms", type=int, default=_DEFAULT_PACE_MS, help="between the chunks of a stream")
    options = parser.parse_args()
    try:
        listener = listen(options.host, options.port)
    except (OSError, OverflowError) as error:
        print(f"offline upstream: cannot listen: {error}", file=sys.stderr)
        return 1
    print(f"offline upstream: {_origin(listener)}/v1 (answers are canned, any key will do)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        make_server(options.pace_ms).run([listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
