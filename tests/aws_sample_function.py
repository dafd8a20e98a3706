"""Stands in for `lambda_function.py` in the tests of the AWS runtime and emulator: each path does one thing.

A gate is a TCP port of the test: the function connects, and waits until the test answers or closes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
_ended_streams: list[str] = []


@dataclass
class SampleResponse:
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "text/plain"})
    body: bytes | AsyncIterator[bytes] = b""
    cookies: list[str] = field(default_factory=list)


def lambda_handler(event: Event, context: Any) -> object:
    """Through Lambda's own runtime: answer with what the request's body says, or `big` bytes."""
    if event["rawPath"] == "/big":
        return {"statusCode": 200, "body": "x" * int(event["rawQueryString"])}
    return json.loads(event["body"])


async def answer(event: Event, *, deadline: float, request_id: str) -> SampleResponse:
    path = event["rawPath"] if "rawPath" in event else "/" + event["path"].split("/")[1]
    return await _PATHS[path](event)


def head(response: SampleResponse) -> dict[str, Any]:
    return {"statusCode": response.status, "headers": response.headers, "cookies": response.cookies}


async def _echo(event: Event) -> SampleResponse:
    return SampleResponse(200, {"content-type": "application/json"}, json.dumps(event).encode())


async def _told(event: Event) -> SampleResponse:
    told = json.loads(event["body"])
    return SampleResponse(told["status"], told["headers"], told["body"].encode(), told["cookies"])


async def _pid(event: Event) -> SampleResponse:
    return SampleResponse(body=str(os.getpid()).encode())


async def _ended(event: Event) -> SampleResponse:
    return SampleResponse(body=json.dumps(_ended_streams).encode())


async def _empty_stream(event: Event) -> SampleResponse:
    return SampleResponse(body=_chunks("empty", b"", b""))


async def _gated(event: Event) -> SampleResponse:
    return SampleResponse(headers={"content-type": "text/event-stream"}, body=_gated_chunks(event))


async def _fails(event: Event) -> SampleResponse:
    raise RuntimeError("before the answer")


async def _fails_first(event: Event) -> SampleResponse:
    return SampleResponse(body=_chunks("first", error=RuntimeError("before the first byte")))


async def _fails_later(event: Event) -> SampleResponse:
    return SampleResponse(body=_chunks("later", b"one", error=ConnectionResetError("upstream's connection")))


async def _exits(event: Event) -> SampleResponse:
    os._exit(3)


async def _exits_later(event: Event) -> SampleResponse:
    return SampleResponse(body=_exiting_chunks(event))


async def _waits(event: Event) -> SampleResponse:
    await _pass_gate(event)
    return SampleResponse(body=str(os.getpid()).encode())


async def _logs(event: Event) -> SampleResponse:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return SampleResponse(body=b"ok")


async def _chunks(name: str, *chunks: bytes, error: Exception | None = None) -> AsyncGenerator[bytes, None]:
    try:
        for chunk in chunks:
            yield chunk
        if error:
            raise error
    finally:
        _ended_streams.append(name)


async def _gated_chunks(event: Event) -> AsyncGenerator[bytes, None]:
    try:
        yield b"one"
        await _pass_gate(event)
        yield b"two"
    finally:
        _ended_streams.append("gated")


async def _exiting_chunks(event: Event) -> AsyncGenerator[bytes, None]:
    yield b"one"
    await _pass_gate(event)
    os._exit(3)


async def _pass_gate(event: Event) -> None:
    port = event["rawQueryString"] if "rawQueryString" in event else next(iter(event["queryStringParameters"]))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    await reader.read()
    writer.close()


_PATHS: dict[str, Callable[[Event], Awaitable[SampleResponse]]] = {
    "/echo": _echo,
    "/told": _told,
    "/pid": _pid,
    "/ended": _ended,
    "/empty-stream": _empty_stream,
    "/gated": _gated,
    "/fails": _fails,
    "/fails-first": _fails_first,
    "/fails-later": _fails_later,
    "/exits": _exits,
    "/exits-later": _exits_later,
    "/waits": _waits,
    "/logs": _logs,
}
