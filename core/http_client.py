"""A client of one HTTP/1.1 server: a pool of connections that stay open between calls.

It does what passing requests on needs, and no more: no redirects, cookies, compression, proxies or retries.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import quote, urlsplit

from core import tls
from core.http_connection import ConnectFailed, ConnectTimedOut, HttpAnswer, HttpConnection

_IDLE_SECONDS = 4.0
"""No connection is used again that was idle for longer: uvicorn and Node.js close theirs after five seconds, and a
request that is on its way then is lost.
"""
_IDLE_TLS_SECONDS = 50.0
"""The same behind TLS, which takes long to begin anew. Services on the internet keep a connection for a minute or more:
AWS's and Google's load balancers 60 and 600 seconds, Cloudflare 400, nginx 75.
"""
_IDLE_CONNECTIONS = 100

_LONGEST_TARGET = 65_536
"""Servers take 8,000 to a million characters; the HTTP client before this one took as many."""
_SAFE = "!$%&'()*+,-./:;=?@[]_~"
_PLAIN = re.compile(rf"[A-Za-z0-9{re.escape(_SAFE)}]*")
_STEP = re.compile(r"(?:/|^)(?:\.|%2e){1,2}(?:[/?]|$)", re.IGNORECASE)


class InvalidTarget(ValueError):
    """What can be no path, or leads out of the one that it is in."""


def target_of(path: str, query: str = "") -> str:
    """What stands in a request's first line: percent-encoded where it is not yet.

    Raises:
        InvalidTarget: it has steps (`.` or `..`) or what is no Unicode, or is too long for any server.
    """
    target = f"{path}?{query}" if query else path
    if _STEP.search(path) or len(target) > _LONGEST_TARGET:
        raise InvalidTarget("a path with steps, or without an end")
    if _PLAIN.fullmatch(target):
        return target
    try:
        return quote(target, safe=_SAFE)
    except UnicodeEncodeError:
        raise InvalidTarget("no Unicode") from None


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdecimal()


class HttpClient:
    """Calls the server at one URL, below its path. It belongs to the event loop that uses it first."""

    def __init__(self, base_url: str, *, connect_seconds: float, silence_seconds: float) -> None:
        """
        Args:
            connect_seconds: the longest wait for a connection, TLS and all.
            silence_seconds: the longest wait for the server's next byte.

        Raises:
            ValueError: `base_url` is no URL of a server.
        """
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("write a URL that begins with http:// or https://")
        self._host = url.hostname
        self._tls = tls.context() if url.scheme == "https" else None
        self._port = url.port or (443 if self._tls else 80)
        self._path = target_of(url.path.rstrip("/"))
        self._authority = url.netloc.rpartition("@")[2]
        self._idle_seconds = _IDLE_TLS_SECONDS if self._tls else _IDLE_SECONDS
        self._connect_seconds = connect_seconds
        self._silence_seconds = silence_seconds
        self._idle: deque[HttpConnection] = deque()
        self._all: set[HttpConnection] = set()

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> HttpAnswer:
        """The answer, as soon as its head is there, whatever its status.

        Args:
            target: what is added to the path of the client's URL, as `target_of` makes it.
            headers: all but `host` and `content-length`.

        Raises:
            ConnectFailed: nothing was sent. ConnectTimedOut: nothing was sent in time.
            Dropped: there is no answer. Silence: there is none in time.
            ValueError: a header that can be none.
        """
        head = self._head(method, target, headers, body)
        connection = self._idle_connection() or await self._connect()
        return await connection.ask(head, body or b"")

    async def close(self) -> None:
        """End all connections that there are, busy ones too."""
        for connection in tuple(self._all):
            connection.abort()

    def _head(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        lines = [f"{method} {self._path}{target} HTTP/1.1", f"host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        head = "\r\n".join(lines)
        if not head.count("\r") == head.count("\n") == len(lines) - 1 or "\0" in head:
            raise ValueError("a header of several lines")
        return f"{head}\r\n\r\n".encode("latin-1")

    def _idle_connection(self) -> HttpConnection | None:
        """The one that was used last: so those that are not needed grow old."""
        oldest = asyncio.get_running_loop().time() - self._idle_seconds
        while self._idle:
            connection = self._idle.pop()
            if connection.free_since >= oldest and connection.is_usable():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> HttpConnection:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._connect_seconds
        try:
            async with asyncio.timeout_at(end):
                addresses = await self._addresses()
                for address in addresses[:-1]:
                    try:
                        async with asyncio.timeout((end - loop.time()) / 2):  # a dead one leaves time for the others
                            return await self._connect_to(address)
                    except ssl.SSLError:  # which another address would not mend
                        raise
                    except OSError:
                        continue
                return await self._connect_to(addresses[-1])
        except TimeoutError as error:
            raise ConnectTimedOut from error
        except (OSError, UnicodeError) as error:  # the latter is a host that can be none
            raise ConnectFailed from error

    async def _addresses(self) -> Sequence[str]:
        """The host's, IPv4 first: it is there wherever functions run, and IPv6 may lead nowhere."""
        if _is_address(self._host):
            return (self._host,)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        found.sort(key=lambda one: one[0] != socket.AF_INET)
        return [str(one[4][0]) for one in found]

    async def _connect_to(self, address: str) -> HttpConnection:
        loop = asyncio.get_running_loop()
        name = self._host if self._tls else None
        _, connection = await loop.create_connection(
            self._new_connection, address, self._port, ssl=self._tls, server_hostname=name
        )
        self._all.add(connection)
        return connection

    def _new_connection(self) -> HttpConnection:
        return HttpConnection(self._silence_seconds, self._freed, self._lost)

    def _freed(self, connection: HttpConnection) -> None:
        self._idle.append(connection)
        oldest = connection.free_since - self._idle_seconds
        while len(self._idle) > _IDLE_CONNECTIONS or self._idle[0].free_since < oldest:
            self._idle.popleft().abort()

    def _lost(self, connection: HttpConnection) -> None:
        self._all.discard(connection)
        with suppress(ValueError):  # it was busy
            self._idle.remove(connection)
