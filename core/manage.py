"""The admin API, `/manage`: what an operator does with apps, keys and limits, and reads of their usage.

Its path is the same on all clouds; `/admin` is the Azure Functions host's own.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote

from core import endpoints, errors, logs, usage_report
from core.admin import Admin
from core.app_deletion import AppDeletion
from core.books import Books
from core.http import Request, Response
from core.manage_apps import Apps
from core.manage_call import Call
from core.manage_usage import UsageReports
from core.ports import App, Store
from core.secret import Secret

PREFIX = "/manage"

_Handler = Callable[[Call], Awaitable[Response]]


class Manage:
    """Answers the operator's requests. There is nothing at its paths where no admin key is set."""

    def __init__(
        self,
        store: Store,
        books: Books,
        *,
        admin_key: Secret | None,
        cache_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            cache_seconds: how long a running process may go on with what it knows of an app or a key.
        """
        admin = Admin(store, clock=clock)
        deletion = AppDeletion(store, admin, cache_seconds=cache_seconds, clock=clock)
        apps = Apps(admin, deletion, books, cache_seconds=cache_seconds, clock=clock)
        reports = UsageReports(store, admin, books, clock=clock)
        self._admin_key = admin_key
        self._books = books
        self._clock = clock
        self._table = _table(apps, reports)

    async def handle(self, request: Request) -> Response:
        """
        Raises:
            UnknownEndpoint: there is no such path, or no admin key is set.
            NotAuthenticated: the request does not carry the admin key.
            InvalidRequest, NotFound, MethodNotAllowed, StateConflict, PreconditionFailed, PreconditionRequired: what
                is wrong with it.
            StoreError: the store cannot be asked.
        """
        if self._admin_key is None:
            endpoints.find(request.method, request.path)  # raises what it does for any path that is not there
        self._check_key(request)
        handlers, names = self._find(request.path)
        if handlers is None:
            raise errors.UnknownEndpoint(f"Unknown URL: {request.method} {request.path}.")
        if request.method not in handlers:
            allow = ", ".join(sorted(handlers))
            raise errors.MethodNotAllowed(
                f"{request.method} is not supported on {request.path}, only {allow}.", allow=allow
            )
        response = await handlers[request.method](Call(request, names))
        if request.method != "GET":
            logs.write(logging.INFO, "managed", request_id=request.id, method=request.method, path=request.path)
        return response

    async def own_usage(self, app: App, request: Request) -> Response:
        """What `app` asks about itself: `GET /v1/usage`.

        Raises:
            InvalidRequest: the query makes no sense.
            StoreError: the store cannot be asked.
        """
        return await usage_report.of_app(app, request.query, self._books, clock=self._clock)

    def _check_key(self, request: Request) -> None:
        scheme, _, credentials = request.headers.get("authorization", "").strip().partition(" ")
        presented = credentials.strip()
        if scheme.lower() != "bearer" or not presented:
            raise errors.NotAuthenticated(
                "Send the admin key, which is the service's TREFOIL_ADMIN_KEY, as 'Authorization: Bearer ...'.",
                code="missing_api_key",
            )
        expected = self._admin_key.get_secret_value() if self._admin_key else ""
        # Of equal length, whatever was sent, so that the time which this takes tells nothing.
        if not hmac.compare_digest(_digest(presented), _digest(expected)):
            raise errors.NotAuthenticated(
                "Incorrect admin key provided: it is the service's TREFOIL_ADMIN_KEY, and no app key.",
                code="invalid_admin_key",
            )

    def _find(self, path: str) -> tuple[Mapping[str, _Handler] | None, Mapping[str, str]]:
        given = path.removeprefix(PREFIX).split("/")
        for pattern, handlers in self._table.items():
            names = _names(pattern.split("/"), given)
            if names is not None:
                return handlers, names
        return None, {}


def _table(apps: Apps, reports: UsageReports) -> Mapping[str, Mapping[str, _Handler]]:
    return {
        "/apps": {"GET": apps.list, "POST": apps.create},
        "/apps/{app}": {"GET": apps.show, "PATCH": apps.change, "DELETE": apps.delete},
        "/apps/{app}/keys": {"GET": apps.list_keys, "POST": apps.create_key},
        "/apps/{app}/keys/{key}": {"PATCH": apps.change_key, "DELETE": apps.delete_key},
        "/apps/{app}/keys/{key}/rotate": {"POST": apps.rotate_key},
        "/apps/{app}/usage": {"GET": reports.of_app},
        "/apps/{app}/reservations": {"GET": reports.reservations},
        "/apps/{app}/reservations/{reservation}": {"DELETE": reports.release},
        "/apps/{app}/settlements": {"POST": reports.settle},
        "/usage": {"GET": reports.of_all},
    }


def _names(wanted: list[str], given: list[str]) -> Mapping[str, str] | None:
    """What fills the braces; None where the path is another one."""
    if len(wanted) != len(given):
        return None
    names = {}
    for want, have in zip(wanted, given, strict=True):
        if want.startswith("{") and have:
            names[want[1:-1]] = unquote(have)
        elif want != have:
            return None
    return names


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
