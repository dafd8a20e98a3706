"""What calls cost their apps: the whole core against an upstream of raw bytes, with budgets that hold."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.admin import Admin
from core.books import Books, Spending
from core.gateway import Gateway
from core.http import Request, Response
from core.ledger_item import UsageRow
from core.ports import App, Limits
from core.settings import Settings
from core.sqlite_store import SqliteStore
from scripted_upstream import Exchange, Script, ScriptedUpstream, plain

pytestmark = pytest.mark.anyio

_JSON = "content-type: application/json"
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 4}}
_COST = 6 * 100 + 4 * 50 + 20 * 1000
"""What that costs in nano-dollars, by the prices below."""
_ANSWER = json.dumps({"choices": [], "usage": _USAGE}).encode()
_TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}],"usage":null}\n\n'
_LAST = b'data: {"choices":[],"usage":%s}\n\n' % json.dumps(_USAGE).encode()
_DONE = b"data: [DONE]\n\n"
_BUDGET = 10**9
_TOML = """
[upstreams.openai]
connect_timeout_seconds = 2
silence_timeout_seconds = 1
[upstreams.old]
kind = "compatible"
base_url = "{url}"
reports_stream_usage = false
[retry]
max_retries = 0
[route]
default_upstream = "openai"
[models."both"]
targets = [{{ upstream = "openai", model = "m" }}, {{ upstream = "old", model = "dear" }}]
[models."old"]
targets = [{{ upstream = "old", model = "m" }}]
[prices."m"]
input_usd_per_million = 0.1
cached_input_usd_per_million = 0.05
output_usd_per_million = 1
context_tokens = 100_000
output_tokens = 1000
[prices."dear"]
input_usd_per_million = 1
output_usd_per_million = 10
context_tokens = 100_000
output_tokens = 1000
[prices."endless"]
input_usd_per_million = 1
output_usd_per_million = 10
"""


@dataclass(frozen=True, slots=True)
class Setup:
    gateway: Gateway
    upstream: ScriptedUpstream
    store: SqliteStore
    app: App
    app_key: str

    async def call(
        self,
        path: str = "/v1/chat/completions",
        *,
        method: str = "POST",
        more: Mapping[str, str] | None = None,
        deadline: float | None = None,
        **fields: Any,
    ) -> Response:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields} if method == "POST" else None
        content = json.dumps(body).encode() if body else b""
        headers = {"authorization": f"Bearer {self.app_key}", **(more or {})}
        return await self.gateway.handle(Request(method, path, headers=headers, body=content, deadline=deadline))

    async def spending(self) -> Spending:
        return await Books(self.store).spending(self.app)

    async def usage(self) -> list[UsageRow]:
        return await Books(self.store).usage(self.app.id, "2000-01-01", "2999-01-01")

    async def check_spent(self, nano_usd: int) -> None:
        """Nothing is left reserved, so much is spent, and the usage says the same."""
        assert await self.spending() == (nano_usd, nano_usd, nano_usd, 0)
        assert sum(row.nano_usd for row in await self.usage()) == nano_usd


@asynccontextmanager
async def _setup(tmp_path: Path, script: Script, toml: str = _TOML, **limits: Any) -> AsyncIterator[Setup]:
    async with ScriptedUpstream.playing(script) as upstream:
        file = tmp_path / "trefoil.toml"
        file.write_text(toml.format(url=upstream.url))
        environ = {"OPENAI_API_KEY": "sk-1", "TREFOIL_UPSTREAM_URL": upstream.url, "TREFOIL_CONFIG": str(file)}
        store = SqliteStore(tmp_path / "store.sqlite3")
        key = await Admin(store).new_key("shop")
        app = App(id="shop", created_at=0, limits=Limits.model_validate(limits or {"total_nano_usd": _BUDGET}))
        await store.put(App.key("shop"), app.model_dump())
        gateway = Gateway(Settings.load(environ), store)
        try:
            yield Setup(gateway, upstream, store, app, key)
        finally:
            await gateway.close()
            store.close()


def _streaming(*chunks: bytes, ends: bool = True) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.send(_SSE)
        for chunk in chunks:
            await exchange.send_chunk(chunk)
        if ends:
            await exchange.send(b"0\r\n\r\n")

    return script


async def _streaming_until_left(exchange: Exchange) -> None:
    await exchange.send(_SSE)
    await exchange.send_chunk(_TEXT)
    await exchange.client_left()


async def _silent(exchange: Exchange) -> None:
    await exchange.client_left()


async def _whole(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([chunk async for chunk in response.body])


def _error(response: Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    error: dict[str, Any] = json.loads(response.body)["error"]
    return error


async def test_a_plain_answer_costs_what_upstream_reports(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", _ANSWER, _JSON)) as setup:
        assert (await setup.call()).body == _ANSWER
        await setup.check_spent(_COST)
        [row] = await setup.usage()
        assert row[1:] == ("chat.completions.create", "m", 1, 10, 4, 20, _COST)


async def test_a_stream_s_usage_is_asked_for_and_hidden_from_a_client_that_did_not(tmp_path: Path) -> None:
    async with _setup(tmp_path, _streaming(_TEXT, _LAST, _DONE)) as setup:
        response = await setup.call(stream=True)
        assert await _whole(response) == _TEXT.replace(b',"usage":null', b"") + _DONE
        assert json.loads(setup.upstream.exchanges[0].body)["stream_options"] == {"include_usage": True}
        await setup.check_spent(_COST)


async def test_a_client_that_asks_for_a_stream_s_usage_sees_it(tmp_path: Path) -> None:
    async with _setup(tmp_path, _streaming(_TEXT, _LAST, _DONE)) as setup:
        response = await setup.call(stream=True, stream_options={"include_usage": True})
        assert await _whole(response) == _TEXT + _LAST + _DONE
        await setup.check_spent(_COST)


async def test_an_upstream_that_reports_no_usage_of_streams_is_paid_by_what_came(tmp_path: Path) -> None:
    async with _setup(tmp_path, _streaming(_TEXT, _DONE)) as setup:
        await _whole(await setup.call(model="old", stream=True))
        assert b"stream_options" not in setup.upstream.exchanges[0].body
        spent = (await setup.spending()).total_nano_usd
        assert len("hello") * 1000 < spent < 1000 * 1000
        await setup.check_spent(spent)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", ["400 Bad", "404 No", "429 Slow", "500 Oh", "401 Who"])
async def test_an_error_of_upstream_costs_nothing(tmp_path: Path, status: str, stream: bool) -> None:
    async with _setup(tmp_path, plain(status, b'{"error":{}}', _JSON)) as setup:
        assert (await setup.call(stream=stream)).status >= 400
        await setup.check_spent(0)


async def test_an_upstream_that_nobody_reaches_costs_nothing(tmp_path: Path) -> None:
    async def hang_up(exchange: Exchange) -> None:
        exchange.writer.close()

    async with _setup(tmp_path, hang_up) as setup:
        assert (await setup.call()).status == 502
        await setup.check_spent(0)


async def test_a_stream_that_breaks_off_costs_what_came(tmp_path: Path) -> None:
    async def break_off(exchange: Exchange) -> None:
        await _streaming(_TEXT, _TEXT, ends=False)(exchange)
        exchange.writer.close()

    async with _setup(tmp_path, break_off) as setup:
        assert b"upstream_cut_off" in await _whole(await setup.call(stream=True))
        spent = (await setup.spending()).total_nano_usd
        assert 10 * 1000 <= spent < 1000 * 1000
        await setup.check_spent(spent)


async def test_a_client_that_leaves_a_stream_pays_for_what_came(tmp_path: Path) -> None:
    async with _setup(tmp_path, _streaming_until_left) as setup:
        response = await setup.call(stream=True)
        assert not isinstance(response.body, bytes)
        assert b"hello" in await anext(response.body)
        await response.body.aclose()
        spent = (await setup.spending()).total_nano_usd
        assert 5 * 1000 <= spent < 1000 * 1000
        await setup.check_spent(spent)


async def test_a_client_that_does_not_wait_for_its_answer_pays_for_the_time(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def work(exchange: Exchange) -> None:
        began.set()
        await exchange.client_left()

    async with _setup(tmp_path, work) as setup:
        call = asyncio.ensure_future(setup.call())
        await began.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert call.cancelled()
        spent = (await setup.spending()).total_nano_usd
        assert 0 < spent < 1000 * 1000 + 100_000
        await setup.check_spent(spent)


@pytest.mark.parametrize("seconds", [None, 1.2], ids=["upstream is silent", "the deadline comes"])
async def test_an_answer_that_does_not_come_in_time_is_paid_by_the_time(tmp_path: Path, seconds: float | None) -> None:
    async with _setup(tmp_path, _silent) as setup:
        deadline = None if seconds is None else time.monotonic() + seconds
        assert (await setup.call(deadline=deadline)).status == 504
        spent = (await setup.spending()).total_nano_usd
        assert spent > 0
        await setup.check_spent(spent)


async def test_a_budget_that_cannot_bear_a_request_refuses_it(tmp_path: Path) -> None:
    bound = 1000 * 1000
    async with _setup(tmp_path, plain("200 OK", _ANSWER, _JSON), total_nano_usd=bound) as setup:
        response = await setup.call()
        assert (response.status, _error(response)["code"]) == (429, "insufficient_quota")
        assert setup.upstream.exchanges == []
        assert (await setup.call(max_tokens=500)).status == 200
        await setup.check_spent(_COST)


async def test_an_app_s_cap_of_output_is_written_into_the_request(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", _ANSWER, _JSON), output_tokens=50) as setup:
        await setup.call()
        await setup.call(max_tokens=20)
        await setup.call(max_completion_tokens=900)
        sent = [json.loads(exchange.body) for exchange in setup.upstream.exchanges]
        assert [(one.get("max_tokens"), one.get("max_completion_tokens")) for one in sent] == [
            (None, 50),
            (20, None),
            (None, 50),
        ]


async def test_what_has_no_price_or_no_bound_is_refused_to_an_app_with_a_budget(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", _ANSWER, _JSON)) as setup:
        for model, code in (("unknown", "model_not_priced"), ("endless", "not_bounded")):
            response = await setup.call(model=model)
            assert (response.status, _error(response)["code"], _error(response)["param"]) == (400, code, "model")
        assert (await setup.call(model="endless", max_tokens=10)).status == 200


async def test_an_app_without_limits_may_use_what_has_no_price(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", _ANSWER, _JSON), output_tokens=500) as setup:
        assert (await setup.call(model="unknown")).status == 200
        [row] = await setup.usage()
        assert (row.model, row.requests, row.input_tokens, row.nano_usd) == ("unknown", 1, 10, 0)


async def test_an_alias_reserves_for_its_dearest_target_and_pays_the_one_that_answers(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", _ANSWER, _JSON), total_nano_usd=2_000_000) as setup:
        assert (await setup.call(model="both", max_tokens=500)).status == 429
        assert (await setup.call(model="both", max_tokens=100)).status == 200
        await setup.check_spent(_COST)
        [row] = await setup.usage()
        assert row.model == "both"


async def test_requests_and_tokens_of_a_minute_are_told_and_held(tmp_path: Path) -> None:
    script = plain("200 OK", _ANSWER, _JSON)
    async with _setup(tmp_path, script, requests_per_minute=100, tokens_per_minute=5000) as setup:
        response = await setup.call()
        assert response.headers["x-ratelimit-limit-requests"] == "100"
        assert response.headers["x-ratelimit-remaining-requests"] == "99"
        assert response.headers["x-ratelimit-limit-tokens"] == "5000"
        assert 0 < int(response.headers["x-ratelimit-remaining-tokens"]) < 5000 - 1000
        refused = await setup.call(n=5)
        assert (refused.status, _error(refused)["type"]) == (429, "tokens")


async def test_a_minute_s_requests_are_counted_at_every_endpoint(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", b'{"data":[]}', _JSON), requests_per_minute=3) as setup:
        statuses = [
            (await setup.call("/v1/models", method="GET")).status,
            (await setup.call("/v1/files", method="GET")).status,
            (await setup.call()).status,
            (await setup.call("/v1/models", method="GET")).status,
        ]
        assert statuses in ([200, 200, 200, 429], [200] * 4)  # the last one where a minute has just begun
        assert {row.endpoint for row in await setup.usage()} == {
            "models.list",
            "files.list",
            "chat.completions.create",
        }


async def test_a_response_in_the_background_is_settled_when_it_is_seen_at_its_end(tmp_path: Path) -> None:
    queued = {"id": "resp_1", "background": True, "status": "queued", "usage": None, "output": []}
    done = {**queued, "status": "completed", "usage": {"input_tokens": 10, "output_tokens": 20}}
    answers = [queued, queued, done, done]

    async def script(exchange: Exchange) -> None:
        await plain("200 OK", json.dumps(answers[len(setup.upstream.exchanges) - 1]).encode(), _JSON)(exchange)

    async with _setup(tmp_path, script) as setup:
        await setup.call("/v1/responses", input="hi", background=True)
        assert (await setup.spending()).reserved_nano_usd > 0
        for reserved in (True, False, False):
            await setup.call("/v1/responses/resp_1", method="GET")
            assert ((await setup.spending()).reserved_nano_usd > 0) is reserved
        await setup.check_spent(10 * 100 + 20 * 1000)


async def test_an_answer_that_is_given_again_is_paid_once(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("200 OK", _ANSWER, _JSON)) as setup:
        for _ in range(3):
            assert (await setup.call(more={"idempotency-key": "one"})).body == _ANSWER
        await setup.check_spent(_COST)


async def test_an_app_uses_the_models_and_endpoints_that_are_its_own(tmp_path: Path) -> None:
    listed = json.dumps({"data": [{"id": "m"}, {"id": "dear"}]}).encode()
    script = plain("200 OK", listed, _JSON)
    async with _setup(tmp_path, script, models=["m*"], endpoints=["chat.*", "models.*", "responses.*"]) as setup:
        assert (await setup.call()).status == 200
        response = await setup.call(model="dear")
        assert (response.status, _error(response)["code"]) == (403, "model_not_allowed")
        response = await setup.call("/v1/models/dear", method="GET")
        assert response.status == 403
        response = await setup.call("/v1/files", method="GET")
        assert (response.status, _error(response)["code"]) == (403, "endpoint_not_allowed")
        response = await setup.call("/v1/responses", model=None)
        assert (response.status, _error(response)["param"]) == (400, "model")
        models = json.loads(await _whole(await setup.call("/v1/models", method="GET")))["data"]
        assert [model["id"] for model in models] == ["m"]


async def test_what_no_target_reported_costs_no_more_than_was_reserved(tmp_path: Path) -> None:
    """One target is dear and short, the other cheap and long: the dear one's price is not paid for the long answer."""
    toml = _TOML + '[prices."short"]\ninput_usd_per_million = 1\noutput_usd_per_million = 100\noutput_tokens = 10\n'
    toml += 'context_tokens = 1000\n[models."mixed"]\ntargets = [\n{{ upstream = "openai", model = "m" }},\n'
    toml += '{{ upstream = "old", model = "short" }}]\n'
    async with _setup(tmp_path, _silent, toml=toml, total_nano_usd=3_000_000) as setup:
        assert (await setup.call(model="mixed")).status == 504
        spent = (await setup.spending()).total_nano_usd
        assert 0 < spent <= 3_000_000
        await setup.check_spent(spent)


