"""Two apps on one OpenAI account: neither sees, uses, lists or deletes what the other has made, on any cloud."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest

from core.admin import Admin
from core.sqlite_store import SqliteStore
from local.services import CLOUDS
from local_deployment import LocalDeployment

_MODEL = "offline;pace=0"


@dataclass(frozen=True, slots=True)
class Tenants:
    """Two apps of one cloud, as their clients; and the account that both share, as the operator sees it."""

    alice: openai.OpenAI
    bob: openai.OpenAI
    account: openai.OpenAI


@pytest.fixture(scope="module")
def keys(deployment: LocalDeployment) -> tuple[str, str]:
    async def make() -> tuple[str, str]:
        store = SqliteStore(deployment.state / "store.sqlite3")
        try:
            return await Admin(store).new_key("alice"), await Admin(store).new_key("bob")
        finally:
            store.close()

    return asyncio.run(make())


@pytest.fixture(scope="module", params=CLOUDS)
def tenants(request: pytest.FixtureRequest, deployment: LocalDeployment, keys: tuple[str, str]) -> Iterator[Tenants]:
    url = deployment.base_urls[request.param]
    with (
        openai.OpenAI(base_url=url, api_key=keys[0], max_retries=0) as alice,
        openai.OpenAI(base_url=url, api_key=keys[1], max_retries=0) as bob,
        openai.OpenAI(base_url=deployment.upstream_url, api_key="sk-operator", max_retries=0) as account,
    ):
        yield Tenants(alice, bob, account)


@dataclass(frozen=True, slots=True)
class Things:
    """One of everything, all of it Alice's."""

    response: str
    item: str
    conversation: str
    completion: str
    file: str
    upload: str
    vector_store: str
    container: str


@pytest.fixture(scope="module")
def things(tenants: Tenants) -> Things:
    alice = tenants.alice
    response = alice.responses.create(model=_MODEL, input="hi")
    file = alice.files.create(file=("secret.txt", io.BytesIO(b"the secret")), purpose="user_data")
    return Things(
        response=response.id,
        item=str(response.output[0].id),
        conversation=alice.conversations.create().id,
        completion=alice.chat.completions.create(
            model=_MODEL, messages=[{"role": "user", "content": "hi"}], store=True
        ).id,
        file=file.id,
        upload=alice.uploads.create(bytes=3, filename="a.txt", mime_type="text/plain", purpose="user_data").id,
        vector_store=alice.vector_stores.create(file_ids=[file.id]).id,
        container=alice.containers.create(name="box").id,
    )


_PATHS = [
    ("GET", "/responses/{response}"),
    ("GET", "/responses/{response}?stream=true"),
    ("GET", "/responses/{response}/input_items"),
    ("POST", "/responses/{response}/cancel"),
    ("DELETE", "/responses/{response}"),
    ("GET", "/conversations/{conversation}"),
    ("POST", "/conversations/{conversation}"),
    ("GET", "/conversations/{conversation}/items"),
    ("POST", "/conversations/{conversation}/items"),
    ("DELETE", "/conversations/{conversation}"),
    ("GET", "/chat/completions/{completion}"),
    ("GET", "/chat/completions/{completion}/messages"),
    ("POST", "/chat/completions/{completion}"),
    ("DELETE", "/chat/completions/{completion}"),
    ("GET", "/files/{file}"),
    ("GET", "/files/{file}/content"),
    ("DELETE", "/files/{file}"),
    ("POST", "/uploads/{upload}/complete"),
    ("POST", "/uploads/{upload}/cancel"),
    ("GET", "/vector_stores/{vector_store}"),
    ("POST", "/vector_stores/{vector_store}"),
    ("POST", "/vector_stores/{vector_store}/search"),
    ("GET", "/vector_stores/{vector_store}/files"),
    ("GET", "/vector_stores/{vector_store}/files/{file}"),
    ("GET", "/vector_stores/{vector_store}/files/{file}/content"),
    ("POST", "/vector_stores/{vector_store}/files"),
    ("POST", "/vector_stores/{vector_store}/file_batches"),
    ("DELETE", "/vector_stores/{vector_store}"),
    ("GET", "/containers/{container}"),
    ("GET", "/containers/{container}/files"),
    ("POST", "/containers/{container}/files"),
    ("DELETE", "/containers/{container}"),
    # The same ids, written otherwise.
    ("GET", "/responses/%72esp_{response[5:]}"),
    ("GET", "/files/{file}%20"),
    ("GET", "/files/{file}%00"),
    ("GET", "/files/x%2F..%2F{file}"),
    ("GET", "/files/./{file}"),
    ("GET", "/files//{file}"),
]

_BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/responses", {"model": _MODEL, "input": "hi", "previous_response_id": "{response}"}),
    ("/responses", {"model": _MODEL, "input": "hi", "conversation": "{conversation}"}),
    ("/responses", {"model": _MODEL, "input": "hi", "conversation": {"id": "{conversation}"}}),
    ("/responses", {"model": _MODEL, "input": [{"type": "item_reference", "id": "{item}"}]}),
    ("/responses", {"model": _MODEL, "input": [{"id": "{item}"}]}),
    (
        "/responses",
        {"model": _MODEL, "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "{file}"}]}]},
    ),
    (
        "/responses",
        {"model": _MODEL, "input": "hi", "tools": [{"type": "file_search", "vector_store_ids": ["{vector_store}"]}]},
    ),
    (
        "/responses",
        {"model": _MODEL, "input": "hi", "tools": [{"type": "code_interpreter", "container": "{container}"}]},
    ),
    ("/responses/input_tokens", {"model": _MODEL, "previous_response_id": "{response}"}),
    (
        "/chat/completions",
        {"model": _MODEL, "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "{file}"}}]}]},
    ),
    ("/vector_stores", {"file_ids": ["{file}"]}),
    ("/containers", {"name": "mine", "file_ids": ["{file}"]}),
    ("/conversations", {"items": [{"type": "item_reference", "id": "{item}"}]}),
    ("/vector_stores", {"file_ids": ["{file}"], "container_id": None}),
]


def _filled(template: str, things: Things) -> str:
    values = {name: getattr(things, name) for name in Things.__slots__}
    for name, value in values.items():
        template = template.replace("{" + name + "}", value).replace("{" + name + "[5:]}", value[5:])
    return template


def _send(client: openai.OpenAI, method: str, path: str, **more: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {client.api_key}"}
    return httpx2.request(method, str(client.base_url).rstrip("/") + path, headers=headers, timeout=30, **more)


@pytest.mark.parametrize(("method", "path"), _PATHS)
def test_another_app_s_object_is_not_there(tenants: Tenants, things: Things, method: str, path: str) -> None:
    unknown = Things(*(f"{name}_unknown" for name in Things.__slots__))
    content: dict[str, Any] = {"json": {}} if method == "POST" else {}
    theirs = _send(tenants.bob, method, _filled(path, things), **content)
    nobodys = _send(tenants.bob, method, _filled(path, unknown), **content)
    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    their_error, nobodys_error = theirs.json()["error"], nobodys.json()["error"]
    # Nothing but the id in the message, which the client itself sent, tells the two apart.
    assert {**their_error, "message": ""} == {**nobodys_error, "message": ""}


@pytest.mark.parametrize(("path", "body"), _BODIES)
def test_another_app_s_object_cannot_be_used(tenants: Tenants, things: Things, path: str, body: dict[str, Any]) -> None:
    content = _filled(json.dumps(body), things)
    refused = _post(tenants.bob, path, content)
    assert refused.status_code == 404, refused.text
    assert refused.json()["error"]["param"]
    assert _post(tenants.alice, path, content).status_code == 200


def _post(client: openai.OpenAI, path: str, content: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {client.api_key}", "content-type": "application/json"}
    return httpx2.post(str(client.base_url).rstrip("/") + path, headers=headers, content=content, timeout=30)


def test_the_owner_can_do_all_of_it(tenants: Tenants, things: Things) -> None:
    alice = tenants.alice
    assert alice.responses.retrieve(things.response).id == things.response
    assert alice.files.content(things.file).read() == b"the secret"
    assert alice.conversations.retrieve(things.conversation).id == things.conversation
    assert alice.chat.completions.retrieve(things.completion).id == things.completion
    assert alice.vector_stores.files.list(things.vector_store).data[0].id == things.file
    assert alice.containers.retrieve(things.container).id == things.container


def test_lists_show_the_app_s_own(tenants: Tenants, things: Things) -> None:
    mine = tenants.bob.files.create(file=("mine.txt", io.BytesIO(b"x")), purpose="user_data").id
    assert {things.file, mine} <= {file.id for file in tenants.account.files.list()}
    assert mine in {file.id for file in tenants.bob.files.list()}
    assert things.file not in {file.id for file in tenants.bob.files.list(limit=1)}
    assert things.file in {file.id for file in tenants.alice.files.list(limit=1)}
    assert things.vector_store not in {store.id for store in tenants.bob.vector_stores.list()}
    assert things.vector_store in {store.id for store in tenants.alice.vector_stores.list()}
    assert things.container not in {container.id for container in tenants.bob.containers.list()}
    assert things.container in {container.id for container in tenants.alice.containers.list()}
    assert things.completion not in {completion.id for completion in tenants.bob.chat.completions.list()}
    assert things.completion in {completion.id for completion in tenants.alice.chat.completions.list()}


def test_what_is_deleted_is_gone_from_lists(tenants: Tenants) -> None:
    file = tenants.alice.files.create(file=("short.txt", io.BytesIO(b"x")), purpose="user_data").id
    tenants.alice.files.delete(file)
    assert file not in {one.id for one in tenants.alice.files.list()}
    with pytest.raises(openai.NotFoundError):
        tenants.alice.files.retrieve(file)


def test_tricks_that_once_worked(tenants: Tenants, things: Things) -> None:
    """A reviewer read Alice's secrets through each of these."""
    mine = tenants.bob.vector_stores.create().id
    box = tenants.bob.containers.create(name="box").id
    for body in (
        {"file_id": things.file, "container_id": None},
        {"file_id": things.file, "container_id": box, "type": "container_file_citation"},
    ):
        assert _post(tenants.bob, f"/vector_stores/{mine}/files", json.dumps(body)).status_code == 404
    padded = [{"type": "item_reference", "id": things.item, "role": "user", "content": "x"}]
    assert _post(tenants.bob, "/responses", json.dumps({"model": _MODEL, "input": padded})).status_code == 404
    for disposition in (
        b'X-A: a; filename=b\r\nContent-Disposition: form-data; name="file_id"',
        b'X-A: a; name="foo"\r\nContent-Disposition: form-data; name="file_id"',
        b'Content-Disposition: form-data; name="foo"; name="file_id"',
        b"Content-Disposition: form-data; name=file_id",
    ):
        content = b"--b\r\n" + disposition + b"\r\n\r\n" + things.file.encode() + b"\r\n--b--\r\n"
        headers = {"content-type": "multipart/form-data; boundary=b", "authorization": f"Bearer {tenants.bob.api_key}"}
        url = str(tenants.bob.base_url).rstrip("/") + f"/containers/{box}/files"
        assert httpx2.post(url, content=content, headers=headers).status_code in (400, 404)
    many = {"name": "box", "file_ids": [f"file-{number}" for number in range(50_000)]}
    assert _post(tenants.bob, "/containers", json.dumps(many)).status_code == 400


def test_what_upstream_forgot_is_gone_from_lists(tenants: Tenants) -> None:
    file = tenants.alice.files.create(file=("lost.txt", io.BytesIO(b"x")), purpose="user_data").id
    tenants.account.files.delete(file)
    assert file not in {one.id for one in tenants.alice.files.list()}


def test_a_streamed_response_is_the_app_s_own(tenants: Tenants) -> None:
    with tenants.alice.responses.stream(model=_MODEL, input="hi") as stream:
        first = next(iter(stream))
        assert first.type == "response.created"
        # Its id works as soon as the client knows it.
        assert tenants.alice.responses.retrieve(first.response.id).id == first.response.id
        final = stream.get_final_response()
    follow_up = tenants.alice.responses.create(model=_MODEL, input="and?", previous_response_id=final.id)
    assert follow_up.previous_response_id == final.id
    item: Any = final.output[0]
    reference: Any = [{"type": "item_reference", "id": item.id}, {"role": "user", "content": "and?"}]
    assert tenants.alice.responses.create(model=_MODEL, input=reference).id
    with pytest.raises(openai.NotFoundError):
        tenants.bob.responses.create(model=_MODEL, input=reference)
    with pytest.raises(openai.NotFoundError):
        tenants.bob.responses.retrieve(final.id)


def test_a_streamed_chat_that_is_stored(tenants: Tenants) -> None:
    stream = tenants.alice.chat.completions.create(
        model=_MODEL, messages=[{"role": "user", "content": "stream"}], store=True, stream=True
    )
    (completion,) = {chunk.id for chunk in stream}
    assert tenants.alice.chat.completions.retrieve(completion).id == completion
    with pytest.raises(openai.NotFoundError):
        tenants.bob.chat.completions.retrieve(completion)


def test_an_upload_becomes_the_app_s_file(tenants: Tenants) -> None:
    upload = tenants.alice.uploads.create(bytes=3, filename="a.txt", mime_type="text/plain", purpose="user_data")
    part = tenants.alice.uploads.parts.create(upload.id, data=b"abc")
    done = tenants.alice.uploads.complete(upload.id, part_ids=[part.id])
    assert done.file is not None
    assert tenants.alice.files.content(done.file.id).read() == b"abc"
    with pytest.raises(openai.NotFoundError):
        tenants.bob.files.content(done.file.id)


def test_echoed_data_gives_nothing(tenants: Tenants, things: Things) -> None:
    """An answer repeats the client's metadata: it must not pass for what upstream says was made."""
    echo = {"id": things.response, "container_id": things.container, "file_id": things.file}
    tenants.bob.responses.create(model=_MODEL, input="hi", metadata=echo)
    tenants.bob.conversations.create(metadata=echo)
    for path in (f"/responses/{things.response}", f"/containers/{things.container}", f"/files/{things.file}"):
        assert _send(tenants.bob, "GET", path).status_code == 404


def test_the_model_still_answers_text_about_ids(tenants: Tenants, things: Things) -> None:
    question = f"What is {things.file} or {things.response}?"
    assert tenants.bob.responses.create(model=_MODEL, input=question).output_text
    chat = tenants.bob.chat.completions.create(model=_MODEL, messages=[{"role": "user", "content": question}])
    assert things.file in str(chat.choices[0].message.content)
