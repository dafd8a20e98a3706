"""The fake upstream that everything is measured against: as little work as can be, in a process of its own.

    python -m local.bench.upstream [--certificate FILE --key FILE]

It prints its port. What it answers stands in the prompt, so that it passes through whatever lies in between:
`bench:chunks=100,pace_ms=10` is how a stream goes; a pace of 0 is as fast as is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SCRIPT = re.compile(rb"bench:chunks=(\d+),pace_ms=(\d+)")
_STREAM = re.compile(rb'"stream": ?true')
_WANTS_USAGE = re.compile(rb'"include_usage": ?true')
_END_OF_HEAD = b"\r\n\r\n"
_CHUNKS_A_TURN = 20
"""So many chunks of a burst go out before others have their turn."""

_USAGE = {"prompt_tokens": 20, "completion_tokens": 20, "total_tokens": 40}
_COMMON = {"id": "chatcmpl-bench", "created": 1_790_000_000, "model": "gpt-4o-mini-2024-07-18"}
_TEXT = "Forty-two is what the benchmark's upstream always answers, whatever it is asked."


def _head(content_type: str, rest: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nx-request-id: req_bench\r\n{rest}\r\n\r\n".encode()


def _whole() -> bytes:
    message = {"role": "assistant", "content": _TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = json.dumps({**_COMMON, "object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()
    return _head("application/json", f"content-length: {len(body)}") + body


def _event(value: str) -> bytes:
    line = f"data: {value}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(line), line)


def _chunk(delta: dict[str, object], **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": more.pop("finish_reason", None)}
    value = {**_COMMON, "object": "chat.completion.chunk", "choices": [choice], **more}
    return _event(json.dumps(value))


_WHOLE = _whole()
_STREAM_HEAD = _head("text/event-stream; charset=utf-8", "transfer-encoding: chunked")
_FIRST = _chunk({"role": "assistant", "content": "", "refusal": None})
_NEXT = _chunk({"content": " word"})
_LAST = _chunk({}, finish_reason="stop")
_WITH_USAGE = _event(json.dumps({**_COMMON, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}))
_END = _event("[DONE]") + b"0\r\n\r\n"


class _Counter:
    """How many chunks have been written, by all connections."""

    chunks = 0


class _Connection(asyncio.Protocol):
    def __init__(self, counter: _Counter) -> None:
        self._counter = counter
        self._received = bytearray()
        self._expected = 0
        self._open = True
        self._flowing = asyncio.Event()
        self._flowing.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._open = False
        self._flowing.set()

    def pause_writing(self) -> None:
        self._flowing.clear()

    def resume_writing(self) -> None:
        self._flowing.set()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._received:
            if not self._expected:
                end = self._received.find(_END_OF_HEAD)
                if end < 0:
                    return
                length = _LENGTH.search(self._received, 0, end)
                self._expected = end + len(_END_OF_HEAD) + (int(length[1]) if length else 0)
            if len(self._received) < self._expected:
                return
            request = bytes(self._received[: self._expected])
            del self._received[: self._expected]
            self._expected = 0
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET /written"):
            body = str(self._counter.chunks).encode()
            self._transport.write(_head("text/plain", f"content-length: {len(body)}") + body)
        elif _STREAM.search(request) and (script := _SCRIPT.search(request)):
            usage = bool(_WANTS_USAGE.search(request))
            self._task = asyncio.ensure_future(self._stream(int(script[1]), int(script[2]) / 1000, usage=usage))
        else:
            self._transport.write(_WHOLE)

    async def _stream(self, chunks: int, pace_seconds: float, *, usage: bool) -> None:
        loop = asyncio.get_running_loop()
        self._transport.write(_STREAM_HEAD + _FIRST)
        due = loop.time()
        for number in range(1, chunks - 1):
            if pace_seconds:
                due += pace_seconds
                await asyncio.sleep(due - loop.time())
            elif number % _CHUNKS_A_TURN == 0:
                await asyncio.sleep(0)
            await self._flowing.wait()
            if not self._open:
                return
            self._transport.write(_NEXT)
            self._counter.chunks += 1
        self._transport.write(_LAST + (_WITH_USAGE if usage else b"") + _END)


async def _serve(context: ssl.SSLContext | None) -> None:
    loop, counter = asyncio.get_running_loop(), _Counter()
    server = await loop.create_server(lambda: _Connection(counter), "127.0.0.1", 0, ssl=context, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.bench.upstream")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    options = parser.parse_args()
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
    uvloop.run(_serve(context))


if __name__ == "__main__":
    main()