async def test_who_leaves_a_response_in_the_background_before_it_has_an_id_pays_all_that_it_may_cost(
    tmp_path: Path,
) -> None:
    began = asyncio.Event()

    async def work(exchange: Exchange) -> None:
        began.set()
        await exchange.client_left()

    async with _setup(tmp_path, work) as setup:
        call = asyncio.ensure_future(setup.call("/v1/responses", input="hi", background=True))
        await began.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert (await setup.spending()).total_nano_usd >= 1000 * 1000


@pytest.mark.parametrize(
    ("path", "end", "least", "most"),
    [
        (
            "/v1/responses/resp%5F1",
            {"status": "completed", "usage": {"input_tokens": 10, "output_tokens": 20}},
            21_000,
            21_000,
        ),
        ("/v1/responses/resp_1", {"status": "cancelled"}, 1000, 900_000),
        ("/v1/responses/resp_1", {"status": "failed"}, 0, 0),
        ("DELETE /v1/responses/resp_1", {"deleted": True}, 1_000_000, 1_100_000),
    ],
    ids=["completed", "cancelled", "failed", "deleted"],
)
async def test_no_end_of_a_response_in_the_background_leaves_its_reservation_standing(
    tmp_path: Path, path: str, end: dict[str, Any], least: int, most: int
) -> None:
    queued = {"id": "resp_1", "background": True, "status": "queued", "usage": None, "output": []}
    answers = [queued, {**queued, **end}]

    async def script(exchange: Exchange) -> None:
        await plain("200 OK", json.dumps(answers[len(setup.upstream.exchanges) - 1]).encode(), _JSON)(exchange)

    async with _setup(tmp_path, script) as setup:
        await setup.call("/v1/responses", input="hi", background=True)
        method, _, path = path.rpartition(" ")
        assert (await setup.call(path, method=method or "GET")).status == 200
        spent = (await setup.spending()).total_nano_usd
        assert least <= spent <= most
        await setup.check_spent(spent)


