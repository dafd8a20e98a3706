"""Several apps at one gateway, before an upstream that answers every endpoint, with each app's calls of the store."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from core.admin import Admin
from core.books import Books, Spending
from core.endpoints import ENDPOINTS, OBJECTS_IN_PATHS, Endpoint
from core.gateway import Gateway
from core.http import Request, Response
from core.ledger_item import UsageRow
from core.ports import App, Key, Limits
from core.settings import Settings
from core.sqlite_store import SqliteStore
from core.task_input import BUILT_IN
from recording_store import CALLER, RecordingStore
from scripted_upstream import Exchange, Script, ScriptedUpstream, plain

JSON = "content-type: application/json"
BUDGET = 10**12
IDS = {name: f"{name}_same" for name in OBJECTS_IN_PATHS}
"""Ids of objects that an app can be given by `own`: every app those very ones."""
_BOUNDARY = "edge"
CANARY = re.compile(rb"canary-prompt-[a-z0-9.-]+")
_TOML = """
[upstreams.openai]
base_url = "https://nowhere.invalid/v1"
connect_timeout_seconds = 2
silence_timeout_seconds = 20
[upstreams.any]
kind = "compatible"
base_url = "{url}"
[retry]
max_retries = 0
[tasks]
model = "m"
[tasks.image]
model = "m"
[tasks.mine]
prompt = "{{{{text}}}}"
[tasks.mine.input]
text = {{}}
[models."house"]
targets = [{{ upstream = "openai", model = "m" }}]
[prices."m"]
input_usd_per_million = 0.1
output_usd_per_million = 1
usd_per_minute = 0.1
usd_per_image = 0.1
usd_per_million_characters = 1
usd_per_container = 0.03
usd_per_thousand_web_searches = 10
usd_per_thousand_file_searches = 2.5
context_tokens = 100_000
output_tokens = 1000
"""
UPSTREAM_KEY = "sk-canary-upstream-key-0123456789"
ADMIN_KEY = "canary-admin-key-0123456789-0123456789"


@dataclass(frozen=True, slots=True)
class Tenants:
    """The apps, by their ids, and what is behind them."""

    gateway: Gateway
    upstream: ScriptedUpstream
    store: RecordingStore
    keys: Mapping[str, str]

    async def call(
        self, app_id: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Response:
        """What an app gets; a stream is read to its end."""
        token = CALLER.set(app_id)
        try:
            sent = {"authorization": f"Bearer {self.keys[app_id]}", **(headers or {})}
            plain_path, _, query = path.partition("?")
            response = await self.gateway.handle(Request(method, plain_path, query, sent, body))
            if not isinstance(response.body, bytes):
                content = b"".join([chunk async for chunk in response.body])
                return Response(response.status, response.headers, content)
            return response
        finally:
            CALLER.reset(token)

    async def post(self, app_id: str, path: str, headers: Mapping[str, str] | None = None, **fields: Any) -> Response:
        return await self.call(app_id, "POST", path, json.dumps(fields).encode(), headers)

    async def chat(self, app_id: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
        fields = {"model": "m", "messages": [{"role": "user", "content": f"canary-prompt-{app_id}"}], **more}
        return await self.post(app_id, "/v1/chat/completions", headers, **fields)

    async def spending(self, app_id: str) -> Spending:
        app = await Admin(self.store.behind).app(app_id)
        return await Books(self.store.behind).spending(app)

    async def usage(self, app_id: str) -> list[UsageRow]:
        return await Books(self.store.behind).usage(app_id, "2000-01-01", "2999-01-01")


@asynccontextmanager
async def tenants(folder: Path, limits: Mapping[str, Limits], script: Script | None = None) -> AsyncIterator[Tenants]:
    """Apps with these limits."""
    async with ScriptedUpstream.playing(script or answering()) as upstream:
        file = folder / "trefoil.toml"
        file.write_text(_TOML.format(url=upstream.url))
        environ = {
            "OPENAI_API_KEY": UPSTREAM_KEY,
            "TREFOIL_UPSTREAM_URL": upstream.url,
            "TREFOIL_CONFIG": str(file),
            "TREFOIL_ADMIN_KEY": ADMIN_KEY,
        }
        behind = SqliteStore(folder / "store.sqlite3")
        store = RecordingStore(behind)
        keys = {}
        for app_id, limit in limits.items():
            keys[app_id] = await Admin(behind).new_key(app_id)
            await behind.put(App.key(app_id), App(id=app_id, created_at=0, limits=limit).model_dump())
        gateway = Gateway(Settings.load(environ), store)
        try:
            yield Tenants(gateway, upstream, store, keys)
        finally:
            await gateway.close()
            behind.close()


def answering(fixed: Mapping[str, Any] | None = None) -> Script:
    """An upstream that says yes to everything, and whose answers name the canary of their request.

    Args:
        fixed: what else an answer has, as it is at that moment.
    """
    numbers = count(1)

    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(0)
        asked = CANARY.search(exchange.body)
        last = exchange.head.split(b" ", 2)[1].decode().rpartition("/")[2]
        number, canary = next(numbers), asked[0].decode() if asked else None
        told = {"code": f"canary-answer-{number}", "language": "Python", "explanation": canary or ""}
        answer = {
            "id": last if exchange.head.startswith(b"GET") else f"made_{number}",
            "choices": [{"message": {"role": "assistant", "content": json.dumps(told)}, "finish_reason": "stop"}],
            "data": [{"id": "m", "b64_json": "YWJj"}],
            "canary": canary,
            "file": {"id": f"file_{number}"},
            "usage": {"prompt_tokens": 10, "completion_tokens": 20, "input_tokens": 10, "output_tokens": 20},
            **(fixed or {}),
        }
        await plain("200 OK", json.dumps(answer).encode(), JSON)(exchange)

    return script


def _json(endpoint: Endpoint, app_id: str) -> bytes:
    prompt = f"canary-prompt-{app_id}"
    fields: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": prompt}],
        "metadata": {"a": prompt},
    }
    if endpoint.name in ("responses.create", "responses.compact"):
        shown = [{"type": "input_file", "file_id": IDS["file_id"]}, {"type": "input_text", "text": prompt}]
        fields |= {"input": [{"role": "user", "content": shown}], "previous_response_id": IDS["response_id"]}
    elif endpoint.name.startswith("vector_stores."):
        fields |= {"file_ids": [IDS["file_id"]], "query": prompt}
    else:
        fields |= {"input": prompt, "prompt": prompt, "store": True}
    return json.dumps(fields).encode()


_TASK_TEXTS = ("instruction", "text", "message", "prompt")


def _task(endpoint: Endpoint, app_id: str) -> bytes:
    """A task's own example, with the app's canary in the place of its text."""
    task = endpoint.name.removeprefix("tasks.")
    if task == "run":
        return json.dumps({"text": f"canary-prompt-{app_id}"}).encode()
    example = BUILT_IN[task].EXAMPLE
    return json.dumps(
        {**example, **{name: f"canary-prompt-{app_id}" for name in _TASK_TEXTS if name in example}}
    ).encode()


def _form(app_id: str) -> bytes:
    fields = {"model": "m", "prompt": f"canary-prompt-{app_id}"}
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    parts.append('Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nabc\r\n')
    return "".join(f"--{_BOUNDARY}\r\n{part}" for part in parts).encode() + f"--{_BOUNDARY}--\r\n".encode()


def requests_of(app_id: str) -> Iterator[tuple[Endpoint, str, bytes, dict[str, str]]]:
    """One of every row, with ids that are the app's own as they are every other app's."""
    for endpoint in ENDPOINTS:
        if endpoint.public:
            continue
        path = endpoint.path.format_map(
            {**IDS, "model": "m", "item_id": "i", "file": "f", "batch": "b", "conversation": "c", "task": "mine"}
        )
        headers = {"idempotency-key": f"one {endpoint.name}"} if endpoint.method == "POST" else {}
        if endpoint.json is None and endpoint.form:
            yield (
                endpoint,
                path,
                _form(app_id),
                {**headers, "content-type": f"multipart/form-data; boundary={_BOUNDARY}"},
            )
        else:
            body = _json(endpoint, app_id) if endpoint.json else b""
            if endpoint.is_task and endpoint.method == "POST":
                body = _task(endpoint, app_id)
            yield endpoint, path, body, {**headers, "content-type": "application/json"}


async def own(store: RecordingStore, app_id: str) -> None:
    """Give an app its objects back, whatever it has deleted."""
    for name, kind in OBJECTS_IN_PATHS.items():
        await store.behind.put(
            Key(f"apps/{app_id}/objects/{kind}", IDS[name]), {"created_at_ns": 1, "upstream": "openai"}
        )
