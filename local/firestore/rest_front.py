"""The service over REST, the metadata server, and the emulator's own controls: one ASGI application.

A request is read by Google's own mapping from JSON to its messages, so a field that the service does not know is
refused here as it is there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from google.protobuf import json_format

from local.firestore.messages import Message
from local.firestore.metadata import SERVICE_ACCOUNT, MetadataServer
from local.firestore.refusal import Refusal
from local.firestore.service import METHODS, Failure, Service
from local.offline.exchange import ASGIReceive, ASGISend, read_body
from local.offline.exchange import Message as Event

_POSTED = {
    "batchGet": "BatchGetDocuments",
    "beginTransaction": "BeginTransaction",
    "commit": "Commit",
    "rollback": "Rollback",
    "runQuery": "RunQuery",
}
_DATABASE_METHOD = re.compile(r"/v1/(projects/[^/]+/databases/[^/]+)/documents:(\w+)")
_PARENT_METHOD = re.compile(r"/v1/(projects/[^/]+/databases/[^/]+/documents(?:/[^:]+)?):(\w+)")
_DOCUMENT = re.compile(r"/v1/(projects/[^/]+/databases/[^/]+/documents/[^:]+)")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    """As it came, percent-encoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body or b"{}")
        except ValueError:
            raise Refusal("INVALID_ARGUMENT", "Invalid JSON payload received.") from None


class RestFront:
    def __init__(self, firestore: Service, metadata: MetadataServer, *, require_token: bool = False) -> None:
        """
        Args:
            require_token: refuse whoever has no token of the metadata server's.
        """
        self._firestore = firestore
        self._metadata = metadata
        self._require_token = require_token
        self._controls: Mapping[tuple[str, str], Callable[[_Request], object]] = {
            ("GET", "/healthz"): lambda request: {"status": "ok"},
            ("DELETE", "/emulator/v1/documents"): lambda request: firestore.database.clear(),
            ("GET", "/emulator/v1/calls"): lambda request: firestore.calls,
            ("DELETE", "/emulator/v1/calls"): lambda request: firestore.calls.clear(),
            ("POST", "/emulator/v1/failures"): self._fail,
            ("POST", "/emulator/v1/sweep"): self._sweep,
        }

    async def __call__(self, scope: Event, receive: ASGIReceive, send: ASGISend) -> None:
        body = await read_body(receive)
        if body is None:
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = {name: entries[-1] for name, entries in parse_qs(scope["query_string"].decode("latin-1")).items()}
        path = scope["raw_path"].partition(b"?")[0].decode("latin-1")
        status, answer = await self._answer(_Request(scope["method"], path, query, headers, body))
        content = json.dumps(answer).encode()
        kind, length = (b"content-type", b"application/json; charset=UTF-8"), str(len(content)).encode()
        await send({"type": "http.response.start", "status": status, "headers": [kind, (b"content-length", length)]})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, request: _Request) -> tuple[int, object]:
        if (control := self._controls.get((request.method, request.path))) is not None:
            return _controlled(control, request)
        if (request.method, request.path) == ("GET", f"{SERVICE_ACCOUNT}/token"):
            return self._metadata.answer(request.headers)
        streams = request.path.endswith((":batchGet", ":runQuery"))
        try:
            return 200, await self._call(request)
        except Refusal as refusal:
            error = {"code": refusal.http_status, "message": refusal.message, "status": refusal.status}
            # Methods that answer with an array do so here, too.
            return refusal.http_status, [{"error": error}] if streams else {"error": error}

    async def _call(self, request: _Request) -> object:
        if self._require_token and not self._metadata.knows(request.headers):
            raise Refusal("UNAUTHENTICATED", "Request had invalid authentication credentials.")
        name, message = _read(request)
        answers = [json_format.MessageToDict(answer) for answer in await self._firestore.call(name, message)]
        return answers if METHODS[name].streams else answers[0]

    def _fail(self, request: _Request) -> None:
        self._firestore.failures.append(Failure(**request.json()))

    def _sweep(self, request: _Request) -> object:
        at = float(request.query.get("at", time.time()))
        return {"deleted": self._firestore.database.sweep(request.query["field"], at)}


def _controlled(control: Callable[[_Request], object], request: _Request) -> tuple[int, object]:
    try:
        return 200, control(request)
    except (Refusal, KeyError, TypeError, ValueError) as error:
        return 400, {"error": repr(error)}


def _read(request: _Request) -> tuple[str, Message]:
    """The method that is called, and its message."""
    if request.method == "GET" and (match := _DOCUMENT.fullmatch(request.path)):
        return "GetDocument", METHODS["GetDocument"].request(name=unquote(match[1]))
    if request.method == "POST" and (match := _DATABASE_METHOD.fullmatch(request.path)) and match[2] != "runQuery":
        return _posted(request, match[2], database=unquote(match[1]))
    if request.method == "POST" and (match := _PARENT_METHOD.fullmatch(request.path)) and match[2] == "runQuery":
        return _posted(request, match[2], parent=unquote(match[1]))
    raise Refusal("UNIMPLEMENTED", f"The emulator does not know {request.method} {request.path}.")


def _posted(request: _Request, verb: str, **in_path: str) -> tuple[str, Message]:
    if verb not in _POSTED:
        raise Refusal("UNIMPLEMENTED", f"The emulator does not know :{verb}.")
    name = _POSTED[verb]
    message = METHODS[name].request()
    try:
        json_format.ParseDict(request.json(), message)
    except json_format.ParseError as error:
        raise Refusal("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from None
    for field, value in in_path.items():
        setattr(message, field, value)
    return name, message
