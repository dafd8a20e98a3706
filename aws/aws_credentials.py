"""The credentials that AWS's services are called with, and where they are found."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from core.errors import ConfigurationError

_HOW = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and with a role's credentials AWS_SESSION_TOKEN"


class NoCredentials(Exception):
    """There are none to be had now."""


@dataclass(frozen=True, slots=True)
class Credentials:
    access_key: str
    """Its id, which is no secret."""
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    """What credentials of a role have beside the two."""


Source: TypeAlias = Callable[[], Awaitable[Credentials]]
"""Gives those that are good now.

Raises:
    NoCredentials: there are none.
"""


def source(environ: Mapping[str, str]) -> Source:
    """The variables that Lambda sets for as long as a sandbox lives. Where they are not set, what botocore finds: an
    operator's profile, or the role of a container, which is also how Lambda gives them to a sandbox from a snapshot.

    Raises:
        ConfigurationError: the variables are not set, and botocore is not installed.
    """
    access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        return _Chain().current
    credentials = Credentials(access_key, secret_key, environ.get("AWS_SESSION_TOKEN") or None)

    async def current() -> Credentials:
        return credentials

    return current


class _Chain:
    """botocore's search through profiles and roles. It blocks: it runs in worker threads, when credentials are needed.

    botocore keeps what it has found, and renews it before its end.
    """

    def __init__(self) -> None:
        try:
            import botocore.session  # type: ignore[import-untyped]  # noqa: PLC0415 - a third of a cold start
        except ImportError:
            raise ConfigurationError(f"AWS's credentials are not set, and botocore is not installed: {_HOW}.") from None
        self._session: Any = botocore.session.Session()
        self._lock = threading.Lock()

    async def current(self) -> Credentials:
        return await asyncio.to_thread(self._find)

    def _find(self) -> Credentials:
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # noqa: PLC0415

        try:
            with self._lock:
                found = self._session.get_credentials()
            given = found and found.get_frozen_credentials()
        except (BotoCoreError, ClientError, OSError, RuntimeError, ValueError) as error:  # there are many ways
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise NoCredentials(f"no credentials: {reason}") from None
        if given is None:
            raise NoCredentials(f"no credentials: {_HOW}")
        return Credentials(given.access_key, given.secret_key, given.token)
