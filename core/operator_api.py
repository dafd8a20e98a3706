"""The admin API as the command line calls it: a running service by HTTP, or the embedded store in this process."""

from __future__ import annotations

import asyncio
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn, Protocol
from urllib.parse import quote, urlsplit

from core import errors
from core.books import Books
from core.http import Request
from core.manage import Manage
from core.ports import StoreError
from core.secret import Secret
from core.sqlite_store import SqliteStore

_TIMEOUT_SECONDS = 120
"""Deleting an app with many records takes its time."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Refused(Exception):
    """What was asked for was not done. The message says why, in one line for the operator."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Answer(NamedTuple):
    """A response, of whatever status."""

    status: int
    body: bytes


class Transport(Protocol):
    """A way to the admin API."""

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """
        Raises:
            Refused: there is no answer to be had.
        """
        ...

    def close(self) -> None: ...


class OperatorApi:
    """The API's requests and answers as values."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def call(self, method: str, path: str, body: object = None, *, version: int | None = None) -> Any:
        """The answer's JSON.

        Args:
            version: the version of what is to be changed; None for whichever it has.

        Raises:
            Refused: it was not done.
        """
        answer = self._answer(method, path, body, version)
        try:
            return json.loads(answer.body)
        except ValueError:
            raise _strange(answer) from None

    def text(self, method: str, path: str) -> str:
        """The answer as it is; otherwise as `call`."""
        return self._answer(method, path, None, None).body.decode("utf-8", "replace")

    def _answer(self, method: str, path: str, body: object, version: int | None) -> Answer:
        content = b"" if body is None else json.dumps(body).encode()
        if_match = "*" if version is None else f'"{version}"'
        headers = {"content-type": "application/json"} if method == "POST" else {"if-match": if_match}
        answer = self._transport.send(method, f"/manage{path}", content, {} if method == "GET" else headers)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise _refusal(answer)
        return answer

    def all(self, path: str) -> Iterator[Any]:
        """The items of a list, page after page."""
        after = ""
        while True:
            page = self.call("GET", f"{path}?limit=1000&after={quote(after, safe='')}")
            yield from page["data"]
            if not page["has_more"]:
                return
            after = page["last_id"]

    def close(self) -> None:
        self._transport.close()


class HttpTransport:
    """To a running service, with its admin key."""

    def __init__(self, url: str, admin_key: str) -> None:
        """
        Raises:
            Refused: the URL is none, or would carry the key in the clear.
        """
        self._url = url.rstrip("/").removesuffix("/v1")
        self._admin_key = admin_key
        wrong = f"'{url}' is no URL of a service: write one such as https://trefoil.example."
        try:
            place = urlsplit(self._url)
        except ValueError:
            raise Refused(wrong) from None
        is_near = place.hostname in _LOOPBACK
        if place.scheme not in ("http", "https") or not place.hostname:
            raise Refused(wrong)
        if place.scheme == "http" and not is_near:
            raise Refused(f"{url} would carry the admin key in the clear: write https://.")
        # This machine is not behind its own proxy.
        proxies = urllib.request.ProxyHandler({}) if is_near else urllib.request.ProxyHandler()
        self._opener = urllib.request.build_opener(proxies, _NoRedirects)

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url + path,
            data=body or None,
            headers={**headers, "authorization": f"Bearer {self._admin_key}"},
            method=method,
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return Answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read())
        except (OSError, HTTPException, UnicodeError) as error:  # the last is of a host that can have no such name
            reason = getattr(error, "reason", None) or error
            raise Refused(f"{self._url} cannot be reached: {reason}") from None

    def close(self) -> None:
        """Nothing is held open."""


class EmbeddedTransport:
    """To the embedded store in a file, without a service: the same API, run for each request."""

    def __init__(self, file: Path, *, cache_seconds: float) -> None:
        """
        Args:
            cache_seconds: that of the services which use the same file.
        """
        self._key = secrets.token_hex()
        self._store = SqliteStore(file)
        self._manage = Manage(self._store, Books(self._store), admin_key=Secret(self._key), cache_seconds=cache_seconds)
        self._runner = asyncio.Runner()

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        path, _, query = path.partition("?")
        request = Request(method, path, query, {**headers, "authorization": f"Bearer {self._key}"}, body)
        try:
            response = self._runner.run(self._manage.handle(request))
        except errors.TrefoilError as error:
            return Answer(error.status, errors.body(error))
        except StoreError as error:
            raise Refused(str(error)) from None
        assert isinstance(response.body, bytes)
        return Answer(response.status, response.body)

    def close(self) -> None:
        self._runner.close()
        self._store.close()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Elsewhere the admin key has no business."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> NoReturn:
        raise Refused(f"{req.full_url} leads elsewhere, to {newurl}: write the service's own URL.")


def _refusal(answer: Answer) -> Refused:
    try:
        error = json.loads(answer.body)["error"]
        message, code = str(error["message"]), error["code"]
    except (ValueError, TypeError, KeyError):
        return _strange(answer)
    if code == "unknown_url":
        message = "There is no admin API at this URL: is it right, and is TREFOIL_ADMIN_KEY set for the service?"
    return Refused(" ".join(message.split()), code=code)


def _strange(answer: Answer) -> Refused:
    return Refused(f"The answer has status {answer.status}, and is not one of Trefoil's: is the URL right?")
