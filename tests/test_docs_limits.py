"""docs/limits.md: each of its answers is what a gateway answers, each of its tables is computed anew, each of its
settings loads."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai._constants import MAX_RETRY_AFTER_DELAY

import firestore_counters
import store_costs as costs
from core import bounds, command_line, ledger, manage_schemas, settlements, usage_archive, usage_report
from core.admin import Admin
from core.app_deletion import LONGEST_REQUEST_SECONDS
from core.books import Books
from core.gateway import Gateway
from core.http import Request, Response
from core.ledger_item import Standing
from core.meter import Meter
from core.ports import App, Change, Key, Limits, Outcome, StoreError, Value
from core.price import Price
from core.prices import Prices
from core.settings import Settings
from core.shards import MOST_SHARDS
from core.sqlite_store import SqliteStore
from core.usage import Usage
from local.staging import REPOSITORY
from manual_clock import ManualClock
from scripted_upstream import Exchange, Script, ScriptedUpstream, plain

pytestmark = pytest.mark.anyio

_PAGE = (REPOSITORY / "docs" / "limits.md").read_text("utf-8")
_BLOCKS = dict(re.findall(r"<!-- ([a-z-]+) -->\n```[a-z]+\n(.*?)```", _PAGE, re.DOTALL))
_AT = 1_795_629_759
"""2026-11-25 18:02:39 UTC: the page's now."""
_ANSWER_USAGE = {"prompt_tokens": 1200, "completion_tokens": 300}
_ANSWER = json.dumps({"id": "chatcmpl-1", "choices": [], "usage": _ANSWER_USAGE}).encode()
_JSON = "content-type: application/json"
_PLAIN = plain("200 OK", _ANSWER, _JSON)
_FAILING = plain("500 Oh", b'{"error":{}}', _JSON)
_TIMES = "\N{MULTIPLICATION SIGN}"
_ID = re.compile(r"[0-9a-f]{16}")
_CENT = 10_000_000
_DOLLAR = 100 * _CENT


class _WatchedStore(SqliteStore):
    """Counts what it is asked for, and fails when told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads = 0
        self.writes = 0
        self.works = True

    async def get(self, key: Key) -> Value | None:
        self.reads += 1
        return await super().get(key)

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        self.writes += 1
        return await super().put(key, value, if_absent=if_absent, expires_at=expires_at)

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        self.writes += 1
        if not self.works:
            raise StoreError("it is down")
        return await super().add_within(key, change, expires_at=expires_at)


@dataclass(slots=True)
class _Service:
    gateway: Gateway
    store: _WatchedStore
    app: App
    key: str
    clock: ManualClock
    upstream: ScriptedUpstream

    async def call(self, path: str = "/chat/completions", *, method: str = "POST", **fields: Any) -> Response:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        headers |= fields.pop("headers", {})
        body = json.dumps({"model": "gpt-4o-mini", "messages": _messages(), **fields}) if method == "POST" else ""
        return await self.gateway.handle(Request(method, f"/v1{path}", headers=headers, body=body.encode()))

    async def operations(self, path: str = "/chat/completions", **fields: Any) -> tuple[int, int]:
        """So many reads and writes one call takes."""
        reads, writes = self.store.reads, self.store.writes
        await self.call(path, **fields)
        return self.store.reads - reads, self.store.writes - writes


def _messages() -> list[dict[str, str]]:
    return [{"role": "user", "content": "Hello"}]


@asynccontextmanager
async def _service(
    tmp_path: Path, script: Script = _PLAIN, *, upstream: str = "", **limits: Any
) -> AsyncIterator[_Service]:
    async with ScriptedUpstream.playing(script) as answering:
        file = tmp_path / "trefoil.toml"
        file.write_text(f"[upstreams.openai]\n{upstream}[retry]\nmax_retries = 0\n")
        environ = {"OPENAI_API_KEY": "sk-1", "TREFOIL_UPSTREAM_URL": answering.url, "TREFOIL_CONFIG": str(file)}
        settings = Settings.load(environ)
        store, clock = _WatchedStore(tmp_path / "store.sqlite3"), ManualClock(_AT)
        key = await Admin(store).new_key("web-shop")
        app = App(id="web-shop", created_at=0, limits=Limits.model_validate(limits))
        await store.put(App.key("web-shop"), app.model_dump())
        gateway = Gateway(settings, store)
        gateway._meter = Meter(settings, store, clock=clock)  # the page's own now
        try:
            yield _Service(gateway, store, app, key, clock, answering)
        finally:
            await gateway.close()
            store.close()


def _table(first_cell: str) -> list[list[str]]:
    """The rows of the page's table whose heading begins with that cell, without the heading."""
    [text] = re.findall(rf"^\| {re.escape(first_cell)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", _PAGE, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines()]


