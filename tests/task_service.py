"""The whole core with tasks, in front of a model that says what a test makes it say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.admin import Admin
from core.books import Books, Spending
from core.gateway import Gateway
from core.http import Request, Response
from core.ledger_item import UsageRow
from core.ports import App, Limits, Store
from core.settings import Settings
from core.sqlite_store import SqliteStore
from scripted_upstream import Exchange, ScriptedUpstream, plain

_JSON = "content-type: application/json"
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

INPUT_TOKENS, OUTPUT_TOKENS = 10, 20
COST_NANO_USD = INPUT_TOKENS * 100 + OUTPUT_TOKENS * 1000
"""Of one call, by the prices below."""

TOML = """
[upstreams.openai]
connect_timeout_seconds = 2
silence_timeout_seconds = 5
[retry]
max_retries = 0
[prices."m"]
input_usd_per_million = 0.1
output_usd_per_million = 1
context_tokens = 100_000
output_tokens = 1000
[prices."small"]
input_usd_per_million = 0.1
output_usd_per_million = 1
context_tokens = 8_000
output_tokens = 1000
[prices."painter"]
input_usd_per_million = 0.1
output_usd_per_million = 1
"""
TASKS = """
[tasks]
model = "m"
[tasks.image]
model = "painter"
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answers."""

    text: str = "canned"
    finish_reason: str = "stop"
    refusal: str | None = None
    status: str = "200 OK"
    breaks: bool = False
    """Whether a stream ends after its first piece."""
    held: asyncio.Event | None = None
    """What is waited for before the answer, or, in a stream, after its first piece."""
    is_mute: bool = False
    """Whether a stream, too, is held before its first piece."""


Model = Callable[[Mapping[str, Any]], Reply]


@dataclass(slots=True)
class TaskService:
    gateway: Gateway
    upstream: ScriptedUpstream
    store: Store
    app: App
    app_key: str
    model: Model
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    """The bodies that upstream was sent."""
    reports_most: bool = False
    """Whether each answer is said to have used as much as its request allows: a token for each byte."""
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an answer is held."""

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        folder: Path,
        model: Model = lambda body: Reply(),
        *,
        toml: str = TASKS,
        store: Store | None = None,
        **limits: Any,
    ) -> AsyncIterator[TaskService]:
        services: list[TaskService] = []

        async def play(exchange: Exchange) -> None:
            await services[0]._play(exchange)

        async with ScriptedUpstream.playing(play) as upstream:
            file = folder / "trefoil.toml"
            file.write_text(TOML + toml)
            environ = {"OPENAI_API_KEY": "sk-1", "TREFOIL_UPSTREAM_URL": upstream.url, "TREFOIL_CONFIG": str(file)}
            own_store = SqliteStore(folder / "store.sqlite3")
            used: Store = own_store if store is None else store
            key = await Admin(used).new_key("shop")
            app = App(id="shop", created_at=0, limits=Limits.model_validate(limits))
            await used.put(App.key("shop"), app.model_dump())
            gateway = Gateway(Settings.load(environ), used)
            services.append(cls(gateway, upstream, used, app, key, model))
            try:
                yield services[0]
            finally:
                await gateway.close()
                own_store.close()

    async def send(
        self, path: str, method: str = "POST", *, query: str = "", content: bytes | None = None, **fields: Any
    ) -> Response:
        headers = dict(fields.pop("headers", {}))
        body = json.dumps(fields).encode() if content is None and method == "POST" else content or b""
        headers["authorization"] = f"Bearer {self.app_key}"
        return await self.gateway.handle(Request(method, path, query, headers=headers, body=body))

    async def call(self, path: str, method: str = "POST", **fields: Any) -> dict[str, Any]:
        """A plain answer, which must be a success."""
        response = await self.send(path, method, **fields)
        assert response.status == 200, response.body
        return whole(response)

    async def refused(self, path: str, method: str = "POST", **fields: Any) -> tuple[int, dict[str, Any]]:
        response = await self.send(path, method, **fields)
        error: dict[str, Any] = whole(response)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return response.status, error

    async def stream(self, path: str, **fields: Any) -> list[dict[str, Any]]:
        """All events of a stream."""
        response = await self.send(path, stream=True, **fields)
        assert response.status == 200, response.body
        assert not isinstance(response.body, bytes)
        return events(b"".join([chunk async for chunk in response.body]))

    async def spending(self) -> Spending:
        return await Books(self.store).spending(self.app)

    async def usage(self) -> list[UsageRow]:
        return await Books(self.store).usage(self.app.id, "2000-01-01", "2999-01-01")

    async def _play(self, exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        self.asked.append(body)
        reply = self.model(body)
        if reply.is_mute:
            await self._hold(reply)
        if body.get("stream") and reply.status == "200 OK":
            assert body["stream_options"] == {"include_usage": True}
            await self._stream(exchange, reply)
            return
        await self._hold(reply)
        message = {"role": "assistant", "content": reply.text, "refusal": reply.refusal}
        answer: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}]}
        if exchange.head.startswith(b"POST /v1/images/"):
            answer = {"data": [json.loads(reply.text)]}
        if reply.status != "200 OK":
            answer = {"error": {"message": "Upstream says no.", "type": "t", "param": None, "code": "c"}}
        else:
            answer["usage"] = self._usage(exchange.body)
        await plain(reply.status, json.dumps(answer).encode(), _JSON)(exchange)

    async def _stream(self, exchange: Exchange, reply: Reply) -> None:
        await exchange.send(_SSE)
        for number, piece in enumerate(_pieces(reply.text)):
            await exchange.send_chunk(_chunk({"index": 0, "delta": {"content": piece}, "finish_reason": None}))
            if number == 0:
                await self._hold(reply)
            if reply.breaks:
                exchange.writer.close()
                return
        if reply.refusal is not None:
            await exchange.send_chunk(_chunk({"index": 0, "delta": {"refusal": reply.refusal}}))
        await exchange.send_chunk(_chunk({"index": 0, "delta": {}, "finish_reason": reply.finish_reason}))
        usage = {"choices": [], "usage": self._usage(exchange.body)}
        await exchange.send_chunk(b"data: " + json.dumps(usage).encode() + b"\n\n")
        await exchange.send_chunk(b"data: [DONE]\n\n")
        await exchange.send(b"0\r\n\r\n")

    def _usage(self, content: bytes) -> Mapping[str, int]:
        if not self.reports_most:
            return _USAGE
        read, written = len(content), json.loads(content)["max_completion_tokens"]
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    async def _hold(self, reply: Reply) -> None:
        if reply.held is not None:
            self.holding.set()
            await reply.held.wait()


_USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
}


def said(body: Mapping[str, Any], role: str) -> str:
    """All that the messages of one role say."""
    return "\n".join(message["content"] for message in body["messages"] if message["role"] == role)


def whole(response: Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    value: dict[str, Any] = json.loads(response.body)
    return value


def events(content: bytes) -> list[dict[str, Any]]:
    blocks = content.decode().split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def text_of(told: Sequence[Mapping[str, Any]]) -> str:
    return "".join(event["text"] for event in told if event.get("type") == "delta")


def _pieces(text: str) -> list[str]:
    return [text[at : at + 5] for at in range(0, len(text), 5)]


def _chunk(choice: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
