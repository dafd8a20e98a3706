"""Every kind of endpoint through each cloud with OpenAI's client: JSON, forms and sound, whole and streamed."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from pydantic import SecretStr

from core import endpoints
from local.services import CLOUDS
from local_deployment import LocalDeployment

# OpenAI's client calls image variations and audio translations deprecated; they work, and are offered.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

_MODEL = "offline;pace=0"
_WAV = (
    b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00@\x1f\x00\x00"
    b"\x01\x00\x08\x00data\x00\x00\x00\x00"
)


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(cloud: str, deployment: LocalDeployment) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=deployment.base_urls[cloud], api_key=deployment.app_key, max_retries=0) as client:
        yield client


@pytest.fixture
def direct(deployment: LocalDeployment) -> Iterator[openai.OpenAI]:
    """The same client at upstream itself."""
    with openai.OpenAI(base_url=deployment.upstream_url, api_key="sk-direct", max_retries=0) as client:
        yield client


def test_embeddings(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    texts = ["naïve", "漢字"]
    for encoding in ("float", "base64"):
        ours, theirs = (
            one.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format=encoding)
            for one in (client, direct)
        )
        assert [one.embedding for one in ours.data] == [one.embedding for one in theirs.data]


def test_langchain_embeddings(cloud: str, deployment: LocalDeployment) -> None:
    embeddings = OpenAIEmbeddings(
        base_url=deployment.base_urls[cloud],
        api_key=SecretStr(deployment.app_key),
        model="text-embedding-3-small",
        check_embedding_ctx_length=False,
    )
    first, second = embeddings.embed_documents(["one", "two"])
    assert first != second
    assert embeddings.embed_query("one") == first


def test_moderations(client: openai.OpenAI) -> None:
    assert len(client.moderations.create(input=["one", "two"]).results) == 2


def test_completions(client: openai.OpenAI) -> None:
    assert client.completions.create(model=_MODEL, prompt="Once").choices[0].text
    streamed = client.completions.create(model=_MODEL, prompt="Once", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices)


def test_responses(client: openai.OpenAI) -> None:
    made = client.responses.create(model=_MODEL, input="漢字 🍀")
    assert "漢字 🍀" in made.output_text
    assert client.responses.retrieve(made.id).id == made.id
    assert client.responses.input_items.list(made.id).data
    with client.responses.stream(model=_MODEL, input="漢字 🍀", previous_response_id=made.id) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "漢字 🍀" in final.output_text
    background = client.responses.create(model=_MODEL, input="hi", background=True)
    assert client.responses.retrieve(background.id).status == "completed"
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_response_that_is_cut_raises(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError), client.responses.stream(model="offline;pace=0;cut=4", input="hi") as stream:
        stream.until_done()


def test_images(client: openai.OpenAI) -> None:
    made = client.images.generate(model="gpt-image-1", prompt="a clover")
    assert made.data
    png = base64.b64decode(made.data[0].b64_json or "")
    assert png.startswith(b"\x89PNG")
    edited = client.images.edit(model="gpt-image-1", image=("a.png", io.BytesIO(png)), prompt="greener")
    assert edited.data
    varied = client.images.create_variation(image=("a.png", io.BytesIO(png)), response_format="b64_json")
    assert varied.data
    streamed = client.images.generate(model="gpt-image-1", prompt="a clover", stream=True, partial_images=2)
    assert [event.type for event in streamed][-1] == "image_generation.completed"
    streamed_edit = client.images.edit(
        model="gpt-image-1", image=("a.png", io.BytesIO(png)), prompt="greener", stream=True, partial_images=1
    )
    assert [event.type for event in streamed_edit][-1] == "image_edit.completed"


def test_speech_is_byte_for_byte(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    asked: Any = {"model": "tts-1", "voice": "alloy", "input": "Hello", "response_format": "wav"}
    assert client.audio.speech.create(**asked).content == direct.audio.speech.create(**asked).content
    with client.audio.speech.with_streaming_response.create(**asked) as response:
        assert response.headers["content-type"] == "audio/wav"
        assert b"".join(response.iter_bytes()).startswith(b"RIFF")


def test_speech_arrives_as_it_is_made(cloud: str, deployment: LocalDeployment) -> None:
    """Upstream sends a part of the sound only when the one before it has reached the client."""
    gate = f"speech-{cloud}"
    headers = {"authorization": f"Bearer {deployment.app_key}"}
    body = {"model": f"offline;gate={gate}", "voice": "alloy", "input": "Hello " * 50, "response_format": "pcm"}
    url = f"{deployment.base_urls[cloud]}/audio/speech"
    opened = f"{deployment.upstream_url.removesuffix('/v1')}/offline/gates/{gate}"
    with httpx2.stream("POST", url, json=body, headers=headers, timeout=30) as response:
        assert response.status_code == 200
        parts = response.iter_raw()
        assert next(parts)
        httpx2.post(opened)
        assert next(parts)
        httpx2.post(f"{opened}?n=1000")
        assert sum(len(part) for part in parts) > 0


def test_transcription(client: openai.OpenAI) -> None:
    file = ("a.wav", io.BytesIO(_WAV))
    assert client.audio.transcriptions.create(model="whisper-1", file=file).text
    assert client.audio.translations.create(model="whisper-1", file=file).text
    text: Any = client.audio.transcriptions.create(model="whisper-1", file=file, response_format="srt")
    assert "-->" in text
    streamed = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=file, stream=True)
    assert [event.type for event in streamed][-1] == "transcript.text.done"


def test_a_form_reaches_upstream_byte_for_byte(cloud: str, deployment: LocalDeployment) -> None:
    model = f"offline;tag=form-{cloud}"
    content = (
        b'--odd "boundary\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + model.encode() + b"\r\n"
        b'--odd "boundary\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xbc.wav"\r\n\r\n'
        + bytes(range(256))
        + b'\r\n--odd "boundary--\r\n'
    ).replace(b'odd "boundary', b"odd-boundary")
    headers = {
        "authorization": f"Bearer {deployment.app_key}",
        "content-type": "multipart/form-data; boundary=odd-boundary",
    }
    url = f"{deployment.base_urls[cloud]}/audio/transcriptions"
    assert httpx2.post(url, content=content, headers=headers, timeout=30).status_code == 200
    log = httpx2.get(f"{deployment.upstream_url.removesuffix('/v1')}/offline/requests", params={"model": model}).json()
    assert base64.b64decode(log[-1]["body_base64"]) == content
    assert dict(log[-1]["headers"])["content-type"] == headers["content-type"]


@pytest.mark.parametrize("content", [b"", b"[1]", b"<html></html>", b"{broken", bytes(range(256))])
def test_a_file_s_content_is_whatever_was_stored(cloud: str, client: openai.OpenAI, content: bytes) -> None:
    file = client.files.create(file=("a.bin", io.BytesIO(content)), purpose="user_data")
    # Lambda lets a client wait until the function's timeout for an answer that streams no byte.
    expected = b"\n" if cloud == "aws" and not content else content
    assert client.files.content(file.id).read() == expected


def test_vector_stores_and_containers(client: openai.OpenAI) -> None:
    file = client.files.create(file=("a.txt", io.BytesIO(b"clover")), purpose="user_data")
    store = client.vector_stores.create(name="one", file_ids=[file.id])
    assert [one.id for one in client.vector_stores.files.list(store.id)] == [file.id]
    assert client.vector_stores.search(store.id, query="clover").data
    container = client.containers.create(name="box", file_ids=[file.id])
    (inside,) = client.containers.files.list(container.id).data
    assert client.containers.files.content.retrieve(inside.id, container_id=container.id).read() == b"clover"
    client.containers.delete(container.id)
    client.vector_stores.delete(store.id)


@pytest.mark.parametrize(
    "path", ["/fine_tuning/jobs", "/batches", "/assistants", "/realtime/sessions", "/organization/users", "/videos"]
)
def test_what_is_not_offered_says_so(cloud: str, deployment: LocalDeployment, path: str) -> None:
    response = httpx2.post(
        deployment.base_urls[cloud] + path, json={}, headers={"authorization": f"Bearer {deployment.app_key}"}
    )
    assert response.status_code == 404
    assert "not offered by this service" in response.json()["error"]["message"]


def test_idempotency(cloud: str, deployment: LocalDeployment) -> None:
    headers = {"authorization": f"Bearer {deployment.app_key}", "idempotency-key": f"one-{cloud}"}
    url = f"{deployment.base_urls[cloud]}/responses"
    body = {"model": _MODEL, "input": "once"}
    first, again = (httpx2.post(url, json=body, headers=headers, timeout=30) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert httpx2.post(url, json={**body, "input": "other"}, headers=headers, timeout=30).status_code == 422
    streamed = {**headers, "idempotency-key": f"two-{cloud}"}
    first, again = (httpx2.post(url, json={**body, "stream": True}, headers=streamed, timeout=30) for _ in range(2))
    assert first.content == again.content
    assert again.headers["content-type"] == first.headers["content-type"]


def test_each_answer_says_where_it_is_from(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=_MODEL, messages=[{"role": "user", "content": "hi"}])
    assert raw.headers["x-trefoil-target"] == "openai"
    assert raw.headers["x-trefoil-attempts"] == "1"
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="offline;status=503", messages=[{"role": "user", "content": "hi"}])
    assert int(caught.value.response.headers["x-trefoil-attempts"]) > 1


def test_the_api_describes_itself(cloud: str, deployment: LocalDeployment) -> None:
    document = httpx2.get(deployment.base_urls[cloud].removesuffix("/v1") + "/openapi.json").json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {(row.method, row.path) for row in endpoints.ENDPOINTS if row.path.startswith("/v1/")} <= described
    assert json.dumps(document).count("sk-") == 0


def test_health_without_a_body(cloud: str, deployment: LocalDeployment) -> None:
    response = httpx2.head(deployment.base_urls[cloud].removesuffix("/v1") + "/healthz")
    assert (response.status_code, response.content) == (200, b"")
