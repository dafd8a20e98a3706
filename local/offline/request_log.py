"""What the offline upstream received and how each request ended: a test reads it, or waits for it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias, TypeVar

from local.offline.multipart import Form, is_form, parse_form
from local.offline.refusal import Refusal

Outcome: TypeAlias = Literal["open", "answered", "client left", "cut"]
_Found = TypeVar("_Found")
_KEPT_REQUESTS: Final = 1000
_WAIT_SECONDS: Final = 10


@dataclass(frozen=True)
class Received:
    """A request as it came: the path still percent-encoded, header names in lower case."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The first header of this name, or an empty text."""
        return next((value for key, value in self.headers if key == name), "")

    @cached_property
    def model(self) -> str:
        """The model that a JSON body or a form names; empty if it names none."""
        try:
            named = self.form.values().get("model") if self.is_form else self.json_object().get("model")
        except Refusal:
            return ""
        return named if isinstance(named, str) else ""

    @property
    def is_form(self) -> bool:
        """Whether it says that its body is a form."""
        return is_form(self.header("content-type"))

    @cached_property
    def form(self) -> Form:
        """The body as a form, or Refusal 400."""
        return parse_form(self.header("content-type"), self.body)

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object, or Refusal 400. Half a surrogate pair is no text, so it is refused too."""
        try:
            parsed = json.loads(self.body.decode(), parse_constant=_no_constant)
            json.dumps(parsed, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise Refusal(400, "We could not parse the JSON body of your request.") from None
        if not isinstance(parsed, dict):
            raise Refusal(400, "The JSON body of your request is not an object.")
        return parsed


@dataclass
class Entry:
    """One line of the log; `outcome` and `chunks_sent` change while it is answered."""

    sequence: int
    received: Received
    outcome: Outcome = "open"
    chunks_sent: int = 0
    status: int | None = None
    request_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.request_id = f"req_offline{self.sequence:021x}"

    def as_json(self) -> dict[str, Any]:
        """What GET /offline/requests shows of it; `body` is null where it is not UTF-8."""
        received = self.received
        return {
            "sequence": self.sequence,
            "request_id": self.request_id,
            "method": received.method,
            "path": received.path,
            "query": received.query,
            "headers": received.headers,
            "model": received.model,
            "body": _text_or_none(received.body),
            "body_base64": base64.b64encode(received.body).decode(),
            "status": self.status,
            "outcome": self.outcome,
            "chunks_sent": self.chunks_sent,
        }


class RequestLog:
    """The last requests, with a way to wait for the next one and for the end of one."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT_REQUESTS)
        self._sequence = 0
        self._attempts: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def add(self, received: Received) -> Entry:
        """Log a request that has just come in; its sequence number is one more than the last, ever."""
        self._sequence += 1
        entry = Entry(self._sequence, received)
        self._entries.append(entry)
        self._wake()
        return entry

    def end(self, entry: Entry, outcome: Outcome) -> None:
        """Say how a request ended."""
        entry.outcome = outcome
        self._wake()

    def count_attempt(self, directives: str) -> int:
        """How many requests with these directives came before this one."""
        self._attempts[directives] += 1
        return self._attempts[directives] - 1

    def clear(self) -> None:
        """Forget requests and attempts; the sequence goes on."""
        self._entries.clear()
        self._attempts.clear()

    def entries(self, model: str | None = None) -> list[Entry]:
        """The log, oldest first; of one model if it is given."""
        return [entry for entry in self._entries if model is None or entry.received.model == model]

    async def wait_for_model(self, model: str, after: int) -> Entry:
        """The first logged request for this model with a sequence above `after`; Refusal 408 if none comes."""
        return await self._wait(lambda: _first(e for e in self.entries(model) if e.sequence > after), f"for {model!r}")

    async def wait_for_outcome(self, sequence: int) -> Entry:
        """The entry when it is no longer open; Refusal 404 if it is not in the log, 408 if it stays open."""
        entry = _first(entry for entry in self._entries if entry.sequence == sequence)
        if entry is None:
            raise Refusal(404, f"There is no request {sequence} in the log.")
        return await self._wait(lambda: entry if entry.outcome != "open" else None, f"to end of request {sequence}")

    async def _wait(self, look: Callable[[], _Found | None], what: str) -> _Found:
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                while (found := look()) is None:
                    await self._changed.wait()
                return found
        except TimeoutError:
            raise Refusal(408, f"Nothing came in {_WAIT_SECONDS} s: waited {what}.") from None

    def _wake(self) -> None:
        """Let everybody who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()


def _first(entries: Iterable[Entry]) -> Entry | None:
    return next(iter(entries), None)


def _text_or_none(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
