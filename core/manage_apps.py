"""The admin API's apps and keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from core import errors, manage_schemas
from core.admin import Admin, NewKey
from core.app_deletion import AppDeletion
from core.books import Books
from core.http import Response
from core.manage_call import Call, answer, invalid
from core.manage_schemas import show_app, show_key
from core.ports import App, AppKey, Limits


class Apps:
    """`/manage/apps`."""

    def __init__(
        self,
        admin: Admin,
        deletion: AppDeletion,
        books: Books,
        *,
        cache_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._admin = admin
        self._deletion = deletion
        self._books = books
        self._cache_seconds = cache_seconds
        self._clock = clock

    async def list(self, call: Call) -> Response:
        page, shown = call.page(), []
        async for app in self._admin.apps():
            if app.id > page.after:
                shown.append(show_app(app))
            if len(shown) > page.limit:
                break
        return page.answer(shown)

    async def create(self, call: Call) -> Response:
        call.query(())
        body = call.body(manage_schemas.NewApp)
        app = await self._admin.create_app(body.id, body.changes(Limits()) | self._disabled(body))
        return _app_answer(app, HTTPStatus.CREATED, {"location": f"/manage/apps/{app.id}"})

    async def show(self, call: Call) -> Response:
        call.query(())
        return _app_answer(await self._admin.app(call.names["app"]), HTTPStatus.OK, {})

    async def change(self, call: Call) -> Response:
        call.query(())
        body = call.body(manage_schemas.AppChange)
        expected = call.expected_version(is_required=True)
        async with self._admin.app_turn(call.names["app"], expected=expected) as turn:
            old = turn.record
            changes = self._admin.app_changes(old, body.changes(old.limits))
            limits = changes.get("limits", old.limits)
            assert isinstance(limits, Limits)
            if limits.shards != old.limits.shards:
                await self._check_quiet(old)
                await self._books.reshard(old.id, old.limits.shards, limits.shards)
                changes = {**changes, "most_shards": max(old.most_shards, old.limits.shards)}
            elif limits.shards > 1 and _budgets(limits) != _budgets(old.limits):
                # Each shard has its share of a budget: what is spent has to lie in all of them alike.
                await self._books.reshard(old.id, limits.shards, limits.shards)
            return _app_answer(await turn.write(changes), HTTPStatus.OK, {}, **self._effective())

    async def delete(self, call: Call) -> Response:
        call.query(())
        app_id = call.names["app"]
        await self._deletion.delete(app_id, expected=call.expected_version(is_required=False))
        return answer(HTTPStatus.OK, {"object": "app.deleted", "id": app_id, "deleted": True, **self._effective()})

    async def list_keys(self, call: Call) -> Response:
        page, app, now, shown = call.page(), await self._admin.app(call.names["app"]), int(self._clock()), []
        async for key in self._admin.keys(app.id):
            if key.id > page.after:
                shown.append(show_key(key, now=now))
            if len(shown) > page.limit:
                break
        return page.answer(shown)

    async def create_key(self, call: Call) -> Response:
        call.query(())
        body = call.body(manage_schemas.NewKey)
        new = await self._admin.create_key(call.names["app"], label=body.label, expires_at=self._end(body))
        return answer(HTTPStatus.CREATED, self._told_once(new))

    async def change_key(self, call: Call) -> Response:
        call.query(())
        body = call.body(manage_schemas.KeyChange)
        changes: dict[str, object] = {
            name: getattr(body, name) for name in ("enabled", "label") if name in body.model_fields_set
        }
        if body.says_end:
            changes["expires_at"] = self._end(body)
        key = await self._admin.change_key(
            call.names["app"], call.names["key"], changes, expected=call.expected_version(is_required=True)
        )
        shown = show_key(key, now=int(self._clock()))
        return answer(HTTPStatus.OK, shown | self._effective(), {"etag": f'"{key.record.version}"'})

    async def delete_key(self, call: Call) -> Response:
        call.query(())
        await self._admin.app(call.names["app"])
        key = await self._admin.key(call.names["app"], call.names["key"])
        await self._admin.remove_key(key, expected=call.expected_version(is_required=False))
        return answer(HTTPStatus.OK, {"object": "key.deleted", "id": key.id, "deleted": True, **self._effective()})

    async def rotate_key(self, call: Call) -> Response:
        call.query(())
        body = call.body(manage_schemas.Rotation)
        app = await self._admin.app(call.names["app"])

        async def make(old: AppKey) -> NewKey:
            return await self._admin.create_key(
                app.id, label=old.label, expires_at=self._end(body) if body.says_end else self._as_long_as(old)
            )

        new, old = await self._admin.replace_key(
            app.id, call.names["key"], overlap_seconds=body.overlap_seconds, make=make
        )
        return answer(
            HTTPStatus.CREATED,
            self._told_once(new) | {"replaces": show_key(old, now=int(self._clock()))} | self._effective(),
        )

    def _told_once(self, new: NewKey) -> dict[str, Any]:
        return show_key(new.listed, now=int(self._clock())) | {"key": new.secret}

    def _effective(self) -> dict[str, Any]:
        """After so many seconds at most no process knows anything older."""
        return {"effective_within_seconds": math.ceil(self._cache_seconds)}

    def _disabled(self, body: manage_schemas.NewApp) -> dict[str, object]:
        return {} if body.enabled else {"disabled_at": int(self._clock())}

    def _end(self, body: manage_schemas.WithEnd) -> int | None:
        now = int(self._clock())
        if body.expires_at is not None and body.lifetime_seconds is not None:
            raise invalid("expires_at", "write it or lifetime_seconds, not both")
        if body.lifetime_seconds is not None:
            return now + body.lifetime_seconds
        if body.expires_at is not None and not now < body.expires_at <= now + manage_schemas.LONGEST_LIFETIME_SECONDS:
            raise invalid("expires_at", "write a time to come, in seconds since 1970, UTC, not beyond ten years")
        return body.expires_at

    def _as_long_as(self, old: AppKey) -> int | None:
        return None if old.expires_at is None else int(self._clock()) + old.expires_at - old.created_at

    async def _check_quiet(self, app: App) -> None:
        """
        Raises:
            StateConflict: a process may still reserve in the app's shards as they are.
        """
        quiet_at = None if app.disabled_at is None else app.disabled_at + self._cache_seconds
        if app.enabled or quiet_at is None or quiet_at >= self._clock():
            raise errors.StateConflict(
                "The number of shards can be changed only while nothing is counted in them: disable the app, wait "
                f"{math.ceil(self._cache_seconds) + 1} seconds, which running processes may take to notice, change "
                "it, and enable the app again.",
                param="limits.shards",
            )
        if await self._books.standing(app.id):
            raise errors.StateConflict(
                "The number of shards can be changed only while nothing is reserved in them: wait for the requests "
                "that are at work, and release the reservations of those that have died.",
                param="limits.shards",
            )


def _app_answer(app: App, status: HTTPStatus, headers: dict[str, str], **more: object) -> Response:
    return answer(status, show_app(app) | more, {"etag": f'"{app.version}"', **headers})


def _budgets(limits: Limits) -> tuple[int | None, ...]:
    return limits.day_nano_usd, limits.month_nano_usd, limits.total_nano_usd
