"""What the offline upstream stores, asked by the real client: one account for all keys, ids, pages, deletions."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from local.offline.refusal import Refusal
from local.offline.shelf import Shelf, page
from offline_client import Upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.started() as started:
        yield started


@pytest.fixture
def fresh() -> Iterator[Upstream]:
    """With nothing stored."""
    with Upstream.started() as started:
        yield started


def _file(upstream: Upstream, content: bytes = b"a leaf", purpose: Any = "assistants", name: str = "a.txt") -> str:
    return upstream.client.files.create(file=(name, content), purpose=purpose).id


_MESSAGE: Any = {"role": "user", "content": "x"}
_BATCH: dict[str, Any] = {"completion_window": "24h", "endpoint": "/v1/chat/completions"}


def _chat(upstream: Upstream) -> str:
    return upstream.client.chat.completions.create(model="gpt-4o", messages=[_MESSAGE], store=True).id


def _upload(upstream: Upstream) -> str:
    ask: dict[str, Any] = {"bytes": 6, "filename": "a.txt", "mime_type": "text/plain", "purpose": "assistants"}
    return upstream.client.uploads.create(**ask).id


def _batch(upstream: Upstream) -> str:
    return upstream.client.batches.create(input_file_id=_file(upstream, b"{}", "batch"), **_BATCH).id


# Each kind of object: its path, the beginning of its ids, and a way to make one.
_KINDS = [
    ("chat/completions", "chatcmpl-", _chat),
    ("responses", "resp_", lambda upstream: upstream.client.responses.create(model="gpt-4o", input="x").id),
    ("conversations", "conv_", lambda upstream: upstream.client.conversations.create().id),
    ("files", "file-", _file),
    ("batches", "batch_", _batch),
    ("vector_stores", "vs_", lambda upstream: upstream.client.vector_stores.create(name="x").id),
    ("containers", "cntr_", lambda upstream: upstream.client.containers.create(name="x").id),
]


@pytest.mark.parametrize(("path", "prefix", "make"), _KINDS, ids=[kind[0] for kind in _KINDS])
def test_an_object_is_every_keys_until_it_is_deleted(upstream: Upstream, path: str, prefix: str, make: Any) -> None:
    first, second = make(upstream), make(upstream)
    assert first != second
    assert first.startswith(prefix)
    url = f"/v1/{path}/{first}"
    assert upstream.ask("GET", url, authorization="Bearer another").json["id"] == first
    if path == "batches":
        return  # they cannot be deleted
    assert upstream.ask("DELETE", url, authorization="Bearer another").json["deleted"] is True
    for method in ("GET", "DELETE"):
        answer = upstream.ask(method, url)
        assert (answer.status, answer.json["error"]["type"]) == (404, "invalid_request_error")
        assert first in answer.json["error"]["message"]
    assert upstream.ask("GET", f"/v1/{path}/{second}").status == 200


_LISTED = [kind for kind in _KINDS if kind[0] not in ("responses", "conversations")]


@pytest.mark.parametrize(("path", "make"), [(kind[0], kind[2]) for kind in _LISTED], ids=[kind[0] for kind in _LISTED])
def test_a_list_is_paged(fresh: Upstream, path: str, make: Any) -> None:
    ids = [make(fresh) for _ in range(5)]
    order = "&order=asc" if path != "batches" else ""
    expected = ids if order else ids[::-1]
    seen, after = list[str](), ""
    for size, has_more in ((2, True), (2, True), (1, False)):
        listed = fresh.ask("GET", f"/v1/{path}?limit=2{order}{after}").json
        found = [one["id"] for one in listed["data"]]
        assert (len(found), listed["has_more"]) == (size, has_more)
        assert (listed["object"], listed["first_id"], listed["last_id"]) == ("list", found[0], found[-1])
        seen += found
        after = f"&after={found[-1]}"
    assert seen == expected
    assert fresh.ask("GET", f"/v1/{path}?after=none").status == 404
    for wrong in ("limit=0", "limit=x", "limit=10001", "order=up"):
        assert fresh.ask("GET", f"/v1/{path}?{wrong}").status == 400


def test_an_empty_list_has_no_ids(fresh: Upstream) -> None:
    for path, _, _ in _LISTED:
        empty: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
        assert fresh.ask("GET", f"/v1/{path}").json == empty


def test_stored_chats_are_found_by_model_and_metadata(fresh: Upstream) -> None:
    chats = fresh.client.chat.completions
    one = chats.create(model="gpt-4o", messages=[_MESSAGE], store=True, metadata={"a": "1", "b": "2"})
    two = chats.create(model="gpt-4.1", messages=[_MESSAGE], store=True, metadata={"a": "1"})
    chats.create(model="gpt-4o", messages=[_MESSAGE])
    assert [chat.id for chat in chats.list()] == [one.id, two.id]
    assert [chat.id for chat in chats.list(model="gpt-4.1")] == [two.id]
    assert [chat.id for chat in chats.list(metadata={"a": "1", "b": "2"})] == [one.id]
    chats.update(one.id, metadata={"c": "3"})
    assert [chat.id for chat in chats.list(metadata={"c": "3"})] == [one.id]
    (message,) = fresh.ask("GET", f"/v1/chat/completions/{one.id}/messages").json["data"]
    assert (message["role"], message["content"], message["id"]) == ("user", "x", f"{one.id}-0")


def test_a_chat_names_files_that_are_there(upstream: Upstream) -> None:
    ask: dict[str, Any] = {"model": "gpt-4o", "messages": []}
    for file, status in ((_file(upstream), 200), ("file-0", 404)):
        ask["messages"] = [{"role": "user", "content": [{"type": "file", "file": {"file_id": file}}]}]
        assert upstream.ask("POST", "/v1/chat/completions", ask).status == status


def test_a_streamed_chat_is_stored_too(fresh: Upstream) -> None:
    stream = fresh.client.chat.completions.create(model="gpt-4o", messages=[_MESSAGE], store=True, stream=True)
    (chunk_id,) = {chunk.id for chunk in stream}
    assert [chat.id for chat in fresh.client.chat.completions.list()] == [chunk_id]


def test_a_conversation_has_items(upstream: Upstream) -> None:
    client = upstream.client.conversations
    made = client.create(items=[_MESSAGE], metadata={"a": "b"})
    assert client.update(made.id, metadata={"c": "d"}).metadata == {"c": "d"}
    added = client.items.create(made.id, items=[{"role": "assistant", "content": "y"}, _MESSAGE])
    assert {str(one.id)[:4] for one in client.items.list(made.id)} == {"msg_"}
    item: Any = added.data[0].id
    assert client.items.retrieve(item, conversation_id=made.id) == added.data[0]
    client.items.delete(item, conversation_id=made.id)
    with pytest.raises(openai.NotFoundError):
        client.items.retrieve(item, conversation_id=made.id)
    with pytest.raises(openai.BadRequestError):
        client.items.create(made.id, items=[_MESSAGE] * 21)


def test_a_files_bytes_come_back(upstream: Upstream) -> None:
    content = bytes(range(256)) + b"\r\n--\r\n\r\n"
    made = upstream.client.files.create(
        file=("lóng 名.bin", content), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert (made.filename, made.bytes, made.status) == ("lóng 名.bin", len(content), "processed")
    assert made.expires_at == made.created_at + 3600
    assert upstream.client.files.content(made.id).read() == content
    assert made.id in [file.id for file in upstream.client.files.list(purpose="user_data")]
    assert made.id not in [file.id for file in upstream.client.files.list(purpose="batch")]
    with pytest.raises(openai.BadRequestError) as error:
        _file(upstream, purpose="fun")
    assert error.value.param == "purpose"


def test_an_upload_becomes_a_file(upstream: Upstream) -> None:
    client = upstream.client.uploads
    made = client.upload_file_chunked(
        file=io.BytesIO(b"0123456789").read(), filename="a.txt", bytes=10, mime_type="text/plain", purpose="assistants",
        part_size=4,
    )  # fmt: skip
    assert made.file is not None
    assert upstream.client.files.content(made.file.id).read() == b"0123456789"
    pending = _upload(upstream)
    part = client.parts.create(pending, data=b"leaf a")
    with pytest.raises(openai.BadRequestError):
        client.complete(pending, part_ids=[part.id, part.id])
    with pytest.raises(openai.NotFoundError):
        client.complete(pending, part_ids=["part_0"])
    assert client.cancel(pending).status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        client.parts.create(pending, data=b"x")


def _lines(*bodies: dict[str, Any], url: str = "/v1/chat/completions") -> bytes:
    rows = [{"custom_id": str(n), "method": "POST", "url": url, "body": body} for n, body in enumerate(bodies)]
    return b"\n".join(json.dumps(row).encode() for row in rows)


def test_a_batch_answers_its_lines(upstream: Upstream) -> None:
    good, bad = {"model": "gpt-4o", "messages": [_MESSAGE]}, {"model": "offline;status=429"}
    file = _file(upstream, _lines(good, bad), "batch")
    made = upstream.client.batches.create(input_file_id=file, metadata={"a": "b"}, **_BATCH)
    assert made.status == "validating"
    done = upstream.client.batches.retrieve(made.id)
    assert (done.status, done.metadata) == ("completed", {"a": "b"})
    assert done.request_counts is not None
    assert done.request_counts.to_dict() == {"total": 2, "completed": 1, "failed": 1}
    (answered,) = upstream.client.files.content(str(done.output_file_id)).text.splitlines()
    assert json.loads(answered)["response"]["body"]["choices"][0]["message"]["content"].startswith("This is a canned")
    (failed,) = upstream.client.files.content(str(done.error_file_id)).text.splitlines()
    assert json.loads(failed)["response"]["status_code"] == 429


@pytest.mark.parametrize("content", [b"", b"x", b"[]", _lines({}, url="/v1/responses")])
def test_a_batch_of_something_else_fails(upstream: Upstream, content: bytes) -> None:
    made = upstream.client.batches.create(input_file_id=_file(upstream, content, "batch"), **_BATCH)
    done = upstream.client.batches.retrieve(made.id)
    assert done.status == "failed"
    assert done.errors is not None
    assert [error.line for error in done.errors.data or []] == [1]


def test_a_batch_is_cancelled(upstream: Upstream) -> None:
    batch = _batch(upstream)
    assert upstream.client.batches.cancel(batch).status == "cancelling"
    assert upstream.client.batches.retrieve(batch).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        upstream.client.batches.cancel(batch)
    with pytest.raises(openai.NotFoundError):
        upstream.client.batches.create(input_file_id="file-0", **_BATCH)


def test_a_vector_store_holds_files_and_searches_them(upstream: Upstream) -> None:
    client = upstream.client.vector_stores
    leaf, rain = _file(upstream, b"a green leaf"), _file(upstream, b"rain in spring")
    made = client.create(name="x", file_ids=[leaf], expires_after={"anchor": "last_active_at", "days": 7})
    assert made.file_counts.total == 1
    added = client.files.create_and_poll(rain, vector_store_id=made.id, attributes={"year": 2026, "wet": True})
    assert (added.id, added.status) == (rain, "completed")
    assert client.retrieve(made.id).usage_bytes == 26
    assert client.update(made.id, name="y", metadata={"a": "b"}).name == "y"
    found = client.search(made.id, query="spring rain")
    assert [one.file_id for one in found] == [rain, leaf]
    wet: Any = {"type": "and", "filters": [{"type": "gte", "key": "year", "value": 2026},
                                            {"type": "eq", "key": "wet", "value": True}]}  # fmt: skip
    assert [one.file_id for one in client.search(made.id, query="leaf", filters=wet)] == [rain]
    assert client.files.update(leaf, vector_store_id=made.id, attributes={"year": 1999}).attributes == {"year": 1999}
    assert [part.text for part in client.files.content(leaf, vector_store_id=made.id)] == ["a green leaf"]
    client.files.delete(leaf, vector_store_id=made.id)
    assert [file.id for file in client.files.list(made.id)] == [rain]
    assert upstream.client.files.retrieve(leaf).id == leaf


def test_files_come_in_batches(upstream: Upstream) -> None:
    client = upstream.client.vector_stores
    files = [_file(upstream) for _ in range(3)]
    store = client.create().id
    batch = client.file_batches.create_and_poll(store, file_ids=files)
    assert (batch.status, batch.file_counts.completed) == ("completed", 3)
    listed = client.file_batches.list_files(batch.id, vector_store_id=store, order="asc", filter="completed")
    assert [file.id for file in listed] == files
    assert client.file_batches.cancel(batch.id, vector_store_id=store).id == batch.id
    ask = f"/v1/vector_stores/{store}/files?order=asc&limit=1&before={files[2]}"
    assert [file["id"] for file in upstream.ask("GET", ask).json["data"]] == [files[1]]
    with pytest.raises(openai.NotFoundError):
        client.file_batches.create(store, file_ids=["file-0"])
    with pytest.raises(openai.NotFoundError):
        client.file_batches.retrieve("vsfb_0", vector_store_id=store)


def test_a_container_holds_files(upstream: Upstream) -> None:
    client = upstream.client.containers
    made = client.create(name="mine", file_ids=[_file(upstream)])
    assert (made.status, client.retrieve(made.id).name) == ("running", "mine")
    assert made.id in [container.id for container in client.list(name="mine")]
    sent = client.files.create(made.id, file=("b.txt", b"bytes"))
    assert (sent.path, sent.id[:6], sent.container_id) == ("/mnt/data/b.txt", "cfile_", made.id)
    copied = upstream.ask("POST", f"/v1/containers/{made.id}/files", {"file_id": _file(upstream)}).json
    assert [file.id for file in client.files.list(made.id)][:2] == [copied["id"], sent.id]
    assert client.files.content.retrieve(sent.id, container_id=made.id).read() == b"bytes"
    client.files.delete(sent.id, container_id=made.id)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(sent.id, container_id=made.id)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "responses/resp_0/input_items"),
        ("POST", "responses/resp_0/cancel"),
        ("GET", "chat/completions/chatcmpl-0/messages"),
        ("POST", "conversations/conv_0/items"),
        ("GET", "files/file-0/content"),
        ("POST", "uploads/upload_0/parts"),
        ("POST", "uploads/upload_0/cancel"),
        ("POST", "batches/batch_0/cancel"),
        ("POST", "vector_stores/vs_0/search"),
        ("GET", "vector_stores/vs_0/file_batches/vsfb_0/files"),
        ("GET", "containers/cntr_0/files"),
        ("GET", "realtime/sessions"),
    ],
)
def test_what_is_not_there_is_not_found(upstream: Upstream, method: str, path: str) -> None:
    answer = upstream.ask(method, f"/v1/{path}", None if method == "GET" else {})
    assert (answer.status, answer.json["error"]["type"]) == (404, "invalid_request_error")


def test_a_test_sees_and_drops_what_is_stored(fresh: Upstream) -> None:
    file, chat = _file(fresh), _chat(fresh)
    objects = fresh.ask("GET", "/offline/objects").json
    assert {kind: ids for kind, ids in objects.items() if ids} == {"files": [file], "chats": [chat]}
    assert fresh.ask("DELETE", "/offline/objects").json == {"cleared": True}
    assert not any(fresh.ask("GET", "/offline/objects").json.values())


def test_a_shelf_keeps_the_last_objects() -> None:
    shelf = Shelf[int]("No {}.")
    for number in range(5_001):
        shelf.put(str(number), number)
    assert (shelf.find("0"), shelf.get("1"), shelf.take("5000")) == (None, 1, 5000)
    with pytest.raises(Refusal, match=r"No 5000\."):
        shelf.get("5000")


@pytest.mark.parametrize(
    ("query", "ids", "has_more"),
    [
        ({}, "cba", False),
        ({"order": "asc", "limit": "2"}, "ab", True),
        ({"after": "c", "limit": "1"}, "b", True),
        ({"before": "a", "limit": "1"}, "b", True),
        ({"before": "b", "limit": "9"}, "c", False),
        ({"after": "c", "before": "a"}, "b", False),
        ({"after": "a"}, "", False),
    ],
    ids=str,
)
def test_a_page_lies_between_after_and_before(query: dict[str, str], ids: str, has_more: bool) -> None:
    listed = page([{"id": name} for name in "abc"], query)
    assert ("".join(row["id"] for row in listed["data"]), listed["has_more"]) == (ids, has_more)


def test_headers_direct_what_has_no_model(upstream: Upstream) -> None:
    assert upstream.ask("GET", "/v1/files", x_offline="status=503").status == 503
    assert upstream.ask("POST", "/v1/vector_stores", {"name": "lost"}, x_offline="status=500").status == 500
    assert "lost" not in [store.name for store in upstream.client.vector_stores.list()]
