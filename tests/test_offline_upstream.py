"""The offline upstream on real sockets, asked by the real openai client, and by plain HTTP where that hides much."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import quote

import openai
import pydantic
import pytest

from local.offline_upstream import running
from offline_client import Upstream

_TEXT = (
    "This is a canned answer from Trefoil's offline upstream; no model was asked. "
    "You wrote: “Grüß dich, 世界”. (naïve café — 漢字 🍀)"
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.started() as started:
        yield started


def _stream(upstream: Upstream, model: str) -> openai.Stream[Any]:
    stream: openai.Stream[Any] = upstream.client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Grüß dich, 世界"}], stream=True
    )
    return stream


def test_the_client_reads_a_plain_answer(upstream: Upstream) -> None:
    completion = upstream.client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Grüß dich, 世界"}]
    )
    assert completion.choices[0].message.content == _TEXT
    assert completion.usage is not None
    assert completion.usage.total_tokens == 46
    assert str(completion._request_id).startswith("req_offline")


@pytest.mark.parametrize("directives", ["", "crlf", "comments", "split", "crlf;comments;split"])
def test_the_client_reads_a_stream_however_it_is_framed(upstream: Upstream, directives: str) -> None:
    with _stream(upstream, f"offline;{directives}") as stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == _TEXT


def test_the_async_client_reads_many_streams_at_once(upstream: Upstream) -> None:
    async def one(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(
            model="offline;pace=1", messages=[{"role": "user", "content": "Grüß dich, 世界"}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def many() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{upstream.origin}/v1", api_key="k", max_retries=0) as client:
            return await asyncio.gather(*(one(client) for _ in range(20)))

    assert asyncio.run(many()) == [_TEXT] * 20


class Place(pydantic.BaseModel):
    city: str
    population: int = pydantic.Field(gt=0)
    tags: list[str]
    kind: Literal["village", "town"]
    twin: Place | None


def test_parse_gives_a_model_of_the_schema(upstream: Upstream) -> None:
    parsed = upstream.client.chat.completions.parse(
        model="gpt-4o", messages=[{"role": "user", "content": "where?"}], response_format=Place
    )
    inner = Place(city="canned city 🍀", population=1, tags=["canned tags 🍀"], kind="village", twin=None)
    assert parsed.choices[0].message.parsed == inner.model_copy(update={"twin": inner})


def test_the_stream_helper_follows_tool_calls(upstream: Upstream) -> None:
    with upstream.client.chat.completions.stream(
        model="gpt-4o",
        messages=[{"role": "user", "content": "find_place and then find_home"}],
        tools=[openai.pydantic_function_tool(Place, name=name) for name in ("find_place", "find_home")],
    ) as stream:
        done = [event.name for event in stream if event.type == "tool_calls.function.arguments.done"]
        choice = stream.get_final_completion().choices[0]
    assert done == ["find_place", "find_home"]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert [call.function.name for call in choice.message.tool_calls] == done
    assert all(isinstance(call.function.parsed_arguments, Place) for call in choice.message.tool_calls)


def test_models_are_listed_and_retrieved(upstream: Upstream) -> None:
    names = [model.id for model in upstream.client.models.list()]
    assert {"offline", "gpt-4o", "text-embedding-3-small"} <= set(names)
    assert [upstream.client.models.retrieve(name).id for name in names] == names
    with pytest.raises(openai.NotFoundError) as error:
        upstream.client.models.retrieve("gpt-0")
    assert error.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("directives", "error", "chunks", "outcome"),
    [
        pytest.param("cut=3", openai.APIConnectionError, 3, "cut", id="cut"),
        pytest.param("cut=3;midevent", openai.APIConnectionError, 3, "cut", id="cut in an event"),
        pytest.param("cut=0", openai.APIConnectionError, 0, "cut", id="cut at once"),
        pytest.param("drop", openai.APIConnectionError, 0, "cut", id="drop"),
        pytest.param("error=2", openai.APIError, 2, "answered", id="an error in the stream"),
        pytest.param("end=2", None, 2, "answered", id="no DONE"),
        pytest.param("garbage", UnicodeDecodeError, 0, "answered", id="garbage"),
        pytest.param("empty", None, 0, "answered", id="empty"),
        pytest.param("html", None, 0, "answered", id="html"),
    ],
)
def test_a_stream_that_goes_wrong(
    upstream: Upstream, directives: str, error: type[Exception] | None, chunks: int, outcome: str
) -> None:
    model, seen = f"offline;{directives};tag=wrong", list[Any]()
    try:
        with _stream(upstream, model) as stream:
            seen.extend(stream)
        raised = None
    except Exception as one:
        raised = type(one)
    assert (raised, len(seen), upstream.ended(model)["outcome"]) == (error, chunks, outcome)


@pytest.mark.parametrize("directives", ["cut", "cut;big=200", "drop"])
def test_a_plain_answer_that_is_cut_raises(upstream: Upstream, directives: str) -> None:
    with pytest.raises(openai.APIConnectionError):
        upstream.client.chat.completions.create(
            model=f"offline;{directives}", messages=[{"role": "user", "content": "x"}]
        )


@pytest.mark.parametrize(
    ("directives", "error", "code"),
    [
        ("status=400", openai.BadRequestError, None),
        ("status=401", openai.AuthenticationError, "invalid_api_key"),
        ("status=403", openai.PermissionDeniedError, "model_access_denied"),
        ("status=404", openai.NotFoundError, "model_not_found"),
        ("status=409", openai.ConflictError, "conflict"),
        ("status=422", openai.UnprocessableEntityError, "unprocessable_entity"),
        ("status=429", openai.RateLimitError, "rate_limit_exceeded"),
        ("status=429;code=insufficient_quota", openai.RateLimitError, "insufficient_quota"),
        ("status=500", openai.InternalServerError, None),
        ("status=503;html", openai.InternalServerError, None),
    ],
)
def test_a_status_is_the_clients_own_exception(
    upstream: Upstream, directives: str, error: type[openai.APIStatusError], code: str | None
) -> None:
    with pytest.raises(error) as raised:
        _stream(upstream, f"offline;{directives};retry-after=7")
    assert (raised.value.code, raised.value.response.headers["retry-after"]) == (code, "7")


def test_times_ends_the_misbehaviour_so_a_retry_succeeds(upstream: Upstream) -> None:
    model = "offline;status=503;times=2;tag=retry"
    assert [upstream.chat(model).status for _ in range(4)] == [503, 503, 200, 200]


def test_a_gate_lets_one_chunk_through_at_a_time(upstream: Upstream) -> None:
    model = "offline;gate=stream;tag=gate"
    with _stream(upstream, model) as stream:
        chunks = iter(stream)
        for sent in (1, 2, 3):
            next(chunks)
            (entry,) = upstream.ask("GET", f"/offline/requests?model={quote(model)}").json
            assert (entry["chunks_sent"], entry["outcome"]) == (sent, "open")
            upstream.open_gate("stream")
        upstream.open_gate("stream", 100)
        list(chunks)
    assert upstream.ended(model)["outcome"] == "answered"


@pytest.mark.parametrize("directives", ["hang=1", "pace=60000", "gate=never", "big=4000"])
def test_a_client_that_leaves_a_stream_is_noticed(upstream: Upstream, directives: str) -> None:
    model = f"offline;{directives};tag=left"
    stream = _stream(upstream, model)
    next(iter(stream))
    stream.close()
    assert upstream.ended(model)["outcome"] == "client left"


@pytest.mark.parametrize("directives", ["hang", "first=60000", "gate=never"])
def test_a_client_that_gives_up_before_the_first_byte_is_noticed(upstream: Upstream, directives: str) -> None:
    model = f"offline;{directives};tag=gave-up"
    with pytest.raises(openai.APITimeoutError):
        upstream.client.with_options(timeout=0.1).chat.completions.create(
            model=model, messages=[{"role": "user", "content": "x"}]
        )
    ended = upstream.ended(model)
    assert (ended["outcome"], ended["chunks_sent"], ended["status"]) == ("client left", 0, None)


def test_big_gzip_and_nousage_shape_a_plain_answer(upstream: Upstream) -> None:
    plain = upstream.chat("offline;big=100;nousage")
    assert 100 * 1024 < len(plain.body) < 110 * 1024
    assert "usage" not in plain.json
    assert upstream.chat("offline;big=100;gzip", accept_encoding="gzip").headers["content-encoding"] == "gzip"
    assert (
        upstream.client.chat.completions.create(
            model="offline;gzip=force", messages=[{"role": "user", "content": "Grüß dich, 世界"}]
        )
        .choices[0]
        .message.content
        == _TEXT
    )


def test_the_header_speaks_as_the_models_name_does(upstream: Upstream) -> None:
    assert upstream.chat("gpt-4o", x_offline="status=502").status == 502
    assert upstream.ask("GET", "/v1/models", x_offline="status=503").status == 503
    assert upstream.chat("gpt-4o;status=429", x_offline="status=500").status == 500


def test_the_log_holds_what_was_sent(upstream: Upstream) -> None:
    body = json.dumps({"model": "gpt-4o;tag=log", "new_parameter": "漢字"}, ensure_ascii=False).encode()
    answer = upstream.ask("POST", "/v1/chat/completions?a=%20b&a=c", body, X_Odd="é")
    entry = upstream.ended("gpt-4o;tag=log")
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert ["x-odd", "é"] in entry["headers"]
    assert {name: entry[name] for name in ("method", "path", "query", "body", "status", "outcome", "chunks_sent")} == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "query": "a=%20b&a=c",
        "body": body.decode(),
        "status": 400,
        "outcome": "answered",
        "chunks_sent": 1,
    }


def test_answers_carry_the_services_own_headers(upstream: Upstream) -> None:
    headers = upstream.chat("gpt-4o").headers
    assert (headers["openai-organization"], headers["openai-version"]) == ("offline-org", "2020-10-01")
    assert {"x-request-id", "openai-processing-ms", "x-ratelimit-remaining-tokens", "set-cookie"} <= headers.keys()


_CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        (b"", 400, None, None),
        (b"{", 400, None, None),
        (b"[]", 400, None, None),
        (b'{"model": "\xff"}', 400, None, None),
        (b'{"model": "gpt-4o", "user": "\\ud800"}', 400, None, None),
        (b'{"model": "gpt-4o", "seed": NaN}', 400, None, None),
        (b"[" * 100_000, 400, None, None),
        ({}, 400, None, None),
        ({**_CHAT, "model": 1}, 400, "model", "invalid_type"),
        ({**_CHAT, "model": "gpt-0"}, 404, None, "model_not_found"),
        ({**_CHAT, "model": "offline;what"}, 400, "model", "invalid_directive"),
        ({"model": "gpt-4o"}, 400, "messages", "missing_required_parameter"),
        ({**_CHAT, "messages": "x"}, 400, "messages", "invalid_type"),
        ({**_CHAT, "messages": []}, 400, "messages", "empty_array"),
        ({**_CHAT, "messages": ["x"]}, 400, "messages[0]", "invalid_type"),
        ({**_CHAT, "messages": [{"content": "x"}]}, 400, "messages[0].role", "missing_required_parameter"),
        ({**_CHAT, "messages": [{"role": "x", "content": "x"}]}, 400, "messages[0].role", "invalid_value"),
        ({**_CHAT, "messages": [{"role": "user", "content": 1}]}, 400, "messages[0].content", "invalid_type"),
        (
            {**_CHAT, "messages": [{"role": "user", "content": [{"type": "x"}]}]},
            400,
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            {**_CHAT, "messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}]},
            400,
            "messages.[0].role",
            None,
        ),
        ({**_CHAT, "temperature": 2.1}, 400, "temperature", "decimal_above_max_value"),
        ({**_CHAT, "temperature": "1"}, 400, "temperature", "invalid_type"),
        ({**_CHAT, "n": 0}, 400, "n", "integer_below_min_value"),
        ({**_CHAT, "n": 129}, 400, "n", "integer_above_max_value"),
        ({**_CHAT, "n": True}, 400, "n", "invalid_type"),
        ({**_CHAT, "max_tokens": 0}, 400, "max_tokens", "integer_below_min_value"),
        ({**_CHAT, "stop": list("abcde")}, 400, "stop", "array_above_max_length"),
        ({**_CHAT, "stream": "yes"}, 400, "stream", "invalid_type"),
        ({**_CHAT, "stream_options": {"include_usage": True}}, 400, "stream_options", None),
        ({**_CHAT, "top_logprobs": 1}, 400, "top_logprobs", None),
        ({**_CHAT, "tool_choice": "auto"}, 400, "tool_choice", None),
        ({**_CHAT, "tools": [{}]}, 400, "tools[0].type", "missing_required_parameter"),
        ({**_CHAT, "response_format": {"type": "json_object"}}, 400, "messages", None),
        ({**_CHAT, "response_format": {"type": "xml"}}, 400, "response_format.type", "invalid_value"),
        ({**_CHAT, "model": "gpt-5", "max_tokens": 9}, 400, "max_tokens", "unsupported_parameter"),
        ({**_CHAT, "model": "o4-mini", "temperature": 0}, 400, "temperature", "unsupported_value"),
    ],
)
def test_a_bad_request_is_refused_as_the_service_does(
    upstream: Upstream, body: object, status: int, param: str | None, code: str | None
) -> None:
    answer = upstream.ask("POST", "/v1/chat/completions", body)
    error = answer.json["error"]
    assert answer.status == status
    assert error == {"message": error["message"], "type": "invalid_request_error", "param": param, "code": code}


@pytest.mark.parametrize(
    "extra",
    [
        {"temperature": None, "stop": None, "tools": None, "metadata": {"a": "b"}, "store": True, "brand_new": [1]},
        {"model": "gpt-4o-2024-08-06"},
        {"model": "offline-anything"},
        {"model": "gpt-5", "temperature": 1, "max_completion_tokens": 5},
        {"messages": [{"role": "developer", "content": "x"}]},
    ],
)
def test_what_the_service_takes_is_taken(upstream: Upstream, extra: dict[str, Any]) -> None:
    assert upstream.ask("POST", "/v1/chat/completions", {**_CHAT, **extra}).status == 200


@pytest.mark.parametrize(
    ("method", "path", "authorization", "status", "code"),
    [
        ("GET", "/v1/models", "", 401, None),
        ("GET", "/v1/models", "Basic a", 401, None),
        ("GET", "/v1/models", "Bearer ", 401, None),
        ("GET", "/v1/models", "Bearer sk-invalid", 401, "invalid_api_key"),
        ("GET", "/v1/models", "bearer k", 200, None),
        ("GET", "/v1/nothing", "Bearer k", 404, None),
        ("GET", "/", "", 404, None),
        ("GET", "/offline/nothing", "", 404, None),
        ("PUT", "/v1/chat/completions", "Bearer k", 405, "method_not_supported"),
        ("DELETE", "/v1/models", "Bearer k", 405, "method_not_supported"),
        ("GET", "/healthz", "", 200, None),
    ],
)
def test_keys_paths_and_methods(
    upstream: Upstream, method: str, path: str, authorization: str, status: int, code: str | None
) -> None:
    answer = upstream.ask(method, path, authorization=authorization)
    assert (answer.status, answer.json.get("error", {}).get("code")) == (status, code)


def test_forgetting_clears_the_log_but_not_the_count() -> None:
    with running() as origin, openai.OpenAI(base_url=f"{origin}/v1", api_key="k") as client:
        fresh = Upstream(origin, client)
        fresh.chat("gpt-4o")
        assert fresh.ask("DELETE", "/offline/requests").json == {"cleared": True}
        assert fresh.ask("GET", "/offline/requests").json == []
        fresh.chat("gpt-4o")
        assert [entry["sequence"] for entry in fresh.ask("GET", "/offline/requests").json] == [2]


def test_the_server_ends_at_once_though_a_stream_hangs() -> None:
    with running() as origin, openai.OpenAI(base_url=f"{origin}/v1", api_key="k", max_retries=0) as client:
        stream = iter(_stream(Upstream(origin, client), "offline;hang=1"))
        next(stream)
    with pytest.raises(openai.APIConnectionError):
        next(stream)


def test_the_command_says_where_it_listens_and_a_taken_port_is_one_line() -> None:
    command = [sys.executable, "-m", "local.offline_upstream", "--port"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = subprocess.run([*command, port], capture_output=True, text=True, timeout=15, check=False)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    with subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("offline upstream: http://127.0.0.1:")
        with openai.OpenAI(base_url=line.split()[2], api_key="k") as client:
            assert client.models.retrieve("offline").owned_by == "trefoil"
        process.terminate()
