"""The admin API as its tests use it: asked like the gateway asks it, on an embedded store with a clock of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import errors
from core.books import Books
from core.http import Request
from core.ledger import Ledger
from core.manage import Manage
from core.ports import Store
from core.secret import Secret
from core.sqlite_store import SqliteStore
from manual_clock import ManualClock

ADMIN_KEY = "an-admin-key-of-more-than-32-characters"
CACHE_SECONDS = 30
START = 1_795_600_000
"""2026-11-25, 08:26:40 UTC."""


@dataclass(frozen=True)
class Answer:
    """What an operator gets."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)

    @property
    def error(self) -> tuple[int, str | None, str | None, str]:
        """Status, code, param and message."""
        error = self.json["error"]
        return self.status, error["code"], error["param"], error["message"]


@dataclass(frozen=True)
class Operator:
    """An operator with the admin key, and what is behind the API."""

    manage: Manage
    store: Store
    books: Books
    ledger: Ledger
    clock: ManualClock

    async def ask(self, method: str, url: str, body: object = None, **headers: str) -> Answer:
        """One request; underscores in header names stand for hyphens."""
        path, _, query = url.partition("?")
        sent = {"authorization": f"Bearer {ADMIN_KEY}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = Request(method, path, query, sent, content)
        try:
            response = await self.manage.handle(request)
        except errors.TrefoilError as error:
            response = errors.to_response(error, request.id)
        assert isinstance(response.body, bytes)
        return Answer(response.status, dict(response.headers), response.body.decode())

    async def make(self, app_id: str = "web-shop", **fields: object) -> Answer:
        """A new app."""
        answer = await self.ask("POST", "/manage/apps", {"id": app_id, **fields})
        assert answer.status == 201, answer.text
        return answer

    async def make_key(self, app_id: str = "web-shop", **fields: object) -> Any:
        """A new key of an app."""
        answer = await self.ask("POST", f"/manage/apps/{app_id}/keys", fields)
        assert answer.status == 201, answer.text
        return answer.json


@asynccontextmanager
async def operator(folder: Path, *, admin_key: str | None = ADMIN_KEY) -> AsyncIterator[Operator]:
    """An operator on a new store."""
    clock = ManualClock(START)
    store = SqliteStore(folder / "store.sqlite3", clock=clock)
    books = Books(store, clock=clock)
    secret = None if admin_key is None else Secret(admin_key)
    manage = Manage(store, books, admin_key=secret, cache_seconds=CACHE_SECONDS, clock=clock)
    yield Operator(manage, store, books, Ledger(store, clock=clock), clock)
    store.close()
