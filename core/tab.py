"""One call's bill: opened with a reservation, and closed once, whatever becomes of the call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from core import background, errors, hidden_usage, made, refusals, reported
from core.background import Background
from core.body import Body
from core.endpoints import Endpoint
from core.http import Request, Response, Stream
from core.ledger import Reservation
from core.price import Price
from core.route import Target
from core.stream_usage import StreamUsage
from core.upstream import Answer
from core.usage import Usage

_WRITES_TEXT = frozenset({"chat.completions.create", "completions.create", "responses.create", "responses.compact"})
"""The endpoints whose output can be told from what came of it: text has a byte for each token."""
_SHOW_BACKGROUND = frozenset({"responses.retrieve", "responses.cancel"})
"""The free endpoints by which a client learns what became of a response in the background."""


class Most(NamedTuple):
    """The most that a call can use and cost; of several targets, each at its dearest."""

    usage: Usage = Usage()
    nano_usd: int = 0
    answers: int = 1
    """So many may be written side by side."""

    def or_more(self, usage: Usage, nano_usd: int) -> Most:
        longer = usage if usage.tokens > self.usage.tokens else self.usage
        return Most(longer, max(self.nano_usd, nano_usd), self.answers)


class Settling(Protocol):
    """Where tabs are settled: in the ledger, or in the bill of a task that several calls are made for."""

    async def settle(self, reservation: Reservation, usage: Usage, nano_usd: int) -> None: ...

    async def cancel(self, reservation: Reservation) -> None: ...


class Till(NamedTuple):
    """What all of a process's tabs need."""

    price: Callable[[Target], Price | None]
    settlements: Settling
    background: Background
    output_tokens_per_second: int
    """What no model exceeds: so is paid for the time in which it may have thought, and nothing was seen of it."""
    monotonic: Callable[[], float] = time.monotonic


