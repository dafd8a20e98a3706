"""A function app for the tests of the Azure host: they copy it, as `function_app.py`, beside the real web extension."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections import defaultdict
from typing import Any

import azure.functions as func

import http_stream
from http_stream import Receive, Scope, Send

_events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
"""What one request waits for and another one sets: so the tests prove an order without sleeping."""

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="{*path}", methods=list(func.HttpMethod))
async def everything(req: http_stream.Request) -> http_stream.Response:
    if req.path_params.get("path") == "raise":
        raise RuntimeError("tell nobody")
    return http_stream.Response(_answer)


@app.route(route="items/{id:int}", methods=["GET"])
async def item(req: http_stream.Request) -> http_stream.Response:
    parameters = json.dumps(req.path_params).encode()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await _send_all(send, parameters)

    return http_stream.Response(answer)


@app.route(route="locked", auth_level=func.AuthLevel.FUNCTION)
async def locked(req: http_stream.Request) -> http_stream.Response:
    return http_stream.Response(_answer)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    _, action, *names = scope["path"].split("/")
    handler = _ACTIONS.get(action, _echo)
    await handler(scope, receive, send, *names)


async def _echo(scope: Scope, receive: Receive, send: Send, *_names: str) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    seen = {
        "method": scope["method"],
        "target": (scope["raw_path"] + b"?" + scope["query_string"]).decode("latin-1"),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.decode("latin-1"),
    }
    await _send_all(send, json.dumps(seen).encode())


async def _wait(scope: Scope, receive: Receive, send: Send, name: str) -> None:
    """Answer when the event has been set."""
    await _events[name].wait()
    await _send_all(send, b"set")


async def _set(scope: Scope, receive: Receive, send: Send, name: str) -> None:
    _events[name].set()
    await _send_all(send, b"set")


async def _stream(scope: Scope, receive: Receive, send: Send, name: str) -> None:
    """Send one chunk, and the second when the event has been set."""
    await _start(send, [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
    await send({"type": "http.response.body", "body": b"one\n", "more_body": True})
    await _events[name].wait()
    await send({"type": "http.response.body", "body": b"two\n"})


async def _until_left(scope: Scope, receive: Receive, send: Send, name: str) -> None:
    """Send one chunk, and set the event when the client has left."""
    await _start(send, [])
    await send({"type": "http.response.body", "body": b"one\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    _events[name].set()


async def _silent(scope: Scope, receive: Receive, send: Send, name: str) -> None:
    """Send nothing at all, and set the event when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    _events[name].set()


async def _mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """Send back every part of the body before the next one is there."""
    await _start(send, [])
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without having read the body."""
    await _send_all(send, b"refused", 413)


async def _boom(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("tell nobody")


async def _cut(scope: Scope, receive: Receive, send: Send) -> None:
    await _start(send, [])
    await send({"type": "http.response.body", "body": b"one\n", "more_body": True})
    raise RuntimeError("tell nobody")


async def _references(scope: Scope, receive: Receive, send: Send) -> None:
    """How many requests the worker remembers."""
    worker = importlib.import_module("azure_functions_runtime.http_v2")
    remembered = worker.http_coordinator._context_references
    await _send_all(send, str(len(remembered)).encode())


_ACTIONS: dict[str, Any] = {
    "wait": _wait,
    "set": _set,
    "stream": _stream,
    "until-left": _until_left,
    "silent": _silent,
    "mirror": _mirror,
    "refuse": _refuse,
    "boom": _boom,
    "cut": _cut,
    "references": _references,
}


async def _start(send: Send, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _send_all(send: Send, body: bytes, status: int = 200) -> None:
    await _start(send, [(b"content-length", str(len(body)).encode())], status)
    await send({"type": "http.response.body", "body": body})