def _shown(response: Response) -> tuple[str, dict[str, str], Any]:
    """An answer as the page shows it: without the id of the request, and what says who answered."""
    assert isinstance(response.body, bytes)
    own = {"content-type", "retry-after", "x-should-retry"}
    headers = {
        name: value for name, value in response.headers.items() if name in own or name.startswith("x-ratelimit-")
    }
    return str(response.status), headers, json.loads(response.body)


def _written(block: str) -> tuple[str, dict[str, str], Any]:
    head, _, body = _BLOCKS[block].partition("\n\n")
    first, *lines = head.splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    return first.removeprefix("HTTP/1.1 ").split(" ")[0], headers, json.loads(body) if body else None


@dataclass(frozen=True, slots=True)
class _Refusal:
    """How to bring an answer of the page about."""

    limits: Mapping[str, Any]
    spent_before: int = 0
    """So many calls that are answered."""
    call: Mapping[str, Any] = field(default_factory=dict)
    store_works: bool = True
    tries_again: bool = False
    error: type[openai.APIStatusError] = openai.RateLimitError


_REFUSALS = {
    "requests": _Refusal({"requests_per_minute": 2}, spent_before=2, tries_again=True),
    "tokens": _Refusal({"tokens_per_minute": 18_000}, spent_before=1, tries_again=True),
    "tokens-too-large": _Refusal({"tokens_per_minute": 10_000}),
    "budget-day": _Refusal({"day_nano_usd": _CENT}, spent_before=1),
    "budget-total": _Refusal({"total_nano_usd": _CENT}, spent_before=1),
    "not-priced": _Refusal({"day_nano_usd": _DOLLAR}, call={"model": "our-own-model"}, error=openai.BadRequestError),
    "not-bounded": _Refusal(
        {"day_nano_usd": _DOLLAR},
        call={"path": "/responses", "tools": [{"type": "image_generation"}]},
        error=openai.BadRequestError,
    ),
    "model": _Refusal({"models": ("gpt-4o-mini",)}, call={"model": "o3"}, error=openai.PermissionDeniedError),
    "endpoint": _Refusal(
        {"endpoints": ("chat.completions.*",)},
        call={"path": "/embeddings", "input": "Hello"},
        error=openai.PermissionDeniedError,
    ),
    "store": _Refusal({"day_nano_usd": _DOLLAR}, store_works=False, tries_again=True, error=openai.InternalServerError),
}


@pytest.mark.parametrize("name", _REFUSALS)
async def test_a_gateway_answers_what_the_page_says(name: str, tmp_path: Path) -> None:
    refusal = _REFUSALS[name]
    async with _service(tmp_path, **refusal.limits) as service:
        for _ in range(refusal.spent_before):
            assert (await service.call()).status == 200
        sent = len(service.upstream.exchanges)
        service.store.works = refusal.store_works
        answer = await service.call(**refusal.call)
        assert _shown(answer) == _written(f"refused-{name}")
        assert len(service.upstream.exchanges) == sent


class _Wire(httpx2.AsyncBaseTransport):
    """The network between an SDK and a gateway. A second passes after each request."""

    def __init__(self, service: _Service) -> None:
        self._service = service
        self.answered = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Request(request.method, request.url.path, headers=headers, body=await request.aread())
        answer = await self._service.gateway.handle(asked)
        self.answered += 1
        self._service.clock.now += 1
        self._service.store.works = True
        assert isinstance(answer.body, bytes)
        return httpx2.Response(answer.status, headers=dict(answer.headers), content=answer.body)


