"""The offline upstream's images and audio, asked by the real client."""

from __future__ import annotations

import base64
import io
import json
import struct
import wave
import zlib
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from offline_client import Upstream

_PICTURE = ("a.png", b"\x89PNG...", "image/png")
_SOUND = ("a.wav", b"RIFF...", "audio/wav")
_WITH_DEPRECATED = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # in the client, not in the API


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.started() as started:
        yield started


def _is_png(content: bytes) -> bool:
    """Whether it is a PNG whose checksums and pixels are right."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    place, pixels = 8, b""
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunk = content[place + 4 : place + 8 + length]
        assert struct.pack(">I", zlib.crc32(chunk)) == content[place + 8 + length : place + 12 + length]
        pixels += chunk[4:] if chunk.startswith(b"IDAT") else b""
        place += 12 + length
    return len(zlib.decompress(pixels)) == 8 * 25


def test_a_picture_is_a_real_png(upstream: Upstream) -> None:
    made = upstream.client.images.generate(model="gpt-image-1", prompt="a leaf", n=2)
    assert made.data is not None
    one, two = (base64.b64decode(str(image.b64_json)) for image in made.data)
    assert one != two
    assert _is_png(one)
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens


def test_older_models_give_addresses_or_base64(upstream: Upstream) -> None:
    (image,) = upstream.client.images.generate(model="dall-e-3", prompt="a leaf").data or []
    assert str(image.url).startswith("https://images.offline.invalid/")
    assert image.revised_prompt == "A canned picture of: a leaf"
    (image,) = upstream.client.images.generate(prompt="a leaf", response_format="b64_json").data or []
    assert _is_png(base64.b64decode(str(image.b64_json)))


@_WITH_DEPRECATED
def test_pictures_are_edited_and_varied(upstream: Upstream) -> None:
    edited = upstream.client.images.edit(model="gpt-image-1", image=[_PICTURE, _PICTURE], prompt="red", mask=_PICTURE)
    assert edited.usage is not None
    assert edited.usage.input_tokens_details.image_tokens == 2 * 194
    varied = upstream.client.images.create_variation(image=_PICTURE, n=2, response_format="b64_json")
    assert len(varied.data or []) == 2


def test_an_edit_in_json_refers_to_files(upstream: Upstream) -> None:
    file = upstream.client.files.create(file=_PICTURE, purpose="vision")
    ask = {"model": "gpt-image-1", "prompt": "red", "images": [{"file_id": file.id}]}
    assert upstream.ask("POST", "/v1/images/edits", ask).status == 200
    ask["images"] = [{"file_id": "file-0"}]
    assert upstream.ask("POST", "/v1/images/edits", ask).status == 404


@pytest.mark.parametrize("partial_images", [0, 2])
def test_pictures_are_streamed(upstream: Upstream, partial_images: int) -> None:
    ask = {"model": "gpt-image-1", "prompt": "a leaf", "stream": True, "partial_images": partial_images}
    kinds = [event["type"] for event in upstream.events("POST", "/v1/images/generations", ask)]
    assert kinds == ["image_generation.partial_image"] * partial_images + ["image_generation.completed"]
    stream = upstream.client.images.edit(
        model="gpt-image-1", image=_PICTURE, prompt="x", stream=True, partial_images=partial_images
    )
    assert [event.type for event in stream] == ["image_edit.partial_image"] * partial_images + ["image_edit.completed"]


@pytest.mark.parametrize(
    ("path", "ask", "param"),
    [
        ("generations", {}, "prompt"),
        ("generations", {"prompt": "x", "n": 11}, "n"),
        ("generations", {"prompt": "x", "model": "dall-e-3", "n": 2}, "n"),
        ("generations", {"prompt": "x", "model": "dall-e-2", "stream": True}, "stream"),
        ("generations", {"prompt": "x", "model": "gpt-image-1", "response_format": "url"}, "response_format"),
        ("edits", {"prompt": "x"}, "images"),
        ("variations", {}, None),
    ],
)
def test_a_bad_request_for_pictures_is_refused(
    upstream: Upstream, path: str, ask: dict[str, Any], param: str | None
) -> None:
    answer = upstream.ask("POST", f"/v1/images/{path}", ask)
    assert (answer.status, answer.json["error"]["param"]) == (400, param)


def test_speech_is_a_real_wave_file(upstream: Upstream) -> None:
    with upstream.client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="Hello, world, how are you?", response_format="wav"
    ) as response:
        assert response.headers["content-type"] == "audio/wav"
        chunks = list(response.iter_bytes())
    assert len(chunks) > 1
    with wave.open(io.BytesIO(b"".join(chunks))) as heard:
        assert (heard.getframerate(), heard.getnframes()) == (24_000, 24_000 * 26 * 40 // 1000)


@pytest.mark.parametrize(
    ("form", "content_type", "start"),
    [
        (None, "audio/mpeg", b"\xff\xfb"),
        ("opus", "audio/opus", b"OggS"),
        ("aac", "audio/aac", b"\xff\xf1"),
        ("flac", "audio/flac", b"fLaC"),
        ("pcm", "audio/pcm", b"\x00\x00"),
    ],
)
def test_speech_has_the_type_of_its_format(
    upstream: Upstream, form: str | None, content_type: str, start: bytes
) -> None:
    ask = {"model": "tts-1", "voice": "alloy", "input": "Hello", "response_format": form}
    answer = upstream.ask("POST", "/v1/audio/speech", ask)
    assert answer.headers["content-type"] == content_type
    assert answer.body.startswith(start)


def test_speech_comes_as_events_too(upstream: Upstream) -> None:
    ask = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Hello " * 20, "stream_format": "sse"}
    answer = upstream.ask("POST", "/v1/audio/speech", ask)
    events = [json.loads(text.removeprefix("data: ")) for text in answer.body.decode().strip().split("\n\n")]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    ("directives", "outcome", "chunks"),
    [("cut=2", "cut", 2), ("cut=2;midevent", "cut", 2), ("error=2", "cut", 2), ("end=2", "answered", 2)],
)
def test_speech_that_goes_wrong(upstream: Upstream, directives: str, outcome: str, chunks: int) -> None:
    model = f"offline;big=100;{directives};tag=speech"
    create = upstream.client.audio.speech.create
    if outcome == "cut":
        with pytest.raises(openai.APIConnectionError):
            create(model=model, voice="alloy", input="Hello").read()
    else:
        assert len(create(model=model, voice="alloy", input="Hello").read()) == chunks * 4096
    ended = upstream.ended(model)
    assert (ended["outcome"], ended["chunks_sent"]) == (outcome, chunks)


@_WITH_DEPRECATED
@pytest.mark.parametrize(
    ("model", "form", "start"),
    [
        ("gpt-4o-transcribe", "json", "{"),
        ("whisper-1", "text", "This is a canned transcript"),
        ("whisper-1", "srt", "1\n00:00:00,000 --> 00:00:"),
        ("whisper-1", "vtt", "WEBVTT\n\n00:00:00.000 --> "),
    ],
)
def test_transcripts_come_in_each_format(upstream: Upstream, model: str, form: Any, start: str) -> None:
    for endpoint in (upstream.client.audio.transcriptions, upstream.client.audio.translations):
        made: Any = endpoint.create(model=model, file=_SOUND, response_format=form)
        text = made.to_json() if form == "json" else made
        assert text.startswith(start)
        assert "a.wav, which has 7 bytes" in text


def test_a_verbose_transcript_has_times(upstream: Upstream) -> None:
    made = upstream.client.audio.transcriptions.create(
        model="whisper-1", file=_SOUND, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert made.words is not None
    assert made.segments is not None
    assert made.words[-1].end == made.segments[-1].end == made.duration
    assert made.usage is not None
    assert made.usage.type == "duration"


def test_a_transcript_is_streamed(upstream: Upstream) -> None:
    *deltas, done = upstream.client.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=_SOUND, stream=True, include=["logprobs"]
    )
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == done.text
    assert done.usage is not None
    assert done.logprobs


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"model": "gpt-4o-transcribe", "response_format": "srt"}, "response_format"),
        ({"response_format": "x"}, "response_format"),
        ({"temperature": 2}, "temperature"),
        ({"file": ("a.wav", b"")}, "file"),
    ],
    ids=str,
)
def test_a_bad_request_for_a_transcript_is_refused(upstream: Upstream, extra: dict[str, Any], param: str) -> None:
    ask: dict[str, Any] = {"model": "whisper-1", "file": _SOUND, **extra}
    with pytest.raises(openai.BadRequestError) as error:
        upstream.client.audio.transcriptions.create(**ask)
    assert error.value.param == param


@pytest.mark.parametrize("directives", ["status=503", "drop", "first=60000"])
def test_the_model_in_a_form_directs_too(upstream: Upstream, directives: str) -> None:
    model = f"offline;{directives};tag=form"
    client = upstream.client.with_options(timeout=0.3 if "first" in directives else 15)
    with pytest.raises((openai.InternalServerError, openai.APIConnectionError)):
        client.audio.transcriptions.create(model=model, file=_SOUND)
    assert upstream.arrival(model)["model"] == model
