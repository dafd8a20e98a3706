"""The admin API's reports of usage, and the reservations that stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from core import errors, ledger_item, usage_report, usd
from core.admin import Admin
from core.app_deletion import LONGEST_REQUEST_SECONDS
from core.books import Books
from core.http import Response
from core.ledger_item import Standing, UsageRow
from core.manage_call import Call, answer, invalid
from core.manage_schemas import Settlement
from core.ports import Change, Store
from core.usage_report import Question

_READ_AT_ONCE = 10
_GROUPS = ("day", "app", "endpoint", "model")
_BOOLEANS = {"true": True, "false": False}


class UsageReports:
    """`/manage/usage`, and of `/manage/apps/{app}`: `usage`, `reservations` and `settlements`."""

    def __init__(self, store: Store, admin: Admin, books: Books, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._admin = admin
        self._books = books
        self._clock = clock

    async def of_all(self, call: Call) -> Response:
        question = Question.read(
            call.query(usage_report.PARAMETERS), groups=_GROUPS, default_group="app", now=int(self._clock())
        )
        ids = [app.id async for app in self._admin.apps()]
        used: dict[str, list[UsageRow]] = {}
        for at in range(0, len(ids), _READ_AT_ONCE):
            some = ids[at : at + _READ_AT_ONCE]
            rows = await asyncio.gather(
                *(self._books.usage(app_id, question.first_day, question.last_day) for app_id in some)
            )
            used |= dict(zip(some, rows, strict=True))
        return question.answer(used, {})

    async def of_app(self, call: Call) -> Response:
        app = await self._admin.app(call.names["app"])
        return await usage_report.of_app(app, call.request.query, self._books, clock=self._clock)

    async def reservations(self, call: Call) -> Response:
        call.query(())
        app, now = await self._admin.app(call.names["app"]), int(self._clock())
        standing = await self._books.standing(app.id)
        return answer(HTTPStatus.OK, {"object": "list", "data": [_show(one, now=now) for one in standing]})

    async def release(self, call: Call) -> Response:
        """
        Raises:
            NotFound: no such reservation stands.
            StateConflict: a request that is at work may hold it.
        """
        given = call.query(("charge", "force"))
        for name, value in given.items():
            if value not in _BOOLEANS:
                raise invalid(name, "write true or false")
        if "charge" not in given:
            raise errors.InvalidRequest(
                "Missing required parameter: 'charge'. Write true to charge the app all that is reserved, or false to "
                "give it back.",
                param="charge",
                code="missing_required_parameter",
            )
        app, reservation_id = await self._admin.app(call.names["app"]), call.names["reservation"]
        charge, force = _BOOLEANS[given["charge"]], _BOOLEANS[given.get("force", "false")]
        for one in await self._books.standing(app.id):
            if one.id == reservation_id:
                if not force:
                    self._check_old(one)
                if await self._books.release(app.id, one.id, charge=charge):
                    released = {"object": "reservation.released", "charged": charge, "released": True}
                    return answer(HTTPStatus.OK, _show(one, now=int(self._clock())) | released)
        raise errors.NotFound(
            f"The app '{app.id}' has no standing reservation '{reservation_id[:100]}': it may have been settled.",
            param="reservation",
        )

    async def settle(self, call: Call) -> Response:
        """Make a settlement that a process had to leave: once, however often it is sent."""
        call.query(())
        app, body = await self._admin.app(call.names["app"]), call.body(Settlement)
        # The minute that it was counted in is over.
        amounts = {name: amount for name, amount in body.amounts.items() if not name.startswith("m/")}
        change = Change(amounts, unmark=body.unmark)
        outcome = await self._store.add_within(ledger_item.key(app.id, body.shard), change)
        return answer(HTTPStatus.OK, {"object": "settlement", "unmark": body.unmark, "made": outcome.done})

    def _check_old(self, one: Standing) -> None:
        age_seconds = int(self._clock()) - one.at
        if age_seconds < LONGEST_REQUEST_SECONDS:
            raise errors.StateConflict(
                f"The reservation '{one.id}' is {age_seconds} seconds old: the request that made it may still be at "
                f"work, and will settle it. Release it when it is {LONGEST_REQUEST_SECONDS} seconds old, or send "
                "force=true.",
                param="force",
            )


def _show(one: Standing, *, now: int) -> dict[str, object]:
    return {
        "object": "reservation",
        "id": one.id,
        "created_at": one.at,
        "age_seconds": now - one.at,
        "endpoint": one.endpoint,
        "model": one.model,
        "tokens": one.tokens,
        "reserved_usd": usd.write(one.nano_usd),
    }