@pytest.mark.parametrize("name", _REFUSALS)
async def test_the_sdk_raises_and_tries_again_as_the_page_says(name: str, tmp_path: Path) -> None:
    refusal = _REFUSALS[name]
    fields = dict(refusal.call)
    path = fields.pop("path", "/chat/completions")
    body = {"model": "gpt-4o-mini", "messages": _messages(), **fields}
    said = {row[0].strip("`"): row[1:] for row in _table("refused")}[name]
    assert said == [f"`{refusal.error.__name__}`", "yes" if refusal.tries_again else "no"]
    async with _service(tmp_path, **refusal.limits) as service:
        service.clock.now = _AT // 60 * 60 + 59  # so that a minute's limit is told to be over in a second
        for _ in range(refusal.spent_before):
            await service.call()
        service.store.works = refusal.store_works
        wire = _Wire(service)
        async with openai.AsyncOpenAI(
            api_key=service.key,
            base_url="http://trefoil.test/v1",
            http_client=httpx2.AsyncClient(transport=wire),
        ) as client:
            if refusal.tries_again:
                await client.post(path, cast_to=object, body=body)
                assert wire.answered == 2
            else:
                with pytest.raises(refusal.error):
                    await client.post(path, cast_to=object, body=body)
                assert wire.answered == 1


@pytest.mark.parametrize("name", [name for name, refusal in _REFUSALS.items() if refusal.tries_again])
async def test_the_sdk_raises_what_the_page_says_where_it_does_not_try_again(name: str, tmp_path: Path) -> None:
    refusal = _REFUSALS[name]
    async with _service(tmp_path, **refusal.limits) as service:
        for _ in range(refusal.spent_before):
            await service.call()
        service.store.works = refusal.store_works
        async with openai.AsyncOpenAI(
            api_key=service.key,
            base_url="http://trefoil.test/v1",
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=_Wire(service)),
        ) as client:
            with pytest.raises(refusal.error):
                await client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}]
                )


async def test_an_answer_s_headers_are_the_page_s(tmp_path: Path) -> None:
    async with _service(tmp_path, requests_per_minute=60, tokens_per_minute=100_000) as service:
        _, headers, _ = _shown(await service.call())
        assert ("200", headers) == _written("answered")[:2]


async def test_what_the_page_s_request_reserves_and_costs(tmp_path: Path) -> None:
    reserved: list[Standing] = []

    async def script(exchange: Exchange) -> None:
        reserved.extend(await Books(service.store).standing("web-shop"))
        await _PLAIN(exchange)

    async with _service(tmp_path, script, day_nano_usd=_DOLLAR) as service:
        request = json.loads(_BLOCKS["request"])
        assert request == {"model": "gpt-4o-mini", "messages": _messages()}
        books, spent_before = Books(service.store, clock=service.clock), 0
        variants: list[dict[str, Any]] = [{}, {"max_tokens": 500}]
        for fields, cells in zip(variants, _table("the request"), strict=True):
            await service.call(**fields)
            spent = (await books.spending(service.app)).total_nano_usd
            standing = reserved.pop()
            size = len(json.dumps({**request, **fields}))
            cost = _usd(spent - spent_before, 7)
            assert cells[1:] == [f"{size}", f"{standing.tokens:,}", _usd(standing.nano_usd, 7), cost]
            spent_before = spent


