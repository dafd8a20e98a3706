"""What calls cost: the most that each can is reserved before it is sent, what it did is settled after it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from core import body_edit, bounds, errors, logs
from core.background import Background
from core.body import Body
from core.bounds import Bound
from core.endpoints import Endpoint
from core.http import Request
from core.ledger import Ledger, Reservation, Unsure
from core.ports import App, Store, StoreError
from core.price import Price
from core.prices import Prices
from core.route import Target
from core.settings import Settings
from core.settlements import Settlements
from core.tab import Most, Tab, Till
from core.usage import Usage
from core.usage_archive import UsageArchive

if TYPE_CHECKING:
    from core.bill import Bill, Planned

_MOST_PRICED = 1000
"""So many targets' prices are remembered; clients choose the models' names."""
_REPORT_WHEN_ASKED = frozenset({"chat.completions.create", "completions.create"})
"""The endpoints whose streams say what they used only if they are asked to."""


class Meter:
    """Prices, reserves and settles the calls of one process."""

    def __init__(self, settings: Settings, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._prices = Prices(settings.prices)
        self._price = lru_cache(_MOST_PRICED)(self._find_price)  # it takes a search, for each call several times
        self._ledger = Ledger(store, clock=clock)
        self._settlements = Settlements(self._ledger, UsageArchive(store, clock=clock))
        self._till = Till(
            price=self._price,
            settlements=self._settlements,
            background=Background(
                store,
                self._settlements,
                self._price,
                output_tokens_per_second=settings.limits.output_tokens_per_second,
                clock=clock,
            ),
            output_tokens_per_second=settings.limits.output_tokens_per_second,
        )

    async def open(self, app: App, endpoint: Endpoint, asked: Body, request: Request, targets: Sequence[Target]) -> Tab:
        """A tab for a call, for which there is room now within all of the app's limits.

        Args:
            targets: those that may answer it.

        Raises:
            RequestsLimited, TokensLimited, QuotaExceeded: there is no room.
            InvalidRequest: it cannot be told what the call can cost.
            StoreError: the store cannot be asked.
        """
        bound = self._bound(app, endpoint, asked, request)
        most = None if bound is None else self._most(app, bound, targets)
        # Where no model works, a field of that name is whatever a client wrote.
        model = asked.call.model if endpoint.infers else None
        reserving = self._reserve(app, endpoint, model or "", most or Most(), is_free=most is None)
        reservation = await (self._settlements.unless_left(reserving) if app.limits.are_counted else reserving)
        if most is None and reservation.counters is not None:
            self._settlements.tidy(reservation, reservation.counters)  # it is not settled, and may be all that comes
        return self._tab(self._till, endpoint, asked, request, targets, reservation, bound, most)

    async def open_bill(
        self, app: App, endpoint: Endpoint, model: str, planned: Sequence[Planned], targets: Sequence[Target]
    ) -> Bill:
        """One bill for all the calls that a task may make. It has to be closed.

        Args:
            endpoint: the task's own.
            planned: those calls.

        Raises:
            As `open`.
        """
        from core.bill import Bill  # noqa: PLC0415 - a task's, and no cold start's

        tokens, nano_usd = 0, 0
        for one in planned:
            bound = self._bound(app, one.endpoint, one.body(), one.request())
            each = self._most(app, one.widened(bound), targets)
            tokens += each.usage.tokens * one.times
            nano_usd += each.nano_usd * one.times
        most = Most(Usage(input_tokens=tokens), nano_usd)
        reserving = self._reserve(app, endpoint, model, most, is_free=False)
        return Bill(self._settlements, await self._settlements.unless_left(reserving))

    def open_within(
        self, bill: Bill, endpoint: Endpoint, asked: Body, request: Request, targets: Sequence[Target]
    ) -> Tab:
        """A tab for one of the calls that a bill was opened for."""
        app = bill.reservation.app
        bound = self._bound(app, endpoint, asked, request)
        most = None if bound is None else self._most(app, bound, targets)
        till = self._till._replace(settlements=bill)
        return self._tab(till, endpoint, asked, request, targets, bill.reservation, bound, most)

    def is_priced(self, target: Target) -> bool:
        """Whether it is known what the target costs."""
        return self._price(target) is not None

    def most_tokens(self, targets: Sequence[Target]) -> tuple[int | None, int | None]:
        """The most tokens that a call can take in, and put out, whichever target answers; None where that is not known
        of one of them.
        """
        prices = [self._price(target) for target in targets]
        contexts = [None if price is None else price.context_tokens for price in prices]
        outputs = [None if price is None else price.output_tokens for price in prices]
        return _least(contexts), _least(outputs)

    async def close(self) -> None:
        await self._settlements.close()

    def _bound(self, app: App, endpoint: Endpoint, asked: Body, request: Request) -> Bound | None:
        return bounds.of(endpoint, asked, request, self._settings.limits, output_cap=app.limits.output_tokens)

    def _tab(
        self,
        till: Till,
        endpoint: Endpoint,
        asked: Body,
        request: Request,
        targets: Sequence[Target],
        reservation: Reservation,
        bound: Bound | None,
        most: Most | None,
    ) -> Tab:
        hides_usage = self._may_hide_usage(endpoint, asked, targets)
        if bound is not None:
            request = _edited(request, bound.edits, asks_for_usage=hides_usage)
        return Tab(till, endpoint, asked, request, targets, reservation, most, hides_usage=hides_usage)

    async def _reserve(self, app: App, endpoint: Endpoint, model: str, most: Most, *, is_free: bool) -> Reservation:
        try:
            return await self._ledger.reserve(
                app, endpoint.name, model, tokens=most.usage.tokens, nano_usd=most.nano_usd, is_free=is_free
            )
        except StoreError as error:
            if isinstance(error, Unsure):
                self._settlements.revoke(error.reservation)
            if self._settings.apps.when_store_fails == "closed" or app.limits.has_budget:
                raise
            logs.write(logging.WARNING, "let_through_uncounted", app=app.id, error=str(error))
            return self._ledger.without_limits(app, endpoint.name, model)

    def _most(self, app: App, bound: Bound, targets: Sequence[Target]) -> Most:
        """The most that the call can use and cost, whichever target answers.

        Raises:
            InvalidRequest: that is not known, and the app has a limit for it.
        """
        limits, most = app.limits, Most(answers=max(1, bound.answers))
        for target in targets:
            price = self._price(target)
            if price is None and limits.has_budget:
                raise errors.InvalidRequest(
                    f"The model '{target.model or ''}' has no price here, and '{app.id}' has a budget: use another "
                    "model, or ask this service's operator for its price.",
                    param="model",
                    code="model_not_priced",
                )
            usage = bound.usage(
                context_tokens=None if price is None else price.context_tokens,
                output_tokens=None if price is None else price.output_tokens,
                model=target.model,
            )
            if usage is None and (limits.has_budget or limits.tokens_per_minute is not None):
                raise _unbounded(app, target, bound)
            if usage is not None:
                most = most.or_more(usage, 0 if price is None else price.most_nano_usd(usage))
        return most

    def _find_price(self, target: Target) -> Price | None:
        kind = self._settings.upstreams[target.upstream].kind
        return self._prices.find(kind, target.model, target.upstream) if target.model else None

    def _may_hide_usage(self, endpoint: Endpoint, asked: Body, targets: Sequence[Target]) -> bool:
        """Whether upstream has to be asked what the stream will have used, and the client not to be told."""
        call = asked.call
        if endpoint.name not in _REPORT_WHEN_ASKED or not call.stream:
            return False
        if call.stream_options is not None and call.stream_options.include_usage:
            return False
        return all(self._settings.upstreams[target.upstream].reports_stream_usage for target in targets)


def _least(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return min(known) if len(known) == len(numbers) else None


def _edited(request: Request, fields: Mapping[str, object], *, asks_for_usage: bool) -> Request:
    """The request with the fields that make its bound true, and so that its usage is reported."""
    body = body_edit.with_fields(request.body, fields) if fields else request.body
    if asks_for_usage:
        body = body_edit.with_stream_usage(body)
    return request if body is request.body else replace(request, body=body)


def _unbounded(app: App, target: Target, bound: Bound) -> errors.InvalidRequest:
    if bound.unbounded is not None:
        return errors.InvalidRequest(
            f"With '{bound.unbounded}' as it is, nobody can say before what this request will use, and '{app.id}' has "
            "a limit to keep.",
            param=bound.unbounded,
            code="not_bounded",
        )
    return errors.InvalidRequest(
        f"It is not known how much the model '{target.model or ''}' can take in and put out, and '{app.id}' has a "
        "limit to keep: say in the request how much output it may have, or ask this service's operator for the model's "
        "maximum.",
        param="model",
        code="not_bounded",
    )
