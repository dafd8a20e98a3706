"""The most that a request can use: never too low, whatever a client writes, and no higher than it has to be."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import body, bounds, content, endpoints, errors
from core.bounds import Bound
from core.http import Request
from core.settings import LimitSettings
from core.usage import Usage

_LIMITS = LimitSettings()
_CONTEXT = 128_000
_MOST = 16_384
_IMAGE_TOKENS = 48_169
"""gpt-4o-mini's count of eight tiles: 2,833 and 5,667 for each."""
_CHAT, _RESPONSES = "/v1/chat/completions", "/v1/responses"
_FORM_TYPE = "multipart/form-data; boundary=b0"


def _of(
    content: bytes | Mapping[str, Any], path: str = _CHAT, *, cap: int | None = None, content_type: str = ""
) -> Bound | None:
    written = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = Request("POST", path, headers={"content-type": content_type}, body=written)
    endpoint = endpoints.find("POST", path).endpoint
    asked = body.read(endpoint, request, limit_bytes=10_000_000)
    return bounds.of(endpoint, asked, request, _LIMITS, output_cap=cap)


def _bound(content: bytes | Mapping[str, Any], path: str = _CHAT, **options: Any) -> Bound:
    bound = _of(content, path, **options)
    assert bound is not None
    return bound


def _usage(content: bytes | Mapping[str, Any], path: str = _CHAT, **options: Any) -> Usage:
    usage = _bound(content, path, **options).usage(context_tokens=_CONTEXT, output_tokens=_MOST)
    assert usage is not None
    return usage


def _form(*fields: tuple[str, str], files: Mapping[str, bytes] | None = None) -> bytes:
    parts = [f'--b0\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields]
    for name, value in (files or {}).items():
        head = f'--b0\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'
        parts.append(head.encode() + value)
    return b"\r\n".join([*parts, b"--b0--\r\n"])


def _chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}


# A model's service that counts as many tokens as any can: one for each byte of text, and the dearest images.


def _true_chat_tokens(written: bytes) -> tuple[int, int]:
    """The input and output tokens that the worst upstream counts for a chat."""
    asked = json.loads(written)
    taken_in = 3
    for message in asked["messages"]:
        taken_in += 5 + len(str(message.get("role", "")).encode()) + _true_content_tokens(message.get("content"))
        for call in message.get("tool_calls", []):
            taken_in += len(json.dumps(json.loads(call["function"]["arguments"])))
    taken_in += len(json.dumps(asked["tools"])) if asked.get("tools") else 0
    answer = asked.get("max_completion_tokens") or asked.get("max_tokens") or _MOST
    predicted = _true_content_tokens(asked["prediction"]["content"]) if asked.get("prediction") else 0
    return min(taken_in, _CONTEXT), (asked.get("n") or 1) * (min(answer, _MOST) + predicted)


def _true_content_tokens(content: Any) -> int:
    if isinstance(content, str):
        return len(content.encode("utf-8", "surrogatepass"))
    return sum(_IMAGE_TOKENS if "image_url" in part else len(part["text"].encode()) for part in content or [])


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_PARTS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, _TEXTS),
    st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, st.sampled_from(["https://a/b", "data:x"])),
    st.builds(lambda n: {"image_url": {"url": "data:image/png;base64," + "A" * n}}, st.integers(0, 3000)),
)
_NUMBERS = st.sampled_from([1e15, 1e16, 1.5e300, 0.0001, 3, -2, 12345678901234567890])
_MESSAGES = st.builds(
    lambda role, content, numbers: {
        "role": role,
        "content": content,
        **(
            {"tool_calls": [{"function": {"arguments": json.dumps(numbers, separators=(",", ":"))}}]} if numbers else {}
        ),
    },
    st.sampled_from(["user", "assistant", "system", ""]),
    st.one_of(_TEXTS, st.none(), st.lists(_PARTS, max_size=3)),
    st.one_of(st.none(), st.lists(_NUMBERS, max_size=5)),
)
_TOOLS = st.builds(
    lambda name, numbers: {"type": "function", "function": {"name": name, "parameters": {"enum": numbers}}},
    _TEXTS,
    st.lists(st.one_of(_NUMBERS, _TEXTS), max_size=8),
)
_CHATS = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(_MESSAGES, min_size=1, max_size=5)},
    optional={
        "n": st.one_of(st.none(), st.integers(1, 128)),
        "max_tokens": st.one_of(st.none(), st.integers(1, 30_000)),
        "max_completion_tokens": st.one_of(st.none(), st.integers(1, 30_000)),
        "tools": st.one_of(st.none(), st.lists(_TOOLS, max_size=3)),
        "prediction": st.one_of(st.none(), st.builds(lambda text: {"type": "content", "content": text}, _TEXTS)),
    },
)


