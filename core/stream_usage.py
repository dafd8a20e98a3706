"""What a stream used, told from its events as they pass: by what it reports, or by what came if it broke off before."""

from __future__ import annotations

import re
from typing import NamedTuple

from pydantic_core import from_json

from core import events, reported
from core.endpoints import Endpoint
from core.usage import Usage

_REPORT = re.compile(rb'"usage"(?!\s*:\s*null)')
"""In most chunks there is none, or it is null. What a model writes has backslashes before its quotation marks."""
_REST_OF_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)


class _Strings(NamedTuple):
    """Where strings are that a model has produced, by the patterns of their keys. The group is the string up to its end
    or to its first backslash: so the usual ones are counted without a look at each.
    """

    text: re.Pattern[bytes]
    media: re.Pattern[bytes]

    @classmethod
    def under(cls, *, text: bytes, media: bytes) -> _Strings:
        beginning = rb'"(?:%b)"\s*:\s*"'
        return cls(re.compile(beginning % text + rb'([^"\\]*)'), re.compile(beginning % media))


_CHUNKS = _Strings.under(
    text=rb"content|text|refusal|name|arguments|input|transcript|reasoning(?:_content)?|thinking", media=rb"data"
)
_OTHER_EVENTS = _Strings.under(text=rb"delta", media=rb"audio|b64_json|partial_image_b64")
"""Events that say something again, such as `response.output_text.done`, do so under other names."""


class StreamUsage:
    """Counts along with one stream. Give it all of the stream's events, in their order."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._strings = _CHUNKS if endpoint.name.endswith("completions.create") else _OTHER_EVENTS
        self.reported: Usage | None = None
        """What upstream has said that was used: of several reports of a stream's the last, of its images' the sum."""
        self.text_bytes_since_report = 0
        """What the model has written after it: there are upstreams that report with every chunk."""
        self.events = 0
        self.text_bytes = 0
        """Of what the model has written, in UTF-8."""
        self.media_bytes = 0
        """Of its speech and images, in base64."""

    @property
    def output_tokens_at_most(self) -> int:
        """How many tokens of visible text came: each has a byte at least, or else, like the mark of an end, an event.

        What the model thought without showing it is not among them, nor is speech, nor are images.
        """
        return self.text_bytes + self.events

    def note(self, passed: bytes) -> None:
        """Whole events that pass."""
        self.events += passed.count(b"\ndata:") + passed.count(b"\rdata:") + passed.startswith(b"data:")
        if _REPORT.search(passed) is None:
            self._count(passed)
            return
        for event, _ in events.pieces(passed):
            self._count(event)
            if _REPORT.search(event) and self._read(event):
                self.text_bytes_since_report = 0

    def _count(self, passed: bytes) -> None:
        """What the model has written in whole events."""
        if b"\\" in passed:
            written = sum(_string_bytes(passed, found.start(1)) for found in self._strings.text.finditer(passed))
        else:
            written = sum(map(len, self._strings.text.findall(passed)))
        self.text_bytes += written
        self.text_bytes_since_report += written
        for found in self._strings.media.finditer(passed):
            self.media_bytes += _string_bytes(passed, found.end())

    def _read(self, event: bytes) -> bool:
        """Whether there is a report in one event."""
        usage = reported.in_event(self._endpoint, events.data(event))
        if usage is None:
            return False
        if self.reported is not None and self._endpoint.name.startswith("images."):
            usage = _sum(self.reported, usage)
        self.reported = usage
        return True


def _string_bytes(text: bytes, start: int) -> int:
    """How long the string is in UTF-8 whose content begins at `start`."""
    end = text.find(b'"', start)
    if text.find(b"\\", start, end) < 0:
        return end - start if end >= 0 else len(text) - start
    rest = _REST_OF_STRING.match(text, start)
    escaped = rest[0] if rest else b""
    try:
        return len(from_json(b'"%b"' % escaped, cache_strings=False).encode())
    except ValueError:  # half of a pair of surrogates, perhaps: an escape is never shorter than what it stands for
        return len(escaped)


def _sum(one: Usage, other: Usage) -> Usage:
    counts = {name: getattr(one, name) + getattr(other, name) for name in Usage._fields if name != "service_tier"}
    return other._replace(**counts)