async def test_an_error_page_costs_nothing(tmp_path: Path) -> None:
    async with _setup(tmp_path, plain("413 Too Large", b"<html>", "content-type: text/html")) as setup:
        assert (await setup.call()).status == 413
        await setup.check_spent(0)


async def test_text_after_a_report_is_paid_too(tmp_path: Path) -> None:
    usage = b'{"prompt_tokens":10,"completion_tokens":1}'
    report = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"usage":%s}\n\n' % usage

    async def break_off(exchange: Exchange) -> None:
        await _streaming(report, *[_TEXT] * 20, ends=False)(exchange)
        exchange.writer.close()

    async with _setup(tmp_path, break_off) as setup:
        await _whole(await setup.call(stream=True))
        await setup.check_spent(10 * 100 + (1 + 20 * len("hello")) * 1000)


async def test_a_report_of_nothing_costs_nothing(tmp_path: Path) -> None:
    answer = b'{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}'
    async with _setup(tmp_path, plain("200 OK", answer, _JSON)) as setup:
        await setup.call()
        await setup.check_spent(0)


async def test_an_alias_that_is_asked_for_is_a_request_like_any_other(tmp_path: Path) -> None:
    async with _setup(tmp_path, _silent, requests_per_minute=1) as setup:
        statuses = [(await setup.call("/v1/models/both", method="GET")).status for _ in range(3)]
        assert 429 in statuses
