"""A task's bill: one reservation for all the calls that it may make, settled once with what they have used in all."""

from __future__ import annotations

from dataclasses import dataclass

from core import refusals, schemas
from core.body import Body
from core.bounds import Bound
from core.endpoints import Endpoint
from core.http import Request
from core.ledger import Reservation
from core.settlements import Settlements
from core.usage import Usage

_COUNTS = tuple(name for name in Usage._fields if name != "service_tier")


@dataclass(frozen=True, slots=True)
class Planned:
    """Calls that a task may make, none of them larger than `content`."""

    endpoint: Endpoint
    content: bytes
    """The body of one of them."""
    times: int = 1
    more_input_tokens: int = 0
    """By so many the others may be longer."""

    def request(self) -> Request:
        return Request("POST", self.endpoint.path, body=self.content)

    def body(self) -> Body:
        return read(self.endpoint, self.content)

    def widened(self, bound: Bound | None) -> Bound:
        """The bound of each of them, where `bound` is that of `content`."""
        assert bound is not None, "a task calls what costs something"
        tokens = bound.input_tokens
        return bound if tokens is None else bound._replace(input_tokens=tokens + self.more_input_tokens)


class Bill:
    """What a task's calls have come to. Their tabs are settled here; `close` settles it in the ledger."""

    def __init__(self, settlements: Settlements, reservation: Reservation) -> None:
        self.reservation = reservation
        self.used = Usage()
        self.nano_usd = 0
        self._settlements = settlements
        self._is_owed = False
        self._closed = False

    @property
    def headers(self) -> dict[str, str]:
        """What is left of the app's limits."""
        counters = self.reservation.counters
        return {} if counters is None else refusals.headers(self.reservation.app, self.reservation.windows, counters)

    async def settle(self, reservation: Reservation, usage: Usage, nano_usd: int) -> None:
        """Add what one call has cost."""
        self._is_owed = True
        self.used = Usage(**{name: getattr(self.used, name) + getattr(usage, name) for name in _COUNTS})
        self.nano_usd += nano_usd

    async def cancel(self, reservation: Reservation) -> None:
        """One call has cost nothing."""

    async def close(self) -> None:
        """Settle it, even where the caller is cancelled meanwhile. Closing it again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._is_owed:
            await self._settlements.settle(self.reservation, self.used, self.nano_usd)
        else:
            await self._settlements.cancel(self.reservation)


def read(endpoint: Endpoint, content: bytes) -> Body:
    """A body that a task has written."""
    assert endpoint.json is not None
    return Body(schemas.parse(endpoint.json, content))
