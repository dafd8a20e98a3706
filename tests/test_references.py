"""Which ids of stored objects a request's body is seen to refer to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core import errors, references
from core.kinds import Kind
from core.references import Reference

_CASES: list[tuple[str, dict[str, Any], list[Reference]]] = [
    ("nothing", {"model": "a", "input": "file-1 resp_1"}, []),
    (
        "a previous response",
        {"previous_response_id": "resp_1"},
        [Reference(Kind.RESPONSE, "resp_1", "previous_response_id")],
    ),
    ("no previous response", {"previous_response_id": None, "input": "x"}, []),
    ("a conversation", {"conversation": "conv_1"}, [Reference(Kind.CONVERSATION, "conv_1", "conversation")]),
    (
        "a conversation as an object",
        {"conversation": {"id": "conv_1"}},
        [Reference(Kind.CONVERSATION, "conv_1", "conversation.id")],
    ),
    (
        "files in content",
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        [Reference(Kind.FILE, "file-1", "input[0].content[0].file_id")],
    ),
    (
        "files in chat",
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        [Reference(Kind.FILE, "file-1", "messages[0].content[0].file.file_id")],
    ),
    (
        "tools",
        {
            "tools": [
                {"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]},
                {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}},
                {"type": "code_interpreter", "container": "cntr_1"},
                {"type": "image_generation", "input_image_mask": {"file_id": "file-2"}},
            ]
        },
        [
            Reference(Kind.VECTOR_STORE, "vs_1", "tools[0].vector_store_ids[0]"),
            Reference(Kind.VECTOR_STORE, "vs_2", "tools[0].vector_store_ids[1]"),
            Reference(Kind.FILE, "file-1", "tools[1].container.file_ids[0]"),
            Reference(Kind.CONTAINER, "cntr_1", "tools[2].container"),
            Reference(Kind.FILE, "file-2", "tools[3].input_image_mask.file_id"),
        ],
    ),
    (
        "items that upstream looks up",
        {
            "input": [
                {"type": "item_reference", "id": "msg_1"},
                {"id": "msg_2"},
                {"type": "reasoning", "id": "rs_1", "summary": []},
                {"type": "reasoning", "id": "rs_2", "encrypted_content": "x"},
                {"type": "message", "id": "msg_3", "role": "assistant", "content": []},
                {"type": "function_call", "id": "fc_1", "call_id": "c", "arguments": "{}"},
                {"id": "msg_4", "role": "user", "content": "x"},
                {"type": "item_reference", "id": "msg_5", "role": "user", "content": "x"},
                {"type": "image_generation_call", "id": "ig_1"},
                {"type": "image_generation_call", "id": "ig_2", "result": "iVBO"},
                {"type": "message", "id": "msg_6", "role": "assistant", "content": None},
                {"type": ["message"], "id": "msg_7", "content": "x"},
            ]
        },
        [
            Reference(Kind.ITEM, "msg_1", "input[0].id"),
            Reference(Kind.ITEM, "msg_2", "input[1].id"),
            Reference(Kind.ITEM, "rs_1", "input[2].id"),
            Reference(Kind.ITEM, "msg_5", "input[7].id"),
            Reference(Kind.ITEM, "ig_1", "input[8].id"),
            Reference(Kind.ITEM, "msg_6", "input[10].id"),
            Reference(Kind.ITEM, "msg_7", "input[11].id"),
        ],
    ),
    (
        "earlier speech",
        {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}], "audio": {"voice": "alloy"}},
        [Reference(Kind.AUDIO, "audio_1", "messages[0].audio.id")],
    ),
    (
        "a citation of a container's file",
        {"input": [{"annotations": [{"container_id": "cntr_1", "file_id": "cfile_1"}]}]},
        [Reference(Kind.CONTAINER, "cntr_1", "input[0].annotations[0].container_id")],
    ),
    (
        "the client's own data",
        {
            "metadata": {"file_id": "mine", "container": "box"},
            "tools": [{"type": "function", "parameters": {"default": {"file_id": "mine"}}}],
            "text": {"format": {"schema": {"enum": [{"conversation": "mine"}]}}},
            "attributes": {"file_id": "mine"},
        },
        [],
    ),
]


@pytest.mark.parametrize(("body", "expected"), [case[1:] for case in _CASES], ids=[case[0] for case in _CASES])
def test_in_json(body: dict[str, Any], expected: list[Reference]) -> None:
    assert references.in_json(json.dumps(body).encode()) == expected


@pytest.mark.parametrize("escaped", [rb"\u0070revious_response_id", rb"previous\u005fresponse_id"])
def test_a_key_cannot_hide_behind_an_escape(escaped: bytes) -> None:
    body = b'{"' + escaped + b'": "resp_1"}'
    assert references.in_json(body) == [Reference(Kind.RESPONSE, "resp_1", "previous_response_id")]


def test_a_key_that_stands_twice_is_refused() -> None:
    """Upstream might take the first, a check the last."""
    with pytest.raises(errors.InvalidRequest, match="Detected duplicate key"):
        references.in_json(b'{"previous_response_id": "theirs", "previous_response_id": "mine"}')


@pytest.mark.parametrize("key", ["connector_id", "tunnel_id"])
def test_what_the_operator_has_connected_is_refused(key: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        references.in_json(json.dumps({"tools": [{"type": "mcp", key: "connector_gmail"}]}).encode())
    assert (caught.value.param, caught.value.code) == (f"tools[0].{key}", "unsupported_parameter")


def test_the_operator_s_prompts_and_skills_are_there_for_apps() -> None:
    """No app can have made one, so none is another app's. What is put into a prompt's variables is looked at."""
    body = {"prompt": {"id": "pmpt_1", "variables": {"doc": {"type": "input_file", "file_id": "file-1"}}}}
    assert references.in_json(json.dumps(body).encode()) == [
        Reference(Kind.FILE, "file-1", "prompt.variables.doc.file_id")
    ]
    assert references.in_json(b'{"input": "x", "tools": [{"environment": {"skills": [{"skill_id": "s"}]}}]}') == []


def test_in_forms() -> None:
    fields = {"file_id": ["file-1"], "file_ids[]": ["file-2", "file-3"], "purpose": ["user_data"]}
    assert references.in_form(fields) == [
        Reference(Kind.FILE, "file-1", "file_id"),
        Reference(Kind.FILE, "file-2", "file_ids[]"),
        Reference(Kind.FILE, "file-3", "file_ids[]"),
    ]


@pytest.mark.parametrize("container", [None, "cntr_1", 1])
def test_a_container_beside_it_hides_no_file(container: object) -> None:
    body = {"file_id": "file-1", "container_id": container, "type": "container_file_citation"}
    assert Reference(Kind.FILE, "file-1", "file_id") in references.in_json(json.dumps(body).encode())


def test_a_voice_of_the_operator_s_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest):
        references.in_json(b'{"voice": {"id": "voice_1"}}')
    assert references.in_json(b'{"voice": "alloy"}') == []


def test_more_references_than_anybody_needs_are_refused() -> None:
    body = {"file_ids": [f"file-{number}" for number in range(501)]}
    with pytest.raises(errors.InvalidRequest, match="more than 500"):
        references.in_json(json.dumps(body).encode())


def test_a_form_may_not_refer_to_more_either() -> None:
    with pytest.raises(errors.InvalidRequest, match="more than 500"):
        references.in_form({"file_ids[]": [f"file-{number}" for number in range(501)]})
    assert references.in_form({"file_ids[]": ["file-1"] * 501}) == [Reference(Kind.FILE, "file-1", "file_ids[]")]
