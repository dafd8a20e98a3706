"""What a request costs in the store: how many operations, as the core makes them and as they reach each store's server,
and how long the ledger's item is.

`pytest -s` shows the lengths, which docs/limits.md has.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import cosmos_item
import dynamodb_item
import firestore_item
import metered_upstream
from core import ledger_item
from core.admin import Admin
from core.gateway import Gateway
from core.http import Request
from core.ports import App, Change, Key, Limits, Outcome, Store, Value
from core.settings import Settings
from core.usage import Usage
from metered_upstream import MeteredUpstream
from missing import Missing
from store_deployments import STORES, StoreDeployment

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

_BUDGET = Limits(total_nano_usd=10**12)
_ALL_LIMITS = Limits(
    requests_per_minute=1000,
    tokens_per_minute=10**7,
    day_nano_usd=10**12,
    month_nano_usd=10**12,
    total_nano_usd=10**12,
)


class _CountingStore:
    """A store whose verbs are counted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.verbs: Counter[str] = Counter()

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        self.verbs["add_within"] += 1
        return await self._store.add_within(key, change, expires_at=expires_at)

    async def get(self, key: Key) -> Value | None:
        self.verbs["get"] += 1
        return await self._store.get(key)

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        self.verbs["put"] += 1
        return await self._store.put(key, value, if_absent=if_absent, expires_at=expires_at)

    def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        self.verbs["list"] += 1
        return self._store.list(partition)

    async def delete(self, key: Key) -> bool:
        self.verbs["delete"] += 1
        return await self._store.delete(key)


