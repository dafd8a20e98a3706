"""The offline upstream's Responses API, asked by the real client, which checks every answer against OpenAI's types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest

from offline_client import Upstream

_TEXT = (
    "This is a canned answer from Trefoil's offline upstream; no model was asked. "
    "You wrote: “Grüß dich, 世界”. (naïve café — 漢字 🍀)"
)
_ASK: dict[str, Any] = {"model": "gpt-4o", "input": "Grüß dich, 世界"}
_WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.started() as started:
        yield started


def test_a_plain_response_is_whole_and_stored(upstream: Upstream) -> None:
    made = upstream.client.responses.create(**_ASK, instructions="Be brief.", metadata={"a": "b"})
    assert made.output_text == _TEXT
    assert (made.status, made.instructions, made.metadata) == ("completed", "Be brief.", {"a": "b"})
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    assert upstream.client.responses.retrieve(made.id) == made
    (item,) = upstream.client.responses.input_items.list(made.id)
    assert item.id.startswith("msg_")
    upstream.client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        upstream.client.responses.retrieve(made.id)


def test_ids_are_unique_and_content_is_not(upstream: Upstream) -> None:
    one, two = (upstream.client.responses.create(**_ASK) for _ in range(2))
    assert one.id != two.id
    assert one.output[0].id != two.output[0].id
    assert one.output_text == two.output_text


def test_a_stream_has_the_services_sequence_of_events(upstream: Upstream) -> None:
    events = upstream.events("POST", "/v1/responses", {**_ASK, "stream": True})
    kinds = [event["type"].removeprefix("response.") for event in events]
    deltas = kinds.count("output_text.delta")
    assert kinds == [
        "created", "in_progress", "output_item.added", "content_part.added", *["output_text.delta"] * deltas,
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(event["delta"] for event in events if "delta" in event) == _TEXT
    (entry,) = upstream.ask("GET", f"/v1/responses/{events[-1]['response']['id']}").json["output"]
    assert entry == events[-1]["response"]["output"][0]


@pytest.mark.parametrize("directives", ["", "crlf", "comments", "split", "crlf;comments;split"])
def test_the_stream_helper_reads_it_however_it_is_framed(upstream: Upstream, directives: str) -> None:
    with upstream.client.responses.stream(model=f"offline;{directives}", input=_ASK["input"]) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == _TEXT


def test_a_tool_is_called_and_its_result_is_read(upstream: Upstream) -> None:
    ask: dict[str, Any] = {"model": "gpt-4o", "tools": [_WEATHER]}
    kinds = [event["type"] for event in upstream.events(
        "POST", "/v1/responses", {**ask, "input": "weather?", "stream": True})]  # fmt: skip
    assert "response.function_call_arguments.delta" in kinds
    assert "response.function_call_arguments.done" in kinds
    first = upstream.client.responses.create(**ask, input="weather?")
    (call,) = first.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "canned city 🍀"}
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    second = upstream.client.responses.create(**ask, input=output, previous_response_id=first.id)
    assert "Your tool answered: “sunny”." in second.output_text
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens


class Place(pydantic.BaseModel):
    city: str
    population: int


def test_parse_gives_a_model_of_the_schema(upstream: Upstream) -> None:
    parsed = upstream.client.responses.parse(**_ASK, text_format=Place)
    assert parsed.output_parsed == Place(city="canned city 🍀", population=1)


@pytest.mark.parametrize(
    ("extra", "status", "kinds"),
    [
        pytest.param({"max_output_tokens": 16}, "incomplete", ["message"], id="cut"),
        pytest.param({"model": "gpt-5"}, "completed", ["reasoning", "message"], id="reasoning"),
        pytest.param({"model": "gpt-5", "max_output_tokens": 16}, "incomplete", ["reasoning"], id="all for thinking"),
        pytest.param({"tools": [{"type": "web_search"}]}, "completed", ["message"], id="hosted tool"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_how_a_response_ends(
    upstream: Upstream, extra: dict[str, Any], status: str, kinds: list[str], stream: bool
) -> None:
    if stream:
        events = list(upstream.client.responses.create(**{**_ASK, **extra}, stream=True))
        assert events[-1].type == f"response.{status}"
        ended = events[-1].response
    else:
        ended = upstream.client.responses.create(**{**_ASK, **extra})
    assert (ended.status, [item.type for item in ended.output]) == (status, kinds)
    limit = extra.get("max_output_tokens")
    assert ended.usage is not None
    assert limit is None or ended.usage.output_tokens == limit


def test_reasoning_is_summarised_and_encrypted_where_asked(upstream: Upstream) -> None:
    ask: dict[str, Any] = {
        "model": "o4-mini", "input": "x", "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"], "store": False,
    }  # fmt: skip
    item = upstream.client.responses.create(**ask).output[0]
    assert item.type == "reasoning"
    assert item.summary[0].text.startswith("**Thinking")
    assert item.encrypted_content
    kinds = [event["type"] for event in upstream.events("POST", "/v1/responses", {**ask, "stream": True})]
    assert "response.reasoning_summary_text.delta" in kinds


def test_logprobs_come_where_they_are_included(upstream: Upstream) -> None:
    made = upstream.client.responses.create(**_ASK, include=["message.output_text.logprobs"], top_logprobs=2)
    assert made.output[0].type == "message"
    (part,) = made.output[0].content
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert "".join(one.token for one in part.logprobs) == _TEXT
    assert {len(one.top_logprobs) for one in part.logprobs} == {2}


def test_a_response_in_the_background_is_complete_on_the_next_look(upstream: Upstream) -> None:
    queued = upstream.client.responses.create(**_ASK, background=True)
    assert (queued.status, queued.output) == ("queued", [])
    done = upstream.client.responses.retrieve(queued.id)
    assert (done.status, done.output_text) == ("completed", _TEXT)
    with pytest.raises(openai.BadRequestError):
        upstream.client.responses.cancel(queued.id)
    other = upstream.client.responses.create(**_ASK, background=True)
    assert upstream.client.responses.cancel(other.id).status == "cancelled"
    assert upstream.client.responses.retrieve(other.id).status == "cancelled"
    kinds = [e["type"] for e in upstream.events("POST", "/v1/responses", {**_ASK, "background": True, "stream": True})]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]


def test_a_stored_response_is_streamed_again_from_any_place(upstream: Upstream) -> None:
    events = upstream.events("POST", "/v1/responses", {**_ASK, "stream": True})
    path = f"/v1/responses/{events[-1]['response']['id']}?stream=true"
    assert upstream.events("GET", path) == events
    assert upstream.events("GET", f"{path}&starting_after=5") == events[6:]


def test_an_item_is_referred_to(upstream: Upstream) -> None:
    made = upstream.client.responses.create(**_ASK)
    reference: Any = [{"type": "item_reference", "id": made.output[0].id}, {"role": "user", "content": "and?"}]
    again = upstream.client.responses.create(model="gpt-4o", input=reference)
    first = next(iter(upstream.client.responses.input_items.list(again.id, order="asc")))
    assert first.id == made.output[0].id
    bare: Any = [{"id": made.output[0].id}]
    assert upstream.client.responses.create(model="gpt-4o", input=bare).status == "completed"


def test_a_conversation_grows_by_what_is_asked_and_answered(upstream: Upstream) -> None:
    conversation = upstream.client.conversations.create()
    for question in ("one", "two"):
        made = upstream.client.responses.create(model="gpt-4o", input=question, conversation=conversation.id)
    assert made.conversation is not None
    assert made.conversation.id == conversation.id
    items = list(upstream.client.conversations.items.list(conversation.id, order="asc"))
    assert [getattr(item, "role", None) for item in items] == ["user", "assistant", "user", "assistant"]


def test_input_items_are_paged(upstream: Upstream) -> None:
    messages: Any = [{"role": "user", "content": str(number)} for number in range(5)]
    made = upstream.client.responses.create(model="gpt-4o", input=messages)
    listed = upstream.client.responses.input_items.list(made.id, limit=2, order="asc")
    assert listed.has_more
    contents: list[Any] = [getattr(item, "content", None) for item in listed]
    assert [content[0].text for content in contents] == ["0", "1", "2", "3", "4"]


def test_input_tokens_are_counted_as_they_are_used(upstream: Upstream) -> None:
    made = upstream.client.responses.create(**_ASK)
    counted = upstream.client.responses.input_tokens.count(**_ASK)
    assert made.usage is not None
    assert counted.input_tokens == made.usage.input_tokens


@pytest.mark.parametrize(
    ("extra", "status", "param", "code"),
    [
        ({"model": "gpt-0"}, 404, None, "model_not_found"),
        ({"input": None}, 400, "input", "missing_required_parameter"),
        ({"input": 1}, 400, "input", "invalid_type"),
        ({"input": ["x"]}, 400, "input[0]", "invalid_type"),
        ({"input": [{"role": "tool", "content": "x"}]}, 400, "input[0].role", "invalid_value"),
        ({"input": [{"role": "user"}]}, 400, "input[0].content", "missing_required_parameter"),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, 400, "input[0].content[0].type", "invalid_value"),
        ({"input": [{"type": "item_reference", "id": "msg_0"}]}, 404, "input", None),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-0"}]}]}, 404, "id", None),
        ({"max_output_tokens": 15}, 400, "max_output_tokens", "integer_below_min_value"),
        ({"temperature": 3}, 400, "temperature", "decimal_above_max_value"),
        ({"tools": [{"type": "function"}]}, 400, "tools[0].name", "missing_required_parameter"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_0"]}]}, 404, None, None),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_0"}]}, 404, None, None),
        ({"text": {"format": {"type": "xml"}}}, 400, "text.format.type", "invalid_value"),
        ({"include": ["x"]}, 400, "include[0]", "invalid_value"),
        ({"previous_response_id": "resp_0"}, 400, "previous_response_id", "previous_response_not_found"),
        ({"conversation": "conv_0"}, 404, None, None),
        ({"background": True, "store": False}, 400, "background", None),
        (
            {"conversation": "conv_0", "previous_response_id": "resp_0"}, 400, "previous_response_id",
            "mutually_exclusive_parameters",
        ),
        ({"model": "gpt-5", "temperature": 0}, 400, "temperature", "unsupported_parameter"),
        ({"model": "gpt-4o", "reasoning": {"effort": "low"}}, 400, "reasoning", "unsupported_parameter"),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_as_the_service_does(
    upstream: Upstream, extra: dict[str, Any], status: int, param: str | None, code: str | None
) -> None:
    answer = upstream.ask("POST", "/v1/responses", {**_ASK, **extra})
    error = answer.json["error"]
    assert answer.status == status
    assert error == {"message": error["message"], "type": "invalid_request_error", "param": param, "code": code}


@pytest.mark.parametrize(
    ("directives", "error", "outcome"),
    [
        pytest.param("cut=5", openai.APIConnectionError, "cut", id="cut"),
        pytest.param("cut=5;midevent", openai.APIConnectionError, "cut", id="cut in an event"),
        pytest.param("error=5", openai.APIError, "answered", id="an error in the stream"),
        pytest.param("end=5", None, "answered", id="an early end"),
    ],
)
def test_a_stream_that_goes_wrong(
    upstream: Upstream, directives: str, error: type[Exception] | None, outcome: str
) -> None:
    model, seen, raised = f"offline;{directives};tag=responses", list[Any](), None
    try:
        for event in upstream.client.responses.create(model=model, input="x", stream=True):
            seen.append(event.type)
    except Exception as one:
        raised = type(one)
    assert (raised, len(seen), upstream.ended(model)["outcome"]) == (error, 5, outcome)


def test_an_error_in_the_stream_is_the_services(upstream: Upstream) -> None:
    *_, last = upstream.events("POST", "/v1/responses", {"model": "offline;error=3", "input": "x", "stream": True})
    assert (last["type"], last["sequence_number"], last["error"]["type"]) == ("error", 3, "server_error")


def test_an_error_that_is_told_stores_nothing_and_the_retry_does(upstream: Upstream) -> None:
    ask = {"model": "offline;status=503;times=1;tag=stores", "input": "x", "conversation": None}
    conversation = upstream.client.conversations.create()
    ask["conversation"] = conversation.id
    assert [upstream.ask("POST", "/v1/responses", ask).status for _ in range(2)] == [503, 200]
    assert len(list(upstream.client.conversations.items.list(conversation.id))) == 2


def test_what_is_not_stored_is_not_found(upstream: Upstream) -> None:
    made = upstream.client.responses.create(**_ASK, store=False)
    for path in ("", "/input_items"):
        answer = upstream.ask("GET", f"/v1/responses/{made.id}{path}")
        assert answer.status == 404
        assert answer.json["error"]["message"] == f"Response with id '{made.id}' not found."
