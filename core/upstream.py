"""The call to the model's service: which targets are asked, how often, and what the client is told in the end."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from core import attempt, errors, logs, retry, route
from core.attempt import Call, Failed
from core.body_edit import with_model
from core.endpoints import Endpoint
from core.http import Request, Response
from core.route import Target
from core.settings import Settings
from core.upstream_client import Client, make

TARGET_HEADER = "x-trefoil-target"
"""Names the upstream, as the settings do, that an answer or an error is from."""
ATTEMPTS_HEADER = "x-trefoil-attempts"
"""How many attempts there were, at all targets together."""


class Surroundings(NamedTuple):
    """What a test replaces to be sure and quick."""

    monotonic: Callable[[], float] = time.monotonic
    unix_time: Callable[[], float] = time.time
    random: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Answer(NamedTuple):
    """Upstream's answer, and which target gave it."""

    response: Response
    target: Target


_NONE = Target("")


@dataclass(slots=True)
class _Tries:
    """What there has been so far, for one request."""

    count: int = 0
    retries: int = 0
    may_cost: bool = False
    """Whether the attempt that is being made, or else the last one, may have to be paid for."""
    target: Target = _NONE
    """The last one asked."""

    def headers(self) -> dict[str, str]:
        return {TARGET_HEADER: self.target.upstream, ATTEMPTS_HEADER: str(self.count)}


class Upstream:
    """The upstreams of one process, a client each, and which targets rest."""

    def __init__(self, settings: Settings, surroundings: Surroundings | None = None) -> None:
        self._settings = settings
        self._around = surroundings or Surroundings()
        self._routes = route.routes(settings)
        self._rests = route.Rests(settings.route.rest_seconds, self._around.monotonic)
        self._clients: dict[str, Client] = {}
        self._client(settings.route.default_upstream)  # the others' are made when they are first used

    async def send(
        self,
        endpoint: Endpoint,
        request: Request,
        *,
        stream: bool,
        on_end: Callable[[str], None],
        model: str | None = None,
        upstream: str | None = None,
        pays_once: bool = False,
    ) -> Answer:
        """Upstream's answer to `request`: whole, or, where `stream` allows it and upstream gives it, from its first
        event on. An error status is an answer like any other. The answer, and each error below, says in its headers
        which upstream it is from and how many attempts there were.

        Args:
            on_end: told how a stream ended.
            model: the one that the request names, an alias or not; None where it names none.
            upstream: the only one that will do, for it has the objects that the request refers to; None if any will.
            pays_once: whether no other attempt may be made after one that may have to be paid for.

        Raises:
            UpstreamError: no usable answer came; UpstreamTimeout if none came in time, UpstreamAuthFailed if upstream
                refused the operator's credential. It says whether it may cost something.
            InvalidRequest: the client's path or query can be no URL.
        """
        tries, call = _Tries(), Call(endpoint, request, stream, on_end)
        try:
            async with asyncio.timeout(_left_seconds(request)):
                answer = await self._ask_targets(call, self.targets(model, upstream), model, tries, pays_once=pays_once)
        except TimeoutError:
            answer = errors.UpstreamTimeout("The model's service did not answer in time.")
            answer.may_cost = tries.may_cost
        if isinstance(answer, Response):
            return Answer(Response(answer.status, {**answer.headers, **tries.headers()}, answer.body), tries.target)
        answer.headers.update(tries.headers())
        raise answer

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    def targets(self, model: str | None, upstream: str | None) -> Sequence[Target]:
        """Which targets may be asked for a model, as the client names it; parameters and errors as for `send`."""
        targets = self._routes.get(model, ()) if model is not None else ()
        if upstream is None:
            return targets or [Target(self._settings.route.default_upstream, model)]
        if upstream not in self._settings.upstreams:
            raise errors.UpstreamError(
                f"What this request refers to lies with the upstream '{upstream}', which is not set up any more.",
                code="upstream_unknown",
            )
        if not targets:
            return [Target(upstream, model)]
        there = [target for target in targets if target.upstream == upstream]
        if not there:
            raise errors.InvalidRequest(
                f"The model '{model}' is not to be had where this request's objects lie.",
                param="model",
            )
        return there

    async def _ask_targets(
        self, call: Call, targets: Sequence[Target], model: str | None, tries: _Tries, *, pays_once: bool
    ) -> Response | errors.UpstreamError:
        """One target after the other until one answers. The last one's failure is the answer if none does."""
        ordered = route.order(targets, self._rests, self._around.random)
        for place, target in enumerate(ordered, start=1):
            has_others = len(ordered) > 1
            if has_others:
                self._rests.began(target)
            result = await self._ask(target, call, model, tries, pays_once=pays_once)
            if isinstance(result, Failed) and _left_seconds(call.request) == 0:
                raise TimeoutError  # which says nothing against the target
            if has_others:
                self._rests.ended(target, failed=isinstance(result, Failed))
            if isinstance(result, Response):
                return result
            if isinstance(result.answer, errors.UpstreamError):
                result.answer.may_cost = result.failure.may_cost
            if place == len(ordered) or (pays_once and result.failure.may_cost):
                return result.answer
            if not (call.endpoint.repeatable or result.failure.surely_not_taken):
                return result.answer
        raise AssertionError("a route has a target")

    async def _ask(
        self, target: Target, call: Call, model: str | None, tries: _Tries, *, pays_once: bool
    ) -> Response | Failed:
        """One target, again and again as long as that may help."""
        body = call.request.body
        if target.model is not None and target.model != model:
            body = with_model(body, call.request.headers.get("content-type", ""), target.model)
        tries.target = target
        while True:
            tries.count += 1
            tries.may_cost = True
            started = self._around.monotonic()
            result = await attempt.ask(self._client(target.upstream), call, body=body, model=target.model)
            if isinstance(result, Response):
                return result
            failure = result.failure._replace(seconds=self._around.monotonic() - started)
            result = result._replace(failure=failure)
            tries.may_cost = failure.may_cost
            self._log(target, call, tries, result)
            wait = retry.wait_seconds(
                result.failure,
                self._settings.retry,
                retries=tries.retries,
                left_seconds=_left_seconds(call.request),
                repeatable=call.endpoint.repeatable and not (pays_once and result.failure.may_cost),
                unix_time=self._around.unix_time(),
                random=self._around.random(),
            )
            if wait is None:
                return result
            tries.retries += 1
            await self._around.sleep(wait)

    def _client(self, upstream: str) -> Client:
        if upstream not in self._clients:
            self._clients[upstream] = make(self._settings, upstream)
        return self._clients[upstream]

    def _log(self, target: Target, call: Call, tries: _Tries, result: Failed) -> None:
        fields: dict[str, object] = {}
        if result.failure.cause is retry.Cause.DENIED:
            variable = self._settings.upstreams[target.upstream].key_variable
            fields["advice"] = f"check {variable or 'the credentials of this upstream'}"
        logs.write(
            logging.ERROR if result.failure.status != 429 else logging.WARNING,
            "upstream_attempt_failed",
            request_id=call.request.id,
            upstream=target.upstream,
            attempt=tries.count,
            cause=result.failure.cause.name.lower(),
            reason=result.reason,
            **fields,
        )


def _left_seconds(request: Request) -> float | None:
    return attempt.left_seconds(request.first_byte_deadline, request.deadline)
