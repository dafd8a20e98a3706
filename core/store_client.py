"""The HTTP client of a store that is a service: whole answers, and no more calls at once than it is to carry."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from core.http_client import HttpClient
from core.http_connection import ConnectFailed

_CONNECT_SECONDS = 2.0
_SILENCE_SECONDS = 5.0
_LONGEST_TURN_SECONDS = 5.0


class NoTurn(ConnectFailed):
    """Nothing was sent: other calls were under way for so long that this one's turn did not come."""


class WholeAnswer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    """Lower-case names; repeated ones joined by a comma."""
    body: bytes


class StoreClient:
    """It opens nothing before its first call, and then stays with that call's event loop. It asks no proxy, whatever
    the environment says: a cloud's own store is reached without.
    """

    def __init__(
        self,
        base_url: str,
        *,
        at_once: int,
        connect_seconds: float = _CONNECT_SECONDS,
        silence_seconds: float = _SILENCE_SECONDS,
    ) -> None:
        """
        Args:
            at_once: how many calls, each of which has a connection to itself, may be under way. Hundreds of requests
                can end in one moment, and each settles its costs: as many TLS handshakes at once would keep each other,
                and all else, from being done in time.
            connect_seconds: the longest wait for a connection, TLS and all.
            silence_seconds: the longest wait for the service's next byte.

        Raises:
            ValueError: `base_url` is no URL of a server.
        """
        self._http = HttpClient(base_url, connect_seconds=connect_seconds, silence_seconds=silence_seconds)
        self._turns = asyncio.Semaphore(at_once)

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> WholeAnswer:
        """
        Raises:
            ConnectFailed: nothing was sent. HttpError: there is no answer, or not all of it.
        """
        await self._turn()
        try:
            answer = await self._http.send(method, target, headers, body)
            return WholeAnswer(answer.status, answer.headers, await answer.read())
        finally:
            self._turns.release()

    async def close(self) -> None:
        await self._http.close()

    async def _turn(self) -> None:
        if not self._turns.locked():  # so it is at once
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(_LONGEST_TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise NoTurn from None
