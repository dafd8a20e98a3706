"""The calls that a task makes of models: the same as a client could make, within the task's one bill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from pydantic_core import from_json, to_json

from core import bill, body_edit, endpoints, errors, events
from core.bill import Bill, Planned
from core.endpoints import Endpoint
from core.http import Request, Response, Stream
from core.meter import Meter
from core.route import Target
from core.upstream import ATTEMPTS_HEADER, TARGET_HEADER, Answer, Upstream

CHAT = endpoints.find("POST", "/v1/chat/completions").endpoint
IMAGES = endpoints.find("POST", "/v1/images/generations").endpoint

REFUSAL = "refusal"
STOP = "stop"
"""Reasons for an answer's end: the model will not answer; it has said all. The others are upstream's."""

_STREAMED_BYTES = 100
"""By so much a body gets longer that asks for a stream."""
_DONE = b"[DONE]"

Emit = Callable[[Mapping[str, Any]], None]
"""Takes an event for the client of a stream."""


class Declined(Exception):
    """Upstream has refused a call. Its answer is the client's, too."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP {response.status}")
        self.response = response


class Said(NamedTuple):
    """What a model has answered, and why it ended: `stop`, `length`, `content_filter` or `refusal`."""

    text: str
    finish_reason: str

    @property
    def is_whole(self) -> bool:
        return self.finish_reason == STOP


class Result(NamedTuple):
    """What a task came to."""

    output: Any
    finish_reason: str
    more: Mapping[str, Any] = {}
    """What else its answer says."""


class Job(Protocol):
    """One task for one request, ready to be done."""

    def planned(self) -> Sequence[Planned]:
        """All the calls that it may make."""
        ...

    async def run(self, calls: Calls) -> Result: ...


class Calls:
    """Makes a task's calls."""

    def __init__(
        self,
        upstream: Upstream,
        meter: Meter,
        bill: Bill,
        request: Request,
        model: str,
        targets: Sequence[Target],
        emit: Emit | None,
    ) -> None:
        """
        Args:
            request: the task's own.
            emit: None where the client wants no stream.
        """
        self._upstream = upstream
        self._meter = meter
        self._bill = bill
        self._request = request
        self._model = model
        self._targets = targets
        self._emit = emit
        self._has_begun = False
        self.is_priced = True
        """Whether all that answered has a known price."""
        self.headers: Mapping[str, str] = {}
        """Which target has given the last answer."""

    def tell(self, event: Mapping[str, Any]) -> None:
        """An event for the client, if it wants any."""
        if self._emit is not None:
            self._has_begun = True
            self._emit(event)

    async def chat(self, content: bytes, *, shows: bool = False) -> Said:
        """What the model answers to a chat completion's body.

        Args:
            shows: whether its text goes to the client as it comes, where that wants a stream.

        Raises:
            Declined, UpstreamError: there is no answer, or not all of one.
        """
        if shows and self._emit is not None:
            content = body_edit.with_fields(content, {"stream": True})
            answer = await self._send(CHAT, content, stream=True)
            if not isinstance(answer.body, bytes):
                return await self._read_stream(answer.body)
            said = _said(answer.body)
            self.tell(_delta(said.text))
            return said
        answer = await self._send(CHAT, content, stream=False)
        return _said(_whole(answer))

    async def image(self, content: bytes) -> Mapping[str, Any]:
        """The first image that is made, as upstream gives it.

        Raises:
            Declined, UpstreamError: there is none.
        """
        answer = _object(_whole(await self._send(IMAGES, content, stream=False)))
        images = answer.get("data")
        if not isinstance(images, list) or not images or not isinstance(images[0], dict):
            raise _unusable()
        return {**images[0], "output_format": answer.get("output_format")}

    async def _send(self, endpoint: Endpoint, content: bytes, *, stream: bool) -> Response:
        request = replace(
            self._request,
            method="POST",
            path=endpoint.path,
            query="",
            headers={"content-type": "application/json"},
            body=content,
            first_byte_deadline=None if self._has_begun else self._request.first_byte_deadline,
        )
        tab = self._meter.open_within(self._bill, endpoint, bill.read(endpoint, content), request, self._targets)
        try:
            answer: Answer = await self._upstream.send(
                endpoint,
                tab.request,
                model=self._model,
                stream=stream,
                pays_once=self._bill.reservation.app.limits.has_budget,
                on_end=lambda outcome: None,
            )
        except BaseException as error:
            await tab.fail(error)
            raise
        self.is_priced &= self._meter.is_priced(answer.target)
        response = await tab.settle(answer)
        self.headers = {
            name: value for name, value in response.headers.items() if name in (TARGET_HEADER, ATTEMPTS_HEADER)
        }
        if response.status != HTTPStatus.OK:
            raise Declined(response)
        return response

    async def _read_stream(self, stream: Stream) -> Said:
        text, refused, reason = "", "", ""
        try:
            async for passed in stream:
                for event, _ in events.pieces(passed):
                    data = events.data(event)
                    if not data or data == _DONE:
                        continue
                    choice = _choice(data)
                    delta = choice.get("delta")
                    delta = delta if isinstance(delta, dict) else {}
                    reason = _text(choice, "finish_reason") or reason
                    refused += _text(delta, "refusal")
                    if piece := _text(delta, "content") or _text(delta, "refusal"):
                        text += piece
                        self.tell(_delta(piece))
        finally:
            await stream.aclose()
        return Said(text, REFUSAL if refused else reason or STOP)


def plan(content: bytes, *, times: int = 1, more_input_tokens: int = 0) -> Planned:
    """Chat completions that a task may make, with bodies like `content`."""
    return Planned(CHAT, content, times, more_input_tokens + _STREAMED_BYTES)


def body(fields: Mapping[str, Any]) -> bytes:
    return to_json(fields)


def _delta(text: str) -> Mapping[str, Any]:
    return {"type": "delta", "text": text}


def _said(content: bytes) -> Said:
    choices = _object(content).get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        raise _unusable()
    refused = _text(message, "refusal")
    return Said(_text(message, "content") or refused, REFUSAL if refused else _text(choice, "finish_reason") or STOP)


def _choice(data: bytes) -> Mapping[str, Any]:
    """The choice in a chunk, or nothing.

    Raises:
        Declined: it is no chunk, but an error.
    """
    chunk = _object(data)
    if isinstance(chunk.get("error"), dict):
        raise Declined(Response(HTTPStatus.BAD_GATEWAY, {"content-type": "application/json"}, data))
    choices = chunk.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        value = from_json(content, cache_strings="keys")
    except ValueError:
        raise _unusable() from None
    if not isinstance(value, dict):
        raise _unusable()
    return value


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _whole(response: Response) -> bytes:
    if not isinstance(response.body, bytes):
        raise _unusable()
    return response.body


def _unusable() -> errors.UpstreamError:
    return errors.UpstreamError("The model's service sent an unreadable answer.", code="upstream_invalid")
