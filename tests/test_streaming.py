"""Streams through each cloud's own runtime, on real sockets: in time, byte for byte, and honest about their end."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from local.services import CLOUDS
from local_deployment import LocalDeployment

pytestmark = pytest.mark.parametrize("cloud", CLOUDS)

_QUESTION = {"role": "user", "content": "naïve café — 漢字 🍀"}
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def http(deployment: LocalDeployment) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {deployment.app_key}"}
    with httpx2.Client(headers=headers, timeout=30) as client:
        yield client


class Offline:
    """The offline upstream's control endpoints."""

    def __init__(self, deployment: LocalDeployment) -> None:
        self._origin = deployment.upstream_url.removesuffix("/v1")

    def open_gate(self, name: str, count: int = 1) -> None:
        httpx2.post(f"{self._origin}/offline/gates/{name}?n={count}").raise_for_status()

    def arrived(self, model: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx2.get(
            f"{self._origin}/offline/arrivals/{urllib.parse.quote(model, safe='')}", timeout=15
        ).json()
        return found

    def ended(self, sequence: int) -> dict[str, Any]:
        found: dict[str, Any] = httpx2.get(f"{self._origin}/offline/requests/{sequence}/outcome", timeout=15).json()
        return found


@pytest.fixture
def offline(deployment: LocalDeployment) -> Offline:
    return Offline(deployment)


def _body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [_QUESTION], "stream": True, **more}


def _events(response: httpx2.Response) -> Iterator[bytes]:
    """Each event as soon as it is there."""
    held = b""
    for chunk in response.iter_raw():
        held += chunk
        while b"\n\n" in held:
            event, _, held = held.partition(b"\n\n")
            yield event + b"\n\n"


def test_each_chunk_arrives_before_the_next_is_sent(
    cloud: str, deployment: LocalDeployment, http: httpx2.Client, offline: Offline
) -> None:
    """Upstream sends a chunk only when the one before it has reached the client: nobody on the way may hold it back."""
    gate = f"order-{cloud}"
    body = _body(f"offline;gate={gate}")
    with http.stream("POST", f"{deployment.base_urls[cloud]}/chat/completions", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        events = _events(response)
        received = [next(events)]
        for _ in range(5):
            offline.open_gate(gate)
            received.append(next(events))
        offline.open_gate(gate, 1000)
        received.extend(events)
    assert received[-1] == b"data: [DONE]\n\n"
    assert len(received) > 7


_SHAPES: dict[str, dict[str, Any]] = {
    "text": {},
    "several choices": {"n": 3},
    "usage": {"stream_options": {"include_usage": True}},
    "tool calls": {"tools": [_TOOL], "tool_choice": "required"},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "json": {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "JSON: 漢字"}]},
    "cut by length": {"max_tokens": 3},
}


@pytest.mark.parametrize("framing", ["", ";crlf", ";comments", ";split"], ids=lambda framing: framing or "usual")
@pytest.mark.parametrize("shape", _SHAPES)
def test_every_byte_of_a_stream_survives(
    cloud: str, deployment: LocalDeployment, http: httpx2.Client, shape: str, framing: str
) -> None:
    # That upstream is asked for the usage as well is hidden, but not the comment that it sends before each chunk.
    asked = {"stream_options": {"include_usage": True}} if framing == ";comments" else {}
    body = _body(f"offline;pace=0{framing}", **{**_SHAPES[shape], **asked})
    direct = http.post(f"{deployment.upstream_url}/chat/completions", json=body)
    through = http.post(f"{deployment.base_urls[cloud]}/chat/completions", json=body)
    assert (through.status_code, through.content) == (200, direct.content)
    assert through.headers["content-type"] == direct.headers["content-type"]


@pytest.mark.parametrize("shape", _SHAPES)
def test_every_byte_of_a_plain_answer_survives(
    cloud: str, deployment: LocalDeployment, http: httpx2.Client, shape: str
) -> None:
    body = {**_body("offline", **_SHAPES[shape]), "stream": False}
    body.pop("stream_options", None)
    direct = http.post(f"{deployment.upstream_url}/chat/completions", json=body)
    through = http.post(f"{deployment.base_urls[cloud]}/chat/completions", json=body)
    assert (through.status_code, through.content) == (200, direct.content)


def test_what_the_client_sent_reaches_upstream_byte_for_byte(
    cloud: str, deployment: LocalDeployment, http: httpx2.Client, offline: Offline
) -> None:
    model = f"offline;tag=bytes-{cloud}"
    body = (
        f'{{ "model":"{model}",\t"messages":[{{"role":"user","content":"na\u00efve \\u6f22 \U0001f340"}}],\n"x": 1.0}}'
    )
    response = http.post(
        f"{deployment.base_urls[cloud]}/chat/completions",
        content=body.encode(),
        headers={"content-type": "application/json; charset=utf-8", "x-client-request-id": "mine"},
    )
    assert response.status_code == 200
    received = offline.arrived(model)
    assert received["body"] == body
    headers = dict(received["headers"])
    assert headers["x-client-request-id"] == "mine"
    assert deployment.app_key not in json.dumps(received)


@pytest.mark.parametrize("fault", ["cut=3", "cut=3;midevent", "end=3", "error=3"])
def test_a_failure_in_mid_stream_raises(cloud: str, deployment: LocalDeployment, fault: str) -> None:
    with openai.OpenAI(base_url=deployment.base_urls[cloud], api_key=deployment.app_key, max_retries=0) as client:
        stream = client.chat.completions.create(**_body(f"offline;pace=0;{fault}"))
        received = [next(stream) for _ in range(3)]
        with pytest.raises(openai.APIError) as caught:
            next(stream)
    assert all(chunk.object == "chat.completion.chunk" for chunk in received)
    assert caught.value.body is not None  # an error event was read: the SDK did not just lose its connection


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("drop", 502),
        ("garbage", 502),
        ("empty", 502),
        ("html", 502),
        ("cut=0", 502),
        ("end=0", 502),
        ("status=429", 429),
    ],
)
def test_a_failure_before_the_first_event_is_a_status(
    cloud: str, deployment: LocalDeployment, http: httpx2.Client, fault: str, status: int
) -> None:
    response = http.post(f"{deployment.base_urls[cloud]}/chat/completions", json=_body(f"offline;{fault}"))
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()["error"]) >= {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_a_client_that_leaves_ends_the_upstream_call(
    cloud: str, deployment: LocalDeployment, http: httpx2.Client, offline: Offline, stream: bool
) -> None:
    if cloud == "aws":
        pytest.skip(
            "Lambda does not tell a function that its client has left: the call ends by itself or by its deadline"
        )
    model = f"offline;hang=1;tag=leave-{cloud}-{stream}" if stream else f"offline;hang;tag=leave-{cloud}"
    if stream:
        with http.stream("POST", f"{deployment.base_urls[cloud]}/chat/completions", json=_body(model)) as response:
            next(_events(response))
    else:
        with pytest.raises(httpx2.ReadTimeout):
            http.post(
                f"{deployment.base_urls[cloud]}/chat/completions", json={**_body(model), "stream": False}, timeout=1
            )
    assert offline.ended(offline.arrived(model)["sequence"])["outcome"] == "client left"