class Tab:
    """What is owed for one call. Either `settle` or `fail` has to be called."""

    def __init__(
        self,
        till: Till,
        endpoint: Endpoint,
        asked: Body,
        request: Request,
        targets: Sequence[Target],
        reservation: Reservation,
        most: Most | None,
        *,
        hides_usage: bool,
    ) -> None:
        """
        Args:
            request: as it goes to upstream.
            targets: those that may answer.
            most: None where the call is free.
            hides_usage: whether a stream's usage was asked for by us, and is not for the client to see.
        """
        self.request = request
        self.reservation = reservation
        self._till = till
        self._endpoint = endpoint
        self._asked = asked
        self._targets = targets
        self._most = most
        self._hides_usage = hides_usage
        self._opened = till.monotonic()
        self._closed = False

    @property
    def headers(self) -> dict[str, str]:
        """What is left of the app's limits."""
        counters = self.reservation.counters
        return {} if counters is None else refusals.headers(self.reservation.app, self.reservation.windows, counters)

    async def settle(self, answer: Answer) -> Response:
        """Upstream's answer, when what it used is settled. A stream is settled at its end."""
        given = answer.response
        body = given.body
        response = Response(given.status, {**given.headers, **self.headers}, body)
        if response.status >= HTTPStatus.BAD_REQUEST:
            await self._cancel()
        elif self._endpoint.name == "responses.delete":
            await self._count()
            await self._till.background.settle(self.reservation.app, self._response_id, None)
        elif self._most is None and self._endpoint.name not in _SHOW_BACKGROUND:
            await self._count()
        elif not isinstance(body, bytes):
            return Response(response.status, response.headers, _MeteredStream(self, answer.target, body))
        elif (response_id := background.begun(self._endpoint, body)) is not None:
            await self._put_by(answer.target, response_id)
        else:
            usage = reported.in_answer(self._endpoint, body)
            if usage is None:
                await self._pay(answer.target, self._at_most(len(body) + self._thought_tokens()), exact=False)
            else:
                await self._pay(answer.target, self._with_searches(usage), exact=True)
            if (ended := background.ended(self._endpoint, body)) is not None:
                await self._till.background.settle(self.reservation.app, ended.id, usage, ended.end)
        return response

    async def fail(self, error: BaseException) -> None:
        """Settle a call that has no answer. Where upstream may have worked for it, the time is paid for."""
        if isinstance(error, errors.TrefoilError):
            error.headers.update(self.headers)
        left = isinstance(error, asyncio.CancelledError)
        if left or (isinstance(error, errors.UpstreamError) and error.may_cost):
            # What is in the background goes on without its client, to an end that nobody will see.
            used = self._whole() if self.is_in_background else self._at_most(self._thought_tokens())
            await self._pay(None, used, exact=False)
        else:
            await self._cancel()

    async def end_stream(self, target: Target, seen: StreamUsage, first_text: float | None, begun: str | None) -> None:
        """Settle a stream that has ended, or been left.

        Args:
            seen: what came of it.
            first_text: when its first text came; None where none did.
            begun: the id of a response in the background that it shows.
        """
        if seen.reported is not None:
            usage = seen.reported.with_output(seen.reported.output_tokens + seen.text_bytes_since_report)
            await self._pay(target, self._with_searches(usage), exact=True)
            if self._endpoint.name == "responses.retrieve":
                await self._till.background.settle(self.reservation.app, self._response_id, usage)
        elif begun is not None:
            await self._put_by(target, begun)
        elif self.is_in_background or seen.media_bytes:
            await self._pay(target, self._whole(), exact=False)
        else:
            tokens = self._thought_tokens(first_text) + seen.output_tokens_at_most
            await self._pay(target, self._at_most(tokens), exact=False)

    @property
    def hides_usage(self) -> bool:
        return self._hides_usage

    @property
    def is_in_background(self) -> bool:
        return self._asked.call.background is True and self._endpoint.name == "responses.create"

    def seen(self) -> StreamUsage:
        return StreamUsage(self._endpoint)

    def response_ids(self, events: bytes) -> list[str]:
        """The ids of responses that events of the stream tell."""
        return [one.id for one in made.in_events(self._endpoint, events, first=False, stored=True)]

    def now(self) -> float:
        return self._till.monotonic()

    @property
    def _response_id(self) -> str:
        """The one in the path."""
        return unquote(self.request.path.rpartition("/")[2])

    def _whole(self) -> Usage:
        return (self._most or Most()).usage

    def _at_most(self, output_tokens: int) -> Usage:
        """The most that was used when so much output came."""
        most = self._whole()
        if self._endpoint.name not in _WRITES_TEXT:
            return most
        return most.with_output(min(most.output_tokens, output_tokens))

    def _with_searches(self, usage: Usage) -> Usage:
        """With the searches of a model that searches for each of its answers, which upstream does not report."""
        if self._most is None or self._endpoint.name != "chat.completions.create":
            return usage
        searches = self._most.usage.web_searches
        return usage if usage.web_searches >= searches else usage._replace(web_searches=searches)

    def _thought_tokens(self, until: float | None = None) -> int:
        seconds = (self.now() if until is None else until) - self._opened
        answers = 1 if self._most is None else self._most.answers
        return (int(seconds * self._till.output_tokens_per_second) + 1) * answers

    async def _pay(self, target: Target | None, usage: Usage, *, exact: bool) -> None:
        """
        Args:
            target: the one that answered; None where none did, so that it is paid for the dearest.
            exact: whether upstream reported the usage; otherwise it is a bound.
        """
        if self._closed:
            return
        self._closed = True
        if self._most is None:
            await self._count()
            return
        if exact and _is_in_other_units(usage) and self._cost(target, usage) == 0:
            exact, usage = False, self._most.usage
        nano_usd = self._cost(target, usage) if exact else min(self._most.nano_usd, self._dearest(target, usage))
        await self._till.settlements.settle(self.reservation, usage, nano_usd)

    async def _count(self) -> None:
        """Count a free call, unless its reservation has."""
        self._closed = True
        if self.reservation.counters is None:
            await self._till.settlements.settle(self.reservation, Usage(), 0)

    async def _cancel(self) -> None:
        if not self._closed:
            self._closed = True
            await self._till.settlements.cancel(self.reservation)

    async def _put_by(self, target: Target, response_id: str) -> None:
        """Leave the reservation standing until the response that is being made is seen at its end."""
        self._closed = True
        await self._till.background.keep(self.reservation, target, response_id, self._whole())

    def _cost(self, target: Target | None, usage: Usage) -> int:
        price = None if target is None else self._till.price(target)
        return 0 if price is None else price.cost_nano_usd(usage)

    def _dearest(self, target: Target | None, usage: Usage) -> int:
        prices = [self._till.price(one) for one in (self._targets if target is None else [target])]
        return max(0 if price is None else price.most_nano_usd(usage) for price in prices)


def _is_in_other_units(usage: Usage) -> bool:
    """Whether upstream told something else than tokens, which may not be what the model is paid by: images, say."""
    return usage.tokens == 0 and bool(usage.images or usage.audio_milliseconds or usage.characters)


class _MeteredStream:
    """A stream that is read for what it uses on its way, and settled before its end is told."""

    def __init__(self, tab: Tab, target: Target, stream: Stream) -> None:
        self._tab = tab
        self._target = target
        self._stream = stream
        self._seen = tab.seen()
        self._hides_usage = tab.hides_usage
        self._first_text: float | None = None
        self._may_tell_id = tab.is_in_background
        self._begun: str | None = None
        self._ended = False

    def __aiter__(self) -> _MeteredStream:
        return self

    async def __anext__(self) -> bytes:
        while True:
            try:
                events = await anext(self._stream)
            except (StopAsyncIteration, errors.UpstreamError):
                await self._end()
                raise
            self._note(events)
            if self._hides_usage:
                events = hidden_usage.hide(events)
            if events:
                return events

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._end()

    def _note(self, events: bytes) -> None:
        self._seen.note(events)
        if self._first_text is None and self._seen.text_bytes:
            self._first_text = self._tab.now()
        if self._may_tell_id and self._begun is None:
            self._begun = next(iter(self._tab.response_ids(events)), None)

    async def _end(self) -> None:
        if not self._ended:
            self._ended = True
            await self._tab.end_stream(self._target, self._seen, self._first_text, self._begun)
