"""An upstream that remembers what it has reported: it does what each call asks it to do, failures included.

The call is a JSON object in the first message: its `id`, what the upstream `does`, the usage that it reports (`input`,
`cached` and `output` tokens), and how many seconds it takes (`takes_seconds`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from scripted_upstream import Exchange, ScriptedUpstream, plain

ANSWERS = "answers"
STUMBLES = "stumbles"
"""Fails with a 500, and answers when asked again."""
HANGS_UP = "hangs up"
"""Closes the connection without an answer, and answers when asked again."""
FAILS = "fails"
DENIES = "denies"
BREAKS = "breaks"
"""Breaks off in the midst of its answer."""
HOLDS = "holds"
"""Begins to answer, if that is a stream, and then waits until the other side leaves."""

_JSON = "content-type: application/json"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_ERROR = b'{"error": {"message": "no", "type": "server_error", "param": null, "code": null}}'
_TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}],"usage":null}\n\n'
_TEXTS = 3


@dataclass(slots=True)
class MeteredUpstream:
    """What was asked of it, and what it said of its costs, by the call's id."""

    url: str = ""
    reported: dict[str, int] = field(default_factory=dict)
    """In nano-dollars."""
    held: set[str] = field(default_factory=set)
    """The calls that it has let wait for the rest of their answer."""
    _asked: set[str] = field(default_factory=set)

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[MeteredUpstream]:
        upstream = cls()
        async with ScriptedUpstream.playing(upstream._play) as scripted:
            upstream.url = scripted.url
            yield upstream

    async def _play(self, exchange: Exchange) -> None:
        asked = json.loads(exchange.body)
        call = json.loads(asked["messages"][0]["content"])
        does, is_first = call["does"], call["id"] not in self._asked
        self._asked.add(call["id"])
        await asyncio.sleep(call["takes_seconds"])
        if does == HANGS_UP and is_first:
            exchange.writer.close()
        elif does == FAILS or (does == STUMBLES and is_first):
            await plain("500 Oh", _ERROR, _JSON)(exchange)
        elif does == DENIES:
            await plain("400 Bad", _ERROR, _JSON)(exchange)
        elif asked.get("stream"):
            await self._stream(exchange, call)
        else:
            await self._answer(exchange, call)

    async def _answer(self, exchange: Exchange, call: Mapping[str, Any]) -> None:
        if call["does"] == HOLDS:
            await self._hold(exchange, call["id"])
            return
        content = json.dumps({"choices": [], "usage": _usage(call)}).encode()
        if call["does"] == BREAKS:
            await exchange.send(b"HTTP/1.1 200 OK\r\n%s\r\ncontent-length: 9999\r\n\r\n{" % _JSON.encode())
            exchange.writer.close()
            return
        await plain("200 OK", content, _JSON)(exchange)
        self.reported[call["id"]] = cost_nano_usd(call)

    async def _stream(self, exchange: Exchange, call: Mapping[str, Any]) -> None:
        await exchange.send(_STREAM_HEAD)
        for _ in range(_TEXTS):
            await exchange.send_chunk(_TEXT)
            await asyncio.sleep(call["takes_seconds"])
        if call["does"] == HOLDS:
            await self._hold(exchange, call["id"])
            return
        if call["does"] == BREAKS:
            exchange.writer.close()
            return
        await exchange.send_chunk(b'data: {"choices":[],"usage":%s}\n\n' % json.dumps(_usage(call)).encode())
        self.reported[call["id"]] = cost_nano_usd(call)
        await exchange.send_chunk(b"data: [DONE]\n\n")
        await exchange.send(b"0\r\n\r\n")

    async def _hold(self, exchange: Exchange, call_id: str) -> None:
        self.held.add(call_id)
        await exchange.client_left()


def cost_nano_usd(call: Mapping[str, Any]) -> int:
    """By `PRICES`."""
    fresh: int = call["input"] - call["cached"]
    return int(fresh * 100 + call["cached"] * 50 + call["output"] * 1000)


PRICES = """
[prices."m"]
input_usd_per_million = 0.1
cached_input_usd_per_million = 0.05
output_usd_per_million = 1
context_tokens = 100_000
output_tokens = 2_000
"""
"""The model's, as `trefoil.toml` has them: 100, 50 and 1000 nano-dollars for a token."""


def _usage(call: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "prompt_tokens": call["input"],
        "completion_tokens": call["output"],
        "total_tokens": call["input"] + call["output"],
        "prompt_tokens_details": {"cached_tokens": call["cached"]},
    }
