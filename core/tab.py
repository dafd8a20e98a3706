"""One call's bill: opened with a reservation, and closed once, whatever becomes of the call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import NamedTuple

from core import background, errors, hidden_usage, made, refusals, reported
from core.background import Background
from core.body import Body
from core.endpoints import Endpoint
from core.http import Request, Response, Stream
from core.ledger import Reservation
from core.price import Price
from core.route import Target
from core.settlements import Settlements
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

    def or_more(self, usage: Usage, nano_usd: int) -> Most:
        return Most(max(self.usage, usage, key=lambda one: one.tokens), max(self.nano_usd, nano_usd))


@dataclass(frozen=True, slots=True)
class Till:
    """What all of a process's tabs need."""

    price: Callable[[Target], Price | None]
    settlements: Settlements
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
        response = replace(answer.response, headers={**answer.response.headers, **self.headers})
        body = response.body
        if response.status >= HTTPStatus.BAD_REQUEST:
            await self._cancel()
        elif self._most is None and self._endpoint.name not in _SHOW_BACKGROUND:
            await self._count()
        elif not isinstance(body, bytes):
            return replace(response, body=_MeteredStream(self, answer.target, body))
        elif (response_id := background.begun(self._endpoint, body)) is not None:
            await self._put_by(answer.target, response_id)
        else:
            usage = reported.in_answer(self._endpoint, body)
            if usage is None:
                await self._pay(answer.target, self._at_most(len(body)), exact=False)
            else:
                await self._pay(answer.target, self._with_searches(usage), exact=True)
            if (response_id := background.ended(self._endpoint, body)) is not None and usage is not None:
                await self._settle_background(response_id, usage)
        return response

    async def fail(self, error: BaseException) -> None:
        """Settle a call that has no answer. Where upstream may have worked for it, the time is paid for."""
        if isinstance(error, errors.TrefoilError):
            error.headers.update(self.headers)
        left = isinstance(error, asyncio.CancelledError)
        if left or (isinstance(error, errors.UpstreamError) and error.may_cost):
            await self._pay(None, self._at_most(self._thought_tokens()), exact=False)
        else:
            await self._cancel()

    async def end_stream(self, target: Target, seen: StreamUsage, first_text: float | None, begun: str | None) -> None:
        """Settle a stream that has ended, or been left.

        Args:
            seen: what came of it.
            first_text: when its first text came; None where none did.
            begun: the id of a response in the background that it shows.
        """
        if seen.reported is None and begun is not None:
            await self._put_by(target, begun)
        elif seen.reported is None:
            tokens = self._thought_tokens(first_text) + seen.output_tokens_at_most
            used = self._at_most(tokens) if seen.media_bytes == 0 else (self._most or Most()).usage
            await self._pay(target, used, exact=False)
        else:
            await self._pay(target, self._with_searches(seen.reported), exact=True)
            if self._endpoint.name == "responses.retrieve":
                await self._settle_background(self.request.path.rpartition("/")[2], seen.reported)

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

    def _at_most(self, output_tokens: int) -> Usage:
        """The most that was used when so much output came."""
        most = (self._most or Most()).usage
        if self._endpoint.name not in _WRITES_TEXT:
            return most
        return replace(most, output_tokens=min(most.output_tokens, output_tokens))

    def _with_searches(self, usage: Usage) -> Usage:
        """With the searches of a model that searches for each of its answers, which upstream does not report."""
        if self._most is None or self._endpoint.name != "chat.completions.create":
            return usage
        return replace(usage, web_searches=max(usage.web_searches, self._most.usage.web_searches))

    def _thought_tokens(self, until: float | None = None) -> int:
        seconds = (self.now() if until is None else until) - self._opened
        return int(seconds * self._till.output_tokens_per_second) + 1

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
        nano_usd = self._cost(target, usage) if exact and target is not None else 0
        if nano_usd == 0:
            # What is reported may be other units than the model is paid by: images that are paid by their tokens, say.
            bound = self._most.usage if exact else usage
            dearest = max(self._dearest(one, bound) for one in (self._targets if target is None else [target]))
            if dearest > 0:
                usage, nano_usd = bound, dearest
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
        await self._till.background.keep(self.reservation, target, response_id)

    async def _settle_background(self, response_id: str, usage: Usage) -> None:
        found = await self._till.background.find(self.reservation.app, response_id)
        if found is None:
            return
        reservation, target = found
        # What is reserved is settled once, however often that is tried. What is not is settled by whoever forgets it.
        if reservation.id is not None or await self._till.background.forget(reservation.app, response_id):
            await self._till.settlements.settle(reservation, usage, self._cost(target, usage))
        if reservation.id is not None:
            await self._till.background.forget(reservation.app, response_id)

    def _cost(self, target: Target, usage: Usage) -> int:
        price = self._till.price(target)
        return 0 if price is None else price.cost_nano_usd(usage)

    def _dearest(self, target: Target, usage: Usage) -> int:
        price = self._till.price(target)
        return 0 if price is None else price.most_nano_usd(usage)


class _MeteredStream:
    """A stream that is read for what it uses on its way, and settled before its end is told."""

    def __init__(self, tab: Tab, target: Target, stream: Stream) -> None:
        self._tab = tab
        self._target = target
        self._stream = stream
        self._seen = tab.seen()
        self._first_text: float | None = None
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
            if self._tab.hides_usage:
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
        if self._tab.is_in_background and self._begun is None:
            self._begun = next(iter(self._tab.response_ids(events)), None)

    async def _end(self) -> None:
        if not self._ended:
            self._ended = True
            await self._tab.end_stream(self._target, self._seen, self._first_text, self._begun)