def _cut(*chunks: bytes) -> Script:
    """A stream that breaks off."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for chunk in chunks:
            await exchange.send_chunk(chunk)
        exchange.writer.close()

    return script


async def _dropped(exchange: Exchange) -> None:
    exchange.writer.close()


async def _silent(exchange: Exchange) -> None:
    await exchange.client_left()


_TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
_NOTHING, _REPORTED, _BOUNDED = "nothing", "what upstream reports", "at most"
_ENDS: Mapping[str, tuple[Script, bool, str]] = {
    "an answer, or a stream to its end": (_PLAIN, False, _REPORTED),
    "an error status of upstream's": (
        plain("500 Oh", b'{"error":{}}', "content-type: application/json"),
        False,
        _NOTHING,
    ),
    "no connection to upstream, or one that ends before an answer begins": (_dropped, False, _NOTHING),
    "no answer in time": (_silent, False, _BOUNDED),
    "a stream that is cut off": (_cut(_TEXT), True, _BOUNDED),
}


@pytest.mark.parametrize("end", _ENDS)
async def test_it_is_paid_what_the_page_says(end: str, tmp_path: Path) -> None:
    script, stream, expected = _ENDS[end]
    [said] = [row[1] for row in _table("how it ends") if row[0] == end]
    assert said.startswith(expected)
    silence = "connect_timeout_seconds = 2\nsilence_timeout_seconds = 1\n"
    async with _service(tmp_path, script, upstream=silence, day_nano_usd=_DOLLAR) as service:
        answer = await service.call(stream=stream)
        if not isinstance(answer.body, bytes):
            assert b"upstream_cut_off" in b"".join([chunk async for chunk in answer.body])
        spending = await Books(service.store, clock=service.clock).spending(service.app)
        price = _price("gpt-4o-mini")
        exact = price.cost_nano_usd(Usage(input_tokens=1200, output_tokens=300))
        most = price.most_nano_usd(Usage(input_tokens=1000, output_tokens=16_384))
        assert spending.reserved_nano_usd == 0
        if expected == _BOUNDED:
            assert 0 < spending.total_nano_usd < most
        else:
            assert spending.total_nano_usd == {_NOTHING: 0, _REPORTED: exact}[expected]


async def test_an_app_s_own_usage_is_the_page_s(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"requests_per_minute": 60, "day_nano_usd": _DOLLAR, "month_nano_usd": 20 * _DOLLAR}
    async with _service(tmp_path, **limits) as service:
        await service.call()
        books = Books(service.store, clock=service.clock)
        answer = await usage_report.of_app(service.app, "", books, clock=service.clock)
        assert isinstance(answer.body, bytes)
        told = json.loads(answer.body)
        assert told == json.loads(_BLOCKS["usage"])
        asked = await service.call("/usage", method="GET")
        assert isinstance(asked.body, bytes)
        assert json.loads(asked.body).keys() == told.keys()


async def test_a_postponed_settlement_is_logged_as_the_page_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("trefoil"), "propagate", True)

    async def script(exchange: Exchange) -> None:
        service.store.works = False
        await _PLAIN(exchange)

    async with _service(tmp_path, script, day_nano_usd=_DOLLAR) as service:
        assert (await service.call()).status == 200
        lines = [json.loads(record.message) for record in caplog.records if record.name == "trefoil"]
        [postponed] = [line for line in lines if line["event"] == "settlement_postponed"]
        assert _steady(postponed) == _steady(json.loads(_BLOCKS["postponed"]))


def _steady(value: Any) -> str:
    return _ID.sub("ID", json.dumps(value))


async def test_the_store_is_asked_as_often_as_the_page_says(tmp_path: Path) -> None:
    counted: dict[str, tuple[int, int]] = {}
    async with _service(tmp_path, day_nano_usd=_DOLLAR, requests_per_minute=6) as service:
        counted[
            "the first with its key in a process, and the first after `apps.cache_seconds`"
        ] = await service.operations()
        counted["any later one"] = await service.operations()
        counted["one that costs nothing, such as `GET /v1/models`"] = await service.operations("/models", method="GET")
        counted["refused for what it is: 400, 403, 404"] = await service.operations(model="our-own-model")
        reads, writes = await service.operations(headers={"idempotency-key": "1"})
        counted["with an `Idempotency-Key`, beside"] = (reads, writes - costs.WRITES_PER_REQUEST)
        counted["refused for a limit, with one shard"] = await service.operations(n=128)
    (tmp_path / "four").mkdir()
    async with _service(tmp_path / "four", day_nano_usd=_CENT, shards=4) as service:
        await service.operations(max_tokens=1)
        counted["refused for a limit, with four shards"] = await service.operations(n=2)
    (tmp_path / "free").mkdir()
    async with _service(tmp_path / "free") as service:
        await service.operations()
        counted["of an app without limits"] = await service.operations()
    assert _table("a request") == [[what, str(reads), str(writes)] for what, (reads, writes) in counted.items()]


def test_the_stores_prices_are_the_page_s() -> None:
    assert [row[:3] for row in _table("store")] == [
        ["DynamoDB, on demand, us-east-1", "$0.625 for a million units of 1 KB", "$0.125"],
        ["Cosmos DB, serverless, East US", "$0.25 for a million request units", "the same"],
        ["Firestore, Standard edition, us-central1", "$0.90 for a million documents", "$0.30"],
    ]
    assert (costs.DYNAMODB_WRITE_USD_PER_MILLION, costs.DYNAMODB_READ_USD_PER_MILLION) == (0.625, 0.125)
    assert (costs.COSMOS_USD_PER_MILLION, costs.FIRESTORE_WRITE_USD_PER_MILLION) == (0.25, 0.9)
    assert costs.FIRESTORE_READ_USD_PER_MILLION == 0.3


def test_an_item_is_as_large_as_the_page_says() -> None:
    empty = costs.sizes(costs.ledger())
    row = costs.sizes(costs.ledger(models=2))
    ten = costs.sizes(costs.ledger(standing=10))
    many = ("dynamodb", "cosmos", "firestore")
    each = {store: math.ceil((getattr(ten, store) - getattr(empty, store)) / 10) for store in many}
    most = {
        "dynamodb": costs.DYNAMODB_MOST_BYTES,
        "cosmos": costs.COSMOS_MOST_BYTES,
        "firestore": costs.FIRESTORE_MOST_BYTES,
    }
    assert [cells[1:] for cells in _table("bytes in")] == [
        [
            f"{getattr(empty, store)}",
            f"{getattr(row, store) - getattr(empty, store)}",
            f"{each[store]}",
            f"{(most[store] - getattr(empty, store)) // each[store] // 100 * 100:,}",
        ]
        for store in many
    ]


def test_what_standing_reservations_make_of_a_write() -> None:
    assert _table("standing in the item") == [
        [
            f"{standing}",
            f"{costs.dynamodb_units(standing)}",
            f"{costs.DYNAMODB_UNITS_PER_SECOND // (2 * costs.dynamodb_units(standing))}",
            _cents(costs.dynamodb_usd_per_million(standing)),
            f"{costs.cosmos_units(standing):.2f}",
            f"{int(costs.COSMOS_UNITS_PER_SECOND / (2 * costs.cosmos_units(standing)))}",
            _cents(costs.cosmos_usd_per_million(standing)),
            _cents(costs.firestore_usd_per_million()),
        ]
        for standing in (1, 2, 10, 50, 100, 500)
    ]


def test_what_shards_do_on_dynamodb() -> None:
    table = []
    for shards in (1, 4, 16, 64):
        together = costs.dynamodb_requests_per_second(shards, partitions=1)
        apart = costs.dynamodb_requests_per_second(1, partitions=1) * shards
        twenty = costs.standing(20, shards)
        table.append(
            [f"{shards}", f"{together}", f"{apart:,}", f"{twenty}", _cents(costs.dynamodb_usd_per_million(twenty))]
        )
    assert _table("shards") == table


def test_what_a_month_costs() -> None:
    answered = _price("gpt-4o-mini").cost_nano_usd(Usage(input_tokens=1200, output_tokens=300)) / 10**9
    table = []
    for requests in (100_000, 1_000_000, 10_000_000):
        standing, millions = costs.standing(requests / costs.SECONDS_PER_MONTH), requests / 1_000_000
        usd = (
            millions * costs.dynamodb_usd_per_million(standing),
            millions * costs.cosmos_usd_per_million(standing),
            millions * costs.firestore_usd_per_million(),
            requests * answered,
        )
        table.append([f"{requests:,}", f"{standing}", *map(_cents, usd)])
    assert _table("requests a month") == table


def test_the_page_s_sums_are_right() -> None:
    sums = re.findall(rf"`([+/{_TIMES}\d., ]+)` = \$?(\d[\d,]*(?:\.\d+)?)", _PAGE)
    assert len(sums) >= 8
    for terms, result in sums:
        decimals = len(result.partition(".")[2])
        value = sum(_product(term) for term in re.sub(r"[, ]", "", terms).split("+"))
        assert float(result.replace(",", "")) == pytest.approx(value, abs=0.5 * 10**-decimals), terms


def _product(term: str) -> float:
    first, *others = re.split(rf"([{_TIMES}/])", term)
    product = float(first)
    for sign, factor in zip(others[::2], others[1::2], strict=True):
        product = product * float(factor) if sign == _TIMES else product / float(factor)
    return product


def _settings(text: str, tmp_path: Path) -> Settings:
    file = tmp_path / "trefoil.toml"
    # `[limits]` stands for itself; prices and apps need an upstream beside them.
    file.write_text(text if "[upstreams." in text else f"{text}\n[upstreams.openai]\n")
    return Settings.load({"OPENAI_API_KEY": "sk-1", "AZURE_OPENAI_API_KEY": "a-1", "TREFOIL_CONFIG": str(file)})


def test_each_setting_on_the_page_loads(tmp_path: Path) -> None:
    snippets = re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)
    assert len(snippets) == 3
    for text in snippets:
        _settings(text, tmp_path)
    prices = _settings(_BLOCKS["prices"], tmp_path).prices
    own = Prices(prices)
    deployment = own.find("azure", "my-gpt-4o-mini-deployment")
    assert deployment == own.find("azure", "gpt-4o-mini")
    assert own.find("compatible", "llama-3.3-70b") is not None
    assert Prices({}).find("compatible", "llama-3.3-70b") is None


def test_the_page_s_defaults_are_the_settings(tmp_path: Path) -> None:
    settings = _settings("", tmp_path)
    said = {row[0].strip("`"): row[1] for row in _table("setting")}
    defaults = {name: limit for name, limit in settings.limits.model_dump().items() if name != "body_bytes"}
    assert said == {
        "apps.cache_seconds": "30",
        "apps.when_store_fails": "closed",
        **{f"limits.{name}": f"{value:,}" for name, value in defaults.items()},
    }
    assert (settings.apps.cache_seconds, settings.apps.when_store_fails) == (30, "closed")


def test_a_dear_tier_and_an_unknown_one_are_paid_as_the_page_says() -> None:
    price = _price("gpt-5-mini")
    used = {tier: price.cost_nano_usd(Usage(output_tokens=1_000_000, service_tier=tier)) for tier in price.tiers}
    unknown = price.cost_nano_usd(Usage(output_tokens=1_000_000, service_tier="of-tomorrow"))
    assert unknown == max(used.values())
    assert _table("tier of gpt-5-mini") == [
        ["default", _usd(price.cost_nano_usd(Usage(output_tokens=1_000_000)), 2)],
        *([tier, _usd(amount, 2)] for tier, amount in used.items()),
        ["any other", _usd(unknown, 2)],
    ]


@pytest.mark.parametrize(
    ("sentence", "number"),
    [
        ("usage is kept for {} days", usage_archive._KEPT_SECONDS // 86_400),
        ("Those younger than {} minutes", LONGEST_REQUEST_SECONDS // 60),
        ("over N items, up to {}.", MOST_SHARDS),
        ("a token for each of the body's bytes, {} for the chat's template", bounds._TEMPLATE_TOKENS),
        ("(`max_retries`, {} by default)", openai.DEFAULT_MAX_RETRIES),
        ("says, up to {two} minutes", MAX_RETRY_AFTER_DELAY // 60),
        ("The settlement is tried {three} times", settlements._QUICK_TRIES),
        ("for at most {ten} seconds", int(firestore_counters._PATIENCE_SECONDS)),
        ("each call of a tool and {two} turns more", bounds._TURNS_BESIDE_TOOLS),
        ("(three writes for {eight} counters)", usage_archive._MOST_AT_ONCE),
        ("dropped every {four} minutes", ledger._FEWEST_DROPPED // 2),
    ],
)
def test_the_page_s_numbers_are_the_code_s(sentence: str, number: int) -> None:
    words = {2: "two", 3: "three", 4: "four", 8: "eight", 10: "ten"}
    assert re.sub(r"\{\w+\}", lambda _: words[number], sentence).replace("{}", str(number)) in _PAGE


def test_the_limits_are_called_what_the_page_calls_them() -> None:
    table = _table("option of `app create` and `app set`")
    values = {"`--models`": "gpt-4o*", "`--endpoints`": "responses.*"}
    for option, name, *_ in table:
        for verb in ("create", "set"):
            given = command_line.parse(["app", verb, "web-shop", option.strip("`"), values.get(option, "5")])
            assert vars(given)[name.strip("`")]
    assert {row[1].strip("`") for row in table} == {*manage_schemas._FIELDS} - {"shards"}
    shown = [_written(f"refused-{name}") for name in _REFUSALS]
    refusals = {f"{status} `{body['error']['code']}`" for status, _, body in shown}
    assert [row[0] for row in table if row[3] not in refusals] == ["`--max-output-tokens`"]


@pytest.mark.parametrize(
    "command",
    [
        "usage",
        "reservation list",
        "reservation release ID --refund",
        "settlement replay",
        "app create NAME --shards 4",
        "app disable NAME",
        "app set NAME --shards 4",
        "app enable NAME",
    ],
)
def test_the_page_s_commands_are_commands(command: str) -> None:
    written = command.replace("NAME --shards 4", "--shards N" if "create" in command else "NAME --shards N")
    assert re.search(rf"`(?:python -m core )?{re.escape(written)}(?: < log)?`", _PAGE)
    command_line.parse(command.split())


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", _PAGE)
    assert len(links) > 3
    for link in links:
        assert link.startswith("https://") or (REPOSITORY / "docs" / link).is_file(), link


def _cents(usd: float) -> str:
    """Rounded up to the cent."""
    return f"${math.ceil(round(usd * 100, 6)) / 100:,.2f}"


def _price(model: str) -> Price:
    price = Prices({}).find("openai", model)
    assert price is not None
    return price


def _usd(nano_usd: int, decimals: int) -> str:
    return f"${nano_usd / 10**9:,.{decimals}f}"
