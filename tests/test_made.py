"""What is read out of answers: the objects that upstream says it made, and never what a client only sent along."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core import endpoints, made
from core.kinds import Kind
from core.made import Made

_RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "store": True,
    "output": [
        {"type": "reasoning", "id": "rs_1"},
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
        {
            "type": "message",
            "id": "msg_1",
            "content": [{"type": "output_text", "annotations": [{"container_id": "cntr_2", "file_id": "cfile_1"}]}],
        },
    ],
    # What the client sent, and could claim other apps' objects with:
    "metadata": {"id": "resp_x", "container_id": "cntr_x"},
    "instructions": [{"id": "msg_x", "container_id": "cntr_x"}],
    "tools": [{"container": "cntr_x", "container_id": "cntr_x"}],
    "previous_response_id": "resp_x",
}
_IN_RESPONSE = [
    Made(Kind.RESPONSE, "resp_1"),
    Made(Kind.ITEM, "rs_1"),
    Made(Kind.ITEM, "ci_1"),
    Made(Kind.CONTAINER, "cntr_1"),
    Made(Kind.ITEM, "msg_1"),
    Made(Kind.CONTAINER, "cntr_2"),
]


def _answer(method: str, path: str, answer: object, *, stored: bool | None = None) -> list[Made]:
    endpoint = endpoints.find(method, path).endpoint
    return list(made.in_answer(endpoint, json.dumps(answer).encode(), stored=stored))


def test_a_response_and_what_came_of_it() -> None:
    assert _answer("POST", "/v1/responses", _RESPONSE) == _IN_RESPONSE
    assert _answer("GET", "/v1/responses/resp_1", _RESPONSE) == _IN_RESPONSE[1:]


def test_a_response_that_is_not_kept_is_nobody_s() -> None:
    assert Made(Kind.RESPONSE, "resp_1") not in _answer("POST", "/v1/responses", {**_RESPONSE, "store": False})


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/conversations", Kind.CONVERSATION),
        ("/v1/files", Kind.FILE),
        ("/v1/uploads", Kind.UPLOAD),
        ("/v1/vector_stores", Kind.VECTOR_STORE),
        ("/v1/containers", Kind.CONTAINER),
    ],
)
def test_the_answer_s_own_id(path: str, kind: Kind) -> None:
    assert _answer("POST", path, {"id": "one", "metadata": {"id": "two"}}) == [Made(kind, "one")]


@pytest.mark.parametrize(("stored", "expected"), [(True, [Made(Kind.CHAT_COMPLETION, "c")]), (False, []), (None, [])])
def test_a_chat_completion_is_kept_on_request(stored: bool | None, expected: list[Made]) -> None:
    assert _answer("POST", "/v1/chat/completions", {"id": "c", "choices": []}, stored=stored) == expected


def test_speech_in_a_chat() -> None:
    answer = {"id": "c", "choices": [{"message": {"audio": {"id": "audio_1"}}}, {"message": {"audio": None}}]}
    assert _answer("POST", "/v1/chat/completions", answer) == [Made(Kind.AUDIO, "audio_1")]


def test_an_upload_becomes_a_file() -> None:
    answer = {"id": "upload_1", "file": {"id": "file-1"}}
    assert _answer("POST", "/v1/uploads/upload_1/complete", answer) == [Made(Kind.FILE, "file-1")]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"id": 1, "output": "x"},
        {"id": None, "output": [1, {"id": 2, "content": 3}]},
        {"output": [{"content": [{"annotations": 1}]}]},
    ],
)
def test_an_answer_of_another_shape_tells_nothing(answer: object) -> None:
    assert _answer("POST", "/v1/responses", answer) == []


def _event(name: str, **more: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **more})}\n\n".encode()


def test_in_the_events_of_a_response() -> None:
    endpoint = endpoints.find("POST", "/v1/responses").endpoint
    started = _event("response.created", response={"id": "resp_1", "store": True, "output": []})
    delta = _event("response.output_text.delta", delta='"type":"response.completed"')
    done = _event("response.completed", response=_RESPONSE)
    assert list(made.in_events(endpoint, started + delta, first=True, stored=None)) == [Made(Kind.RESPONSE, "resp_1")]
    assert list(made.in_events(endpoint, delta, first=False, stored=None)) == []
    assert list(made.in_events(endpoint, delta + done, first=False, stored=None)) == _IN_RESPONSE
    over_lines = started.replace(b',"response"', b',\ndata: "response"').replace(
        b', "response"', b',\ndata: "response"'
    )
    assert over_lines != started
    assert list(made.in_events(endpoint, over_lines, first=True, stored=None)) == [Made(Kind.RESPONSE, "resp_1")]
    assert list(made.in_events(endpoint, b"data: {broken\n\n", first=True, stored=True)) == []


def test_in_the_events_of_a_chat() -> None:
    endpoint = endpoints.find("POST", "/v1/chat/completions").endpoint
    chunk = b'data: {"id": "c", "choices": [{"delta": {"content": "x"}}]}\n\n'
    speech = b'data: {"id": "c", "choices": [{"delta": {"audio": {"id": "audio_1"}}}]}\n\ndata: [DONE]\n\n'
    assert list(made.in_events(endpoint, chunk, first=True, stored=True)) == [Made(Kind.CHAT_COMPLETION, "c")]
    assert list(made.in_events(endpoint, chunk, first=False, stored=True)) == []
    assert list(made.in_events(endpoint, chunk, first=True, stored=None)) == []
    assert list(made.in_events(endpoint, speech, first=False, stored=None)) == [Made(Kind.AUDIO, "audio_1")]
