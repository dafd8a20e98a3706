"""Audio: texts become tones, and recordings become a canned transcript."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from local.offline import canned
from local.offline.call import Call, boolean, document, typed_events
from local.offline.checks import Range, check_model, check_one_of, check_range, required_text, wrong_type
from local.offline.media import in_chunks, sound
from local.offline.multipart import Form
from local.offline.refusal import Refusal
from local.offline.script import Chunks, Plain, Reply
from local.offline.shelf import Json
from local.offline.tokens import count_tokens, split_tokens

_CONTENT_TYPES: Final = {
    "mp3": "audio/mpeg", "opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav",
    "pcm": "audio/pcm",
}  # fmt: skip
_MS_A_CHARACTER: Final = 40
_MOST_CHARACTERS: Final = 4096
_FORMATS: Final = ("json", "text", "srt", "verbose_json", "vtt")
_SECONDS_A_WORD: Final = 0.5


def speak(call: Call) -> Reply:
    """POST /v1/audio/speech: sound, or events with sound in them."""
    body = call.body
    check_model(body.get("model"))
    text = required_text(body, "input")
    _check_speech(body, text)
    form = body.get("response_format") or "mp3"
    content = sound(_MS_A_CHARACTER * len(text), form)
    content *= max(1, -(-call.behaviour.big_kb * 1024 // len(content)))
    if body.get("stream_format") == "sse":
        return typed_events(_speech_events(content, count_tokens(text), nousage=call.behaviour.nousage))
    return Chunks(in_chunks(content), _CONTENT_TYPES[form])


def transcribe(call: Call) -> Reply:
    """POST /v1/audio/transcriptions: a document, a text, subtitles, or events."""
    heard = _heard(call)
    streams = "stream" in heard.values and boolean(heard.values["stream"], "stream")
    if streams and not heard.is_whisper:  # whisper-1 ignores it
        return typed_events(_transcript_events(heard))
    return _transcript(heard)


def translate(call: Call) -> Reply:
    """POST /v1/audio/translations: the same, but into English and never streamed."""
    return _transcript(_heard(call))


def _check_speech(body: Mapping[str, Any], text: str) -> None:
    if not isinstance(body.get("voice"), dict):
        required_text(body, "voice")
    if len(text) > _MOST_CHARACTERS:
        message = f"'input' has more than {_MOST_CHARACTERS} characters."
        raise Refusal(400, message, param="input", code="string_above_max_length")
    if body.get("response_format") is not None:
        check_one_of("response_format", body["response_format"], tuple(_CONTENT_TYPES))
    if body.get("speed") is not None:
        check_range("speed", body["speed"], Range("decimal", 0.25, 4))
    if body.get("stream_format") is not None:
        check_one_of("stream_format", body["stream_format"], ("audio", "sse"))
        if body["stream_format"] == "sse" and body["model"].startswith("tts-1"):
            message = "'stream_format' is not supported with this model."
            raise Refusal(400, message, param="stream_format", code="unsupported_value")


def _speech_events(content: bytes, read: int, *, nousage: bool) -> Iterator[Json]:
    spoken = len(content) // 100
    for chunk in in_chunks(content):
        yield {"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode()}
    usage = {"input_tokens": read, "output_tokens": spoken, "total_tokens": read + spoken}
    yield {"type": "speech.audio.done", **({} if nousage else {"usage": usage})}


@dataclass(frozen=True, slots=True)
class _Heard:
    """A recording that was taken: what was asked of it, and what is said to be in it."""

    values: dict[str, str]
    form: Form
    text: str
    audio_tokens: int
    nousage: bool

    @property
    def is_whisper(self) -> bool:
        """Whether the model is of the sort that knows subtitles, and counts seconds rather than tokens."""
        return self.values["model"].startswith("whisper")

    @property
    def words(self) -> list[str]:
        """The words of the text."""
        return self.text.split()

    @property
    def seconds(self) -> float:
        """How long the text takes."""
        return len(self.words) * _SECONDS_A_WORD

    def usage(self) -> Json:
        """The usage, as part of a document."""
        if self.nousage:
            return {}
        if self.is_whisper:
            return {"usage": {"type": "duration", "seconds": round(self.seconds + 0.5)}}
        said = count_tokens(self.text)
        read = {"text_tokens": count_tokens(self.values.get("prompt", "")), "audio_tokens": self.audio_tokens}
        total = sum(read.values())
        counts = {"input_tokens": total, "input_token_details": read, "output_tokens": said}
        return {"usage": {"type": "tokens", **counts, "total_tokens": total + said}}


def _heard(call: Call) -> _Heard:
    if not call.received.is_form:
        raise Refusal(400, "The request is no multipart/form-data.")
    form = call.received.form
    values = form.values()
    check_model(values.get("model"))
    file = form.file("file")
    if not file.content:
        raise Refusal(400, "The audio file is empty.", param="file", code="empty_file")
    check_one_of("response_format", values.get("response_format", "json"), _FORMATS)
    _check_temperature(values.get("temperature"))
    text = (
        f"This is a canned transcript from Trefoil's offline upstream; nobody listened to {file.filename}, "
        f"which has {len(file.content):,} bytes. (naïve café — 漢字 🍀)"
    )
    return _Heard(values, form, text, len(file.content) // 100 + 1, call.behaviour.nousage)


def _check_temperature(text: str | None) -> None:
    if text is None:
        return
    try:
        number = float(text)
    except ValueError:
        raise wrong_type("temperature", text, "a decimal") from None
    check_range("temperature", number, Range("decimal", 0, 1))


def _transcript(heard: _Heard) -> Reply:
    form = heard.values.get("response_format", "json")
    if form in _SUBTITLES and heard.values["model"].startswith("gpt-4o"):
        message = f"'response_format' '{form}' is not compatible with this model; use 'json' or 'text'."
        raise Refusal(400, message, param="response_format", code="unsupported_value")
    if form == "text":
        return Plain(f"{heard.text}\n".encode(), content_type="text/plain; charset=utf-8")
    if form == "json":
        return document({"text": heard.text, **_logprobs(heard), **heard.usage()})
    return _SUBTITLES[form](heard)


def _logprobs(heard: _Heard) -> Json:
    if "logprobs" not in heard.form.texts_of("include"):
        return {}
    return {"logprobs": _probabilities(split_tokens(heard.text))}


def _probabilities(tokens: list[str]) -> list[Json]:
    found = canned.logprobs(tokens, 0, 0)
    rows = found["content"] if found else []
    return [{name: row[name] for name in ("token", "logprob", "bytes")} for row in rows]


def _transcript_events(heard: _Heard) -> Iterator[Json]:
    with_logprobs = bool(_logprobs(heard))
    for token in split_tokens(heard.text):
        probable = {"logprobs": _probabilities([token])} if with_logprobs else {}
        yield {"type": "transcript.text.delta", "delta": token, **probable}
    yield {"type": "transcript.text.done", "text": heard.text, **_logprobs(heard), **heard.usage()}


def _verbose(heard: _Heard) -> Reply:
    asked = heard.form.texts_of("timestamp_granularities") or ["segment"]
    for index, one in enumerate(asked):
        check_one_of(f"timestamp_granularities[{index}]", one, ("word", "segment"))
    times = [round(index * _SECONDS_A_WORD, 2) for index in range(len(heard.words) + 1)]
    words = [
        {"word": word, "start": start, "end": end}
        for word, start, end in zip(heard.words, times[:-1], times[1:], strict=True)
    ]
    segment = {
        "id": 0, "seek": 0, "start": 0.0, "end": heard.seconds, "text": heard.text, "tokens": [50364, 50865],
        "temperature": 0.0, "avg_logprob": -0.05, "compression_ratio": 1.2, "no_speech_prob": 0.01,
    }  # fmt: skip
    timed = {"words": words} if "word" in asked else {}
    timed |= {"segments": [segment]} if "segment" in asked else {}
    whole = {"task": "transcribe", "language": heard.values.get("language", "english"), "duration": heard.seconds}
    return document({**whole, "text": heard.text, **timed, **heard.usage()})


def _srt(heard: _Heard) -> Reply:
    end = _clock(heard.seconds).replace(".", ",")
    text = f"1\n00:00:00,000 --> {end}\n{heard.text}\n\n\n"
    return Plain(text.encode(), content_type="text/plain; charset=utf-8")


def _vtt(heard: _Heard) -> Reply:
    text = f"WEBVTT\n\n00:00:00.000 --> {_clock(heard.seconds)}\n{heard.text}\n\n"
    return Plain(text.encode(), content_type="text/plain; charset=utf-8")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"00:{int(minutes):02}:{rest:06.3f}"


_SUBTITLES: Final[dict[str, Callable[[_Heard], Reply]]] = {"verbose_json": _verbose, "srt": _srt, "vtt": _vtt}