class _Wire:
    """A relay of bytes to a store's server, which counts the requests that pass.

    Each request of these clients begins with its method, at the beginning of what is read: none is sent before the one
    before it is answered.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = parts.hostname, parts.port
        self.requests: Counter[str] = Counter()
        self._passing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    @asynccontextmanager
    async def to(cls, target: str) -> AsyncIterator[_Wire]:
        wire = cls(target)
        wire._server = await asyncio.start_server(wire._relay, "127.0.0.1", 0)
        try:
            yield wire
        finally:
            wire._server.close()
            for task in wire._passing:
                task.cancel()
            await asyncio.gather(*wire._passing, return_exceptions=True)

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _relay(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        server, to_server = await asyncio.open_connection(*self._target)
        back = asyncio.create_task(_pump(server, to_client))
        try:
            while data := await client.read(2**20):
                method = data.partition(b" ")[0]
                if method in (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"):
                    self.requests[method.decode()] += 1
                to_server.write(data)
        except (ConnectionError, asyncio.CancelledError):  # cancelled: the test is over
            pass
        finally:
            back.cancel()
            to_server.close()
            to_client.close()
            self._passing.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**20):
        writer.write(data)


@pytest.fixture(scope="module", params=list(STORES))
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreDeployment]:
    try:
        with STORES[request.param](tmp_path_factory.mktemp(request.param)) as deployment:
            yield deployment
    except Missing as missing:
        pytest.skip(str(missing))


@dataclass(frozen=True, slots=True)
class _Service:
    gateway: Gateway
    store: _CountingStore
    wire: _Wire | None
    key: str

    async def call(self, *, stream: bool = False) -> None:
        asked = {"id": secrets.token_hex(4), "does": metered_upstream.ANSWERS, "takes_seconds": 0}
        used = {"input": 20, "cached": 5, "output": 30}
        content = {
            "model": "m",
            "messages": [{"role": "user", "content": json.dumps(asked | used)}],
            "max_completion_tokens": 50,
            "stream": stream,
        }
        headers = {"authorization": f"Bearer {self.key}"}
        request = Request("POST", "/v1/chat/completions", headers=headers, body=json.dumps(content).encode())
        response = await self.gateway.handle(request)
        assert response.status == 200
        if not isinstance(response.body, bytes):
            async for _ in response.body:
                pass

    def operations(self) -> tuple[Mapping[str, int], int | None]:
        """Those since this was asked last: of the core, and as requests that reached the server."""
        verbs = dict(self.store.verbs)
        self.store.verbs.clear()
        if self.wire is None:
            return verbs, None
        requests = self.wire.requests.total()
        self.wire.requests.clear()
        return verbs, requests


@asynccontextmanager
async def _service(deployment: StoreDeployment, folder: Path, limits: Limits) -> AsyncIterator[_Service]:
    config = folder / "trefoil.toml"
    config.write_text(f"[upstreams.openai]\n{metered_upstream.PRICES}")
    app = App(id=f"app-{secrets.token_hex(4)}", created_at=0, limits=limits)
    async with deployment.opened() as store:
        key = await Admin(store).new_key(app.id)
        await store.put(App.key(app.id), app.model_dump())
    async with MeteredUpstream.running() as upstream, _wired(deployment) as (wired, wire):
        environ = {"OPENAI_API_KEY": "sk", "TREFOIL_CONFIG": str(config), "TREFOIL_UPSTREAM_URL": upstream.url}
        async with wired.opened() as store:
            counting = _CountingStore(store)
            gateway = Gateway(Settings.load(environ), counting)
            yield _Service(gateway, counting, wire, key)
            await gateway.close()


@asynccontextmanager
async def _wired(deployment: StoreDeployment) -> AsyncIterator[tuple[StoreDeployment, _Wire | None]]:
    """The same with a relay on its way, if there is a way."""
    environ = deployment.environ
    if deployment.name == "dynamodb":
        target = environ["AWS_ENDPOINT_URL_DYNAMODB"]
    elif deployment.name == "firestore":
        target = f"http://{environ['FIRESTORE_EMULATOR_HOST']}"
    elif deployment.name == "cosmos":
        target = deployment.setting.removeprefix("cosmos:")
    else:
        yield deployment, None
        return
    async with _Wire.to(target) as wire:
        address = urlsplit(target).netloc
        passed = {name: value.replace(address, wire.address) for name, value in environ.items()}
        yield replace(deployment, setting=deployment.setting.replace(address, wire.address), environ=passed), wire


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("limits", [_BUDGET, _ALL_LIMITS], ids=["a budget", "all limits"])
async def test_a_request_of_an_app_with_limits_is_two_writes(
    deployment: StoreDeployment, tmp_path: Path, limits: Limits, shards: int
) -> None:
    limits = limits.model_copy(update={"shards": shards})
    async with _service(deployment, tmp_path, limits) as service:
        await service.call()
        verbs, _ = service.operations()
        assert verbs == {"get": 2, "add_within": 2}  # the key and its app, which are then known for a while
        seen = []
        for number in range(12):
            await service.call(stream=number % 2 == 1)
            seen.append(service.operations())
        # A server is asked more than once where an item, or a counter that is bounded, is new: with each window.
        assert all(verbs == {"add_within": 2} for verbs, _ in seen)
        if service.wire is not None:
            assert Counter(requests for _, requests in seen).most_common(1)[0][0] == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_of_an_app_without_limits_is_one_write(
    deployment: StoreDeployment, tmp_path: Path, stream: bool
) -> None:
    async with _service(deployment, tmp_path, Limits()) as service:
        await service.call(stream=stream)
        assert service.operations()[0] == {"get": 2, "add_within": 1}
        await service.call(stream=stream)
        assert service.operations() == ({"add_within": 1}, None if service.wire is None else 1)


def _ledger(rows: int, standing: int) -> Value:
    """An item as it stands at the end of a busy day, with all limits."""
    day, minute = "2026-11-25", 1_795_600_000 // 60
    counters: dict[str, int] = {f"d/{day}": 10**9, f"mo/{day[:7]}": 10**10, "all": 10**11}
    counters |= {f"m/{minute - n}/{kind}": 10**4 for n in range(4) for kind in "rt"}
    used = Usage(input_tokens=10**7, cached_input_tokens=10**6, output_tokens=10**6)
    for number in range(rows):
        model = f"gpt-4o-mini-2024-07-{number:02}"
        counters |= ledger_item.usage_amounts(day, "chat.completions.create", model, used, 10**9, 10**4)
    marks = {
        f"{ledger_item.RESERVATION}{number:016x}": ledger_item.reservation_mark(
            1_795_600_000, "chat.completions.create", "gpt-4o-mini-2024-07-18", 20_000, 12_345_678
        )
        for number in range(standing)
    }
    return {"counters": counters, "marks": marks}


@pytest.mark.parametrize("standing", [0, 10, 50])
@pytest.mark.parametrize("rows", [1, 5, 20])
def test_the_ledger_s_item_stays_short(rows: int, standing: int) -> None:
    sizes = _sizes(_ledger(rows, standing))
    print(f"\n{rows} rows, {standing} reservations: {sizes} bytes")
    assert max(sizes.values()) <= 1200 + 500 * rows + 300 * standing


def _sizes(value: Value) -> Mapping[str, int]:
    """What an item is charged for, in bytes, by each store's own rule."""
    key = ledger_item.key("web-shop", 0)
    marks = {
        f"{dynamodb_item.MARK}{name}": dynamodb_item.mark(said, write="0" * 16) for name, said in value["marks"].items()
    }
    return {
        "dynamodb": _dynamodb_bytes(
            {**dynamodb_item.place(key), **dynamodb_item.contents(value), **marks, "expires_at": {"NULL": True}}
        ),
        "cosmos": len(json.dumps(cosmos_item.make(key, value, expires_at=None, now=0), separators=(",", ":"))),
        "firestore": _firestore_bytes(value),
    }


def _dynamodb_bytes(item: Mapping[str, Mapping[str, Any]]) -> int:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"""

    def size(attribute: Mapping[str, Any]) -> int:
        [(kind, content)] = attribute.items()
        if kind == "M":
            return 3 + sum(1 + len(name.encode()) + size(inner) for name, inner in content.items())
        # Of a number, each two significant digits are a byte, and there is one more.
        return -(-len(content.strip("0")) // 2) + 1 if kind == "N" else len(content.encode()) if kind == "S" else 1

    return sum(len(name.encode()) + size(attribute) for name, attribute in item.items())


def _firestore_bytes(value: Value) -> int:
    """https://firebase.google.com/docs/firestore/storage-size, less the document's name."""

    def size(field: Mapping[str, Any]) -> int:
        [(kind, content)] = field.items()
        if kind == "mapValue":
            return 32 + fields_size(content["fields"])
        if kind == "arrayValue":
            return sum(map(size, content["values"]))
        return len(content.encode()) + 1 if kind == "stringValue" else 8

    def fields_size(fields: Mapping[str, Any]) -> int:
        return sum(len(name.encode()) + 1 + size(field) for name, field in fields.items())

    writers = tuple(f"{number:012x}" for number in range(16))
    return 32 + fields_size(firestore_item.to_fields(firestore_item.Item(value, writers=writers)))