def _written(value: Any, chance: random.Random) -> str:
    """JSON as short as it gets, or with escapes where none are needed."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_written(key, chance)}:{_written(one, chance)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(one, chance) for one in value) + "]"
    if isinstance(value, str) and value.isascii() and value.isalnum() and chance.random() < 0.2:
        return '"' + "".join(f"\\u{ord(letter):04x}" for letter in value) + '"'
    if isinstance(value, float) and value >= 1:
        return f"{value:e}".replace("e+", "e").replace(".000000", "").replace("00000e", "e")
    return json.dumps(value, ensure_ascii=False)


@given(chat=_CHATS, chance=st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_no_chat_uses_more_than_its_bound(chat: dict[str, Any], chance: random.Random) -> None:
    written = _written(chat, chance).encode()
    taken_in, put_out = _true_chat_tokens(written)
    usage = _usage(written)
    assert usage.input_tokens >= taken_in
    assert usage.output_tokens >= put_out


@given(chat=_CHATS, chance=st.randoms(use_true_random=False), cap=st.integers(1, 20_000))
@settings(max_examples=80, deadline=None)
def test_no_edited_chat_puts_out_more_than_the_cap(chat: dict[str, Any], chance: random.Random, cap: int) -> None:
    written = _written(chat, chance).encode()
    edited = {**json.loads(written), **_bound(written, cap=cap).edits}
    _, put_out = _true_chat_tokens(json.dumps(edited).encode())
    assert _usage(written, cap=cap).output_tokens >= put_out
    for field in ("max_tokens", "max_completion_tokens"):
        assert (edited.get(field) or 0) <= cap
    assert edited.get("max_tokens") or edited.get("max_completion_tokens")


@given(
    prompt=st.one_of(
        _TEXTS,
        st.lists(_TEXTS, min_size=1, max_size=5),
        st.lists(st.integers(0, 9), min_size=1, max_size=20),
        st.lists(st.lists(st.integers(0, 200_000), min_size=1, max_size=5), min_size=1, max_size=5),
    ),
    n=st.integers(1, 5),
    best_of=st.one_of(st.none(), st.integers(0, 20)),
    max_tokens=st.one_of(st.none(), st.integers(0, 100)),
    echo=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_no_completion_uses_more_than_its_bound(
    prompt: Any, n: int, best_of: int | None, max_tokens: int | None, echo: bool
) -> None:
    usage = _usage(
        {"model": "m", "prompt": prompt, "n": n, "best_of": best_of, "max_tokens": max_tokens, "echo": echo},
        "/v1/completions",
    )
    prompts = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
    tokens = sum(len(one.encode()) if isinstance(one, str) else len(one) for one in prompts)
    answers = max(n, best_of or 1)
    assert usage.input_tokens >= tokens
    each = 16_384 if max_tokens is None else max_tokens
    assert usage.output_tokens >= answers * (each * len(prompts) + (tokens if echo else 0))


def test_a_plain_chat_is_bounded_closely() -> None:
    content = json.dumps(_chat(max_tokens=100)).encode()
    assert _usage(content) == Usage(input_tokens=len(content) + 500, output_tokens=100)


def test_a_long_prompt_fits_into_the_context() -> None:
    content = _chat(messages=[{"role": "user", "content": "word " * 100_000}])
    assert _usage(content).input_tokens == _CONTEXT
    assert _bound(content).usage(context_tokens=None, output_tokens=1).input_tokens > 500_000  # type: ignore[union-attr]


def test_an_image_in_the_body_is_no_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 60_000}}
    usage = _usage(_chat(messages=[{"role": "user", "content": [image]}]))
    assert _IMAGE_TOKENS < usage.input_tokens < 52_000


@pytest.mark.parametrize("element", [b"1", b"1e15", b'"\xc3\xa9"', b'{"a":1}', b"[]", b"1.5E300"])
@pytest.mark.parametrize(
    "fields",
    [
        b'"tools": [{"type": "function", "function": {"name": "f", "parameters": {"enum": %s}}}]',
        b'"functions": [{"name": "f", "parameters": {"enum": %s}}]',
        b'"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": %s}}}',
        b'"text": {"format": {"type": "json_schema", "schema": {"enum": %s}}}',
    ],
)
def test_what_upstream_writes_out_anew_may_get_longer(element: bytes, fields: bytes) -> None:
    """As Python writes JSON: with blanks, with escapes, and with all digits."""
    written = fields.replace(b"%s", b"[" + b",".join([element] * 1000) + b"]")
    usage = _usage(b'{"model":"m","messages":[{}],"max_tokens":1,' + written + b"}")
    assert usage.input_tokens >= len(json.dumps(json.loads(b"{" + written + b"}")))


def test_so_may_the_arguments_of_a_call() -> None:
    arguments = "[" + ",".join(["1e15"] * 1000) + "]"
    message = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"arguments": arguments}}]}
    usage = _usage(_chat(messages=[message], max_tokens=1))
    assert usage.input_tokens >= len(json.dumps(json.loads(arguments)))


def test_where_the_models_maximum_is_not_known() -> None:
    assert _bound(_chat()).usage(context_tokens=_CONTEXT, output_tokens=None) is None
    assert _bound(_chat(), cap=50).usage(context_tokens=None, output_tokens=None) is not None
    assert _bound(_chat(max_tokens=5)).usage(context_tokens=None, output_tokens=None) is not None


@pytest.mark.parametrize(
    ("path", "fields", "edits"),
    [
        (_CHAT, {}, {"max_completion_tokens": 100}),
        (_CHAT, {"max_tokens": None}, {"max_completion_tokens": 100}),
        (_CHAT, {"max_tokens": 0}, {"max_tokens": 100}),
        (_CHAT, {"max_tokens": 101}, {"max_tokens": 100}),
        (_CHAT, {"max_tokens": 100}, {}),
        (_CHAT, {"max_completion_tokens": 101, "max_tokens": 9}, {"max_completion_tokens": 100}),
        ("/v1/completions", {"prompt": "a"}, {"max_tokens": 100}),
        ("/v1/completions", {"prompt": "a", "max_tokens": 0}, {}),
        (_RESPONSES, {"input": "a"}, {"max_output_tokens": 100}),
        (_RESPONSES, {"input": "a", "max_output_tokens": 99}, {}),
        (
            _RESPONSES,
            {"tools": [{"type": "web_search"}], "max_output_tokens": 200},
            {"max_output_tokens": 100, "max_tool_calls": 10},
        ),
        (_RESPONSES, {"tools": [{"type": "web_search"}], "max_tool_calls": 2}, {"max_output_tokens": 100}),
        ("/v1/responses/compact", {"input": "a"}, {}),
        ("/v1/embeddings", {"input": "a"}, {}),
    ],
)
def test_what_is_written_into_the_request(path: str, fields: Mapping[str, Any], edits: Mapping[str, Any]) -> None:
    assert _bound({**_chat(), **fields}, path, cap=100).edits == edits


@pytest.mark.parametrize(
    "content",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://a/b.pdf"}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "JVBERi0="}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
        {"input": [{"type": "reasoning", "encrypted_content": "gAAAAA"}]},
        {"input": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://a/b"}}]}]},
        {"input": "a", "tools": [{"type": "apply_patch"}]},
        {"input": "a", "chat_template": "{% for i in range(9999) %}word {% endfor %}"},
        {"input": [{"role": "user", "content": [{"TYPE": "Input_File", "File_Data": "JVBERi0="}]}]},
    ],
    ids=str,
)
def test_what_is_not_in_the_body_can_fill_the_context(content: dict[str, Any]) -> None:
    assert _usage({"model": "m", **content}, _RESPONSES).input_tokens == _CONTEXT
    bound = _bound({"model": "m", **content}, _RESPONSES)
    assert bound.usage(context_tokens=None, output_tokens=1) is None


@pytest.mark.parametrize(
    ("tool", "fees"),
    [
        ({"type": "web_search_2025_08_26"}, {"web_searches": 3}),
        ({"type": "web_search_preview"}, {"web_searches": 3}),
        ({"type": "file_search", "vector_store_ids": []}, {"file_searches": 3}),
        ({"type": "mcp", "server_url": "https://a"}, {}),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, {"containers": 4}),
        ({"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "16g"}}, {"containers": 64}),
        ({"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "1t"}}, {"containers": 256}),
        ({"type": "code_interpreter", "container": "cntr_1"}, {"containers": 64}),
        ({"type": "shell", "environment": {"type": "container_auto"}}, {"containers": 4}),
    ],
)
def test_upstreams_own_tools(tool: dict[str, Any], fees: dict[str, Any]) -> None:
    """Each call is another turn, and so is one call more that is not made."""
    usage = _usage({"model": "m", "tools": [tool], "max_tool_calls": 3, "max_output_tokens": 10}, _RESPONSES)
    assert usage == Usage(input_tokens=5 * _CONTEXT, output_tokens=50)._replace(**fees)


def test_a_response_that_sums_up_on_the_way_has_more_turns() -> None:
    context = {"context_management": [{"type": "compaction", "compact_threshold": 1000}]}
    plain, compacting = ({"model": "m", "input": "a", "max_output_tokens": 9, **more} for more in ({}, context))
    assert _usage(compacting, _RESPONSES).output_tokens == 2 * _usage(plain, _RESPONSES).output_tokens
    trigger = {"model": "m", "input": [{"type": "compaction_trigger"}], "max_output_tokens": 9}
    assert _usage(trigger, _RESPONSES).output_tokens == 18


@pytest.mark.parametrize(
    ("path", "content", "param"),
    [
        (_RESPONSES, {"tools": [{"type": "image_generation"}]}, "tools[0]"),
        (_RESPONSES, {"tools": [{"type": "function", "name": "f"}, {"type": "brand_new"}]}, "tools[1]"),
        (_RESPONSES, {"tools": [{"type": "function", "Type": "mcp"}]}, "tools[0]"),
        (_RESPONSES, {"prompt": {"id": "pmpt_1"}}, "prompt"),
        (_RESPONSES, {"multi_agent": {"enabled": True}}, "multi_agent"),
        (_RESPONSES, {"input": [{"type": "additional_tools", "tools": [{"type": "mcp"}]}]}, "input"),
        ("/v1/responses/compact", {"input": [{"type": "additional_tools", "tools": [{"type": "mcp"}]}]}, "input"),
        ("/v1/conversations", {"items": [{"type": "additional_tools", "tools": [{"type": "web_search"}]}]}, "items"),
        (_CHAT, {"tools": [{"type": "web_search"}]}, "tools"),
        ("/v1/embeddings", {"input": [{"type": "input_file", "file_data": "A"}]}, "input"),
    ],
)
def test_what_cannot_be_bounded(path: str, content: dict[str, Any], param: str) -> None:
    bound = _bound({**_chat(max_output_tokens=5, max_tokens=5), **content}, path)
    assert bound.unbounded == param
    assert bound.usage(context_tokens=_CONTEXT, output_tokens=_MOST) is None


def test_tools_of_the_clients_own_are_no_more_than_text() -> None:
    tools = [
        {"type": "function", "name": "f", "parameters": {"properties": {"image_url": {"type": "string"}}}},
        {"type": "custom", "name": "g"},
        {"type": "namespace", "name": "h", "tools": [{"type": "function", "name": "i"}]},
    ]
    assert _usage({"model": "m", "input": "a", "tools": tools, "max_output_tokens": 9}, _RESPONSES).input_tokens < 1500


def test_searching_in_a_chat() -> None:
    usage = _usage(_chat(web_search_options={}, n=2, max_tokens=10))
    assert usage == Usage(input_tokens=_CONTEXT, output_tokens=20, web_searches=2)
    bound = _bound(_chat(max_tokens=10))
    searching = bound.usage(context_tokens=_CONTEXT, output_tokens=_MOST, model="gpt-4o-search-preview-2025-03-11")
    assert searching == Usage(input_tokens=_CONTEXT, output_tokens=10, web_searches=1)


@pytest.mark.parametrize(
    "content",
    [
        b'{"model": "m", "messages": [{}], "max_tokens": 9, "max_tokens": 100000}',
        b'{"model": "m", "messages": [{}], "max_tokens": 9, "max_t\\u006fkens": 100000}',
        b'{"model": "m", "messages": [{}], "n": 1, "N": 100}',
        b'{"model": "m", "messages": [{}], "MAX_TOKENS": 100000}',
        '{"model": "m", "messages": [{}], "max_to\u212aens": 100000}'.encode(),
        '{"model": "m", "messages": [{}], "tool\u017f": []}'.encode(),
        b'{"model": "m", "messages": [{"content": [{"type": "text", "type": "image_url", "text": "a"}]}]}',
    ],
)
@pytest.mark.parametrize("pieces", [0, 20_000])
def test_what_could_be_read_in_two_ways_is_refused(content: bytes, pieces: int) -> None:
    longer = content.replace(b"}]", b"}" + b",{}" * pieces + b"]", 1)
    with pytest.raises(errors.InvalidRequest) as caught:
        _of(longer)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "part",
    [
        b'{"type": "image_url", "image_url": {"url": "https://a/b"}}',
        b'{"type": "image\\u005furl", "image\\u005Furl": {"url": "https://a/b"}}',
        b'{"\\u0069mage_url": "https://a/b"}',
        b'{"Type": "x", "IMAGE_URL": "https://a/b"}',
        b'{"type": "input_image", "image_url": "https://a/b"}',
        b'{"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "https://a/b"}}',
        b'{"image": "iVBORw0KGgo="}',
        b'{"x": {"y": [[{"image_url": "https://a/b"}]]}}',
        '{"computer_\u017fcreenshot": "https://a/b"}'.encode(),
    ],
)
@pytest.mark.parametrize("pieces", [0, 20_000])
def test_an_image_is_seen_however_it_is_written(part: bytes, pieces: int) -> None:
    content = b'{"model": "m", "messages": [{"content": [' + part + b"]}" + b",{}" * pieces + b'], "max_tokens": 1}'
    bound = _bound(content)
    assert bound.input_tokens == len(content) + 500 + _LIMITS.image_tokens


def test_a_body_of_many_pieces_is_bounded_without_making_objects_of_them() -> None:
    content = json.dumps(_chat(messages=[{"role": "user", "content": "hi"}] * 20_000)).encode()
    assert _bound(content).input_tokens == len(content) + 500


@pytest.mark.parametrize("value", [b"-1", b"1.0", b"1e400", b"NaN", b'"5"', b"true", b"[]", b"{}", b"9" * 400])
@pytest.mark.parametrize("field", ["n", "max_tokens", "max_completion_tokens", "max_output_tokens", "max_tool_calls"])
def test_numbers_that_are_none_are_refused(field: str, value: bytes) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        _of(b'{"model": "m", "messages": [{}], "' + field.encode() + b'": ' + value + b"}")
    assert (caught.value.status, caught.value.param) == (400, field)
    assert caught.value.code in ("invalid_type", "invalid_value")


@pytest.mark.parametrize(
    "content",
    [
        b'{"model": "m", "messages": [{"content": ' + b"[" * 150 + b"]" * 150 + b"}]}",
        b'{"model": "m", "messages": [{"content": NaN}], "tools": 5}',
        b'{"model": "m", "messages": [{"content": 1e400}], "tools": {"type": "mcp"}}',
        b'{"model": "m", "messages": [{"content": null}], "tools": [5, null, [], {}]}',
        b'{"model": "m", "messages": [{"type": 5, "image_url": 7}], "prediction": []}',
        b'{"model": "m", "messages": [{"type": ["image_url"], "tools": [[]]}], "web_search_options": 0}',
    ],
)
def test_odd_bodies_are_bounded_too(content: bytes) -> None:
    assert _usage(content).input_tokens >= min(len(content), _CONTEXT)


_MANGLED = (b'"', b"\\", b"{", b"}", b"\\ud800", b",", b"\xff", b":")


@given(chat=_CHATS, chance=st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_a_mangled_body_is_bounded_or_refused(chat: dict[str, Any], chance: random.Random) -> None:
    written = bytearray(_written(chat, chance).encode())
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(written))
        written[at : at + chance.randrange(3)] = chance.choice(
            [b'"', b"\\", b"{", b"}", b"\\ud800", b",", b"\xff", b":"]
        )
    try:
        bound = _of(bytes(written))
    except errors.InvalidRequest:
        return
    assert bound is not None


def test_embeddings() -> None:
    texts, ids = {"model": "m", "input": ["a" * 9000] * 20}, {"model": "m", "input": [[1, 2, 3]] * 50_000}
    assert 180_000 <= _usage(texts, "/v1/embeddings").input_tokens <= 181_000
    assert _usage(ids, "/v1/embeddings").input_tokens >= 150_000
    assert _usage(texts, "/v1/embeddings").output_tokens == 0


@pytest.mark.parametrize(
    ("model", "fields", "tokens"),
    [
        ("gpt-image-1", {"quality": "low"}, 408),
        ("gpt-image-1-mini", {}, 6240),
        ("gpt-image-1", {"quality": ["low"]}, 6240),
        ("gpt-image-2", {"quality": "low"}, 20_000),
        ("gpt-image-1.5", {}, 20_000),
        (None, {"partial_images": 3}, 20_300),
    ],
)
def test_images_that_are_made(model: str | None, fields: dict[str, Any], tokens: int) -> None:
    bound = _bound({"prompt": "a cat", "n": 3, **fields}, "/v1/images/generations")
    usage = bound.usage(context_tokens=None, output_tokens=None, model=model)
    assert usage is not None
    assert (usage.images, usage.output_tokens) == (3, 3 * tokens)
    assert 0 < usage.input_tokens < 500


@pytest.mark.parametrize("key", sorted(content._TEXT_KEYS))
@pytest.mark.parametrize("value", ["data:image/png;base64,AA", {"url": "https://x.test"}, ["x"], [{"type": "x"}], 1])
def test_keys_that_are_passed_over_tell_of_nothing(key: str, value: object) -> None:
    found = content.Content()
    assert content._take_member(found, key, value) == 0
    assert found == content.Content()


def test_images_that_are_shown_to_be_changed() -> None:
    form = _form(("prompt", "a hat"), ("n", "2"), files={"image[]": b"a" * 70_000, "mask": b"b"})
    usage = _usage(form, "/v1/images/edits", content_type=_FORM_TYPE)
    assert usage.images == 2
    assert 2 * 2 * _LIMITS.image_tokens < usage.input_tokens < 2 * 2 * _LIMITS.image_tokens + 100
    sent = {"prompt": "a hat", "images": [{"file_id": "file-1"}, {"image_url": "https://a"}], "mask": {"file_id": "f"}}
    usage = _usage(sent, "/v1/images/edits")
    assert 3 * _LIMITS.image_tokens < usage.input_tokens < 3 * _LIMITS.image_tokens + 500


@pytest.mark.parametrize("n", ["two", "-1", "1.0", "0", "129", "9" * 30, "", "\u0661"])
def test_a_forms_numbers_are_numbers(n: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        _of(_form(("n", n), files={"image": b"a"}), "/v1/images/edits", content_type=_FORM_TYPE)
    assert caught.value.param == "n"


def test_a_forms_number_stands_there_once() -> None:
    with pytest.raises(errors.InvalidRequest, match="more than once"):
        _of(_form(("n", "1"), ("n", "9")), "/v1/images/edits", content_type=_FORM_TYPE)


def test_speech() -> None:
    usage = _usage({"model": "tts-1", "input": "Hello 日本 \U0001f600", "voice": "alloy"}, "/v1/audio/speech")
    assert usage.characters == 11
    assert usage.output_tokens == 11 * _LIMITS.speech_tokens_per_character


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations"])
def test_recordings(path: str) -> None:
    """A minute at 6 kbit/s is a minute, and nothing sent is longer than nothing."""
    minute = _form(("model", "whisper-1"), files={"file": b"a" * 45_000})
    usage = _usage(minute, path, content_type=_FORM_TYPE)
    assert 60_000 <= usage.audio_milliseconds <= 62_000
    assert usage.input_tokens >= 600
    assert usage.output_tokens >= 600
    assert _usage(_form(("model", "whisper-1")), path, content_type=_FORM_TYPE).audio_milliseconds >= 1000


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("/v1/vector_stores/vs_1/search", {"query": "a"}, Usage(file_searches=1)),
        ("/v1/vector_stores/vs_1/search", {"query": ["a", "b"]}, Usage(file_searches=2)),
        ("/v1/containers", {"name": "a"}, Usage(containers=1)),
        ("/v1/containers", {"name": "a", "memory_limit": "64g"}, Usage(containers=64)),
    ],
)
def test_what_has_a_fee(path: str, content: dict[str, Any], expected: Usage) -> None:
    assert _bound(content, path).usage(context_tokens=None, output_tokens=None) == expected


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1/moderations", {"input": "a"}),
        ("/v1/responses/input_tokens", {"input": "a", "model": "m"}),
        ("/v1/conversations", {"items": [{"type": "message", "role": "user", "content": "a"}]}),
        ("/v1/conversations", {}),
        ("/v1/vector_stores", {"name": "a"}),
    ],
)
def test_what_is_free(path: str, content: dict[str, Any]) -> None:
    assert _of(content, path) is None


def test_the_service_tier_is_told() -> None:
    assert _usage(_chat(service_tier="priority", max_tokens=1)).service_tier == "priority"
    assert _usage(_chat(max_tokens=1)).service_tier is None


def test_whatever_is_asked_for_fits_into_a_store() -> None:
    """The dearest price known is below a thousand dollars for a million tokens."""
    tools = [{"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "64g"}}]
    usage = _usage(
        {
            "model": "m",
            "tools": tools,
            "max_tool_calls": 10_000,
            "max_output_tokens": 10_000_000,
            "context_management": [],
        },
        _RESPONSES,
    )
    assert usage.tokens * 1_000_000 < 2**63
