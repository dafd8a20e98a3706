"""The Lambda Runtime API of one sandbox: what a runtime process talks to, seen from Lambda's side.

Each sandbox has a listener of its own, so the port alone tells which sandbox is calling.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import h11

_ROOT = "/2018-06-01/runtime/"
_ERROR_TYPE, _ERROR_BODY = b"lambda-runtime-function-error-type", b"lambda-runtime-function-error-body"
_READ_BYTES = 64 * 1024
_HEAD_LIMIT_BYTES = 1024 * 1024
_JSON: Mapping[str, str] = MappingProxyType({"content-type": "application/json"})


FUNCTION_NAME = "trefoil"
REGION = "us-east-1"
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:012345678912:function:{FUNCTION_NAME}"


class SandboxError(Exception):
    """Why an invocation has no good answer."""


class InitError(SandboxError):
    """The function could not be imported or set up."""


class FunctionError(SandboxError):
    """The function reported an error, before or in its answer. The sandbox can go on working."""


class SandboxLost(SandboxError):
    """The process ended or stopped talking."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A function's answer, of which the head has come."""

    content_type: str
    streaming: bool
    """Whether the runtime said that it streams."""
    chunks: AsyncGenerator[bytes, None]
    """The body as it comes. Raises `FunctionError` where the trailers report one, `SandboxLost` where it breaks off."""


@dataclass(slots=True)
class _Invocation:
    id: str
    event: bytes
    timeout_seconds: float
    answer: asyncio.Future[Answer]
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def headers(self) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "lambda-runtime-aws-request-id": self.id,
            "lambda-runtime-deadline-ms": str(int((time.time() + self.timeout_seconds) * 1000)),
            "lambda-runtime-invoked-function-arn": FUNCTION_ARN,
            "lambda-runtime-trace-id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }


class RuntimeApi:
    """The listener. `asked`, then `invoke`, and so on; `lose` when the process has gone."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._asked = _future()
        self._work: asyncio.Future[_Invocation] = _future()
        self._invocation: _Invocation | None = None
        self._lost: SandboxError | None = None

    async def open(self) -> str:
        """The address for `AWS_LAMBDA_RUNTIME_API`."""
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    def lose(self, error: SandboxError) -> None:
        """Stop listening, and let nobody wait any longer: they get the first `error` that there was."""
        self._lost = self._lost or error
        waiting: list[asyncio.Future[Any]] = [self._asked, self._work]
        if self._invocation:
            waiting.append(self._invocation.answer)
        for future in waiting:
            if not future.done():
                future.set_exception(self._lost)
                future.exception()  # seen: nobody need be waiting
        if self._server:
            self._server.close()

    async def asked(self) -> None:
        """Wait until the runtime asks for work: its init, or its last invocation, is over.

        Raises:
            SandboxError: that will never happen.
        """
        await asyncio.shield(self._asked)
        if self._lost:
            raise self._lost

    @asynccontextmanager
    async def invoke(self, event: bytes, *, request_id: str, timeout_seconds: float) -> AsyncIterator[Answer]:
        """Hand `event` to a runtime that has asked, and wait for the head of its answer.

        Raises:
            SandboxError: there will be no answer.
        """
        invocation = _Invocation(request_id, event, timeout_seconds, _future())
        self._invocation, self._asked = invocation, _future()
        self._work.set_result(invocation)
        try:
            yield await invocation.answer
        finally:
            invocation.over.set()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer)
        try:
            while request := await connection.request():
                await self._route(request, connection)
        except (h11.ProtocolError, OSError, SandboxError):
            pass  # whoever waits for this sandbox is told by `lose`, or by the answer's chunks
        finally:
            writer.close()

    async def _route(self, request: h11.Request, connection: _Connection) -> None:
        match request.method, request.target.decode().removeprefix(_ROOT).split("/"):
            case b"GET", ["invocation", "next"]:
                await self._next(connection)
            case b"POST", ["invocation", id_, "response"] if invocation := self._unanswered(id_):
                await self._response(request, connection, invocation)
            case b"POST", ["invocation", id_, "error"] if invocation := self._unanswered(id_):
                await self._error(connection, invocation)
            case b"POST", ["init", "error"]:
                self.lose(InitError(_describe(await connection.body())))
                await connection.reply(202)
            case b"GET", ["restore", "next"]:
                await connection.reply(200)
            case _:
                await connection.reply(400, b'{"errorType": "InvalidRequest", "errorMessage": "No such call now"}')

    async def _next(self, connection: _Connection) -> None:
        if self._lost:
            raise self._lost
        self._work = _future()
        if not self._asked.done():
            self._asked.set_result(None)
        invocation = await self._work
        await connection.reply(200, invocation.event, invocation.headers())

    async def _response(self, request: h11.Request, connection: _Connection, invocation: _Invocation) -> None:
        headers = {name: value.decode("latin-1") for name, value in request.headers}
        streaming = headers.get(b"lambda-runtime-function-response-mode") == "streaming"
        invocation.answer.set_result(Answer(headers.get(b"content-type", ""), streaming, connection.chunks()))
        await invocation.over.wait()
        await connection.reply(202)

    async def _error(self, connection: _Connection, invocation: _Invocation) -> None:
        error = FunctionError(_describe(await connection.body()))
        if not invocation.answer.done():  # else the process died, or its time ended, while the report was read
            invocation.answer.set_exception(error)
        await connection.reply(202)

    def _unanswered(self, request_id: str) -> _Invocation | None:
        invocation = self._invocation
        return invocation if invocation and invocation.id == request_id and not invocation.answer.done() else None


class _Connection:
    """HTTP/1.1 on one connection, chunked bodies and their trailers included."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT_BYTES)

    async def request(self) -> h11.Request | None:
        """The next request's head; None when there will be none."""
        if self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return None
        event = await self._event()
        return event if isinstance(event, h11.Request) else None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The request's body as it comes. Raises `FunctionError` for an error in the trailers, or `SandboxLost`."""
        try:
            while isinstance(event := await self._event(), h11.Data):
                yield bytes(event.data)
        except (h11.RemoteProtocolError, OSError) as error:
            raise SandboxLost("the answer broke off") from error
        trailers = dict(event.headers) if isinstance(event, h11.EndOfMessage) else {}
        if _ERROR_TYPE in trailers:
            raise FunctionError(_describe(base64.b64decode(trailers.get(_ERROR_BODY, b""))))

    async def body(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def reply(self, status: int, body: bytes = b'{"status": "OK"}', headers: Mapping[str, str] = _JSON) -> None:
        while self._http.their_state is h11.SEND_BODY:  # what nobody wanted
            await self._event()
        framing = [*headers.items(), ("content-length", str(len(body)))]
        for event in (h11.Response(status_code=status, headers=framing), h11.Data(data=body), h11.EndOfMessage()):
            self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_READ_BYTES))
        return event


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _describe(error: bytes) -> str:
    """`{"errorType", "errorMessage"}` in one line."""
    try:
        fields = json.loads(error)
        return f"{fields['errorType']}: {fields['errorMessage']}"
    except (ValueError, TypeError, KeyError):
        return error.decode(errors="replace")
