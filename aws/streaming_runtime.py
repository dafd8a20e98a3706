"""The Lambda runtime that streams, started by `run` in place of AWS's own, which cannot from Python.

It speaks the Runtime API with the standard library alone. Every answer, errors too, is a JSON prelude, eight NUL bytes
and the body, as a function URL with InvokeMode RESPONSE_STREAM wants it, and a REST API whose responseTransferMode is
STREAM. To be deleted once awslambdaric can stream.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.http import Stream

_ROOT = "/2018-06-01/runtime"
_ERROR_TYPE, _ERROR_BODY = "Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"
_END_OF_PRELUDE = b"\0" * 8
# Without a byte after the prelude the client waits until the function's timeout
# (https://github.com/aws/aws-lambda-nodejs-runtime-interface-client/issues/95). White space harms no reader.
_EMPTY_BODY = b"\n"


@dataclass(frozen=True, slots=True)
class Invocation:
    id: str
    event: bytes
    deadline: float
    """When Lambda stops the sandbox, on the clock of `time.monotonic`."""


class RuntimeApi:
    """Lambda's side of the sandbox. Each call has a connection of its own, so that none can have gone stale meanwhile.

    Every method may raise `OSError` or `HTTPException`: the platform is gone, or refuses the call.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def next(self) -> Invocation:
        """Wait for work, for as long as it takes."""
        headers, event = self._call("GET", "/invocation/next")
        remaining_seconds = int(headers["Lambda-Runtime-Deadline-Ms"]) / 1000 - time.time()
        return Invocation(headers["Lambda-Runtime-Aws-Request-Id"], event, time.monotonic() + remaining_seconds)

    def restored(self) -> None:
        """Wait until Lambda wakes a copy of this sandbox from its snapshot (SnapStart)."""
        self._call("GET", "/restore/next")

    def fail(self, where: str, error: Exception) -> None:
        """Report an error of `where`: of `/init`, or of an invocation's path before any byte of its answer."""
        self._call("POST", f"{where}/error", _describe(error), {_ERROR_TYPE: type(error).__name__})

    def stream(self, invocation_id: str) -> StreamedAnswer:
        return StreamedAnswer(HTTPConnection(self._address), f"{_ROOT}/invocation/{invocation_id}/response")

    def _call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[HTTPMessage, bytes]:
        with closing(HTTPConnection(self._address)) as connection:
            connection.request(method, _ROOT + path, body, headers or {})
            return _read(connection)


class StreamedAnswer:
    """One answer on its way out: `begin`, `send` for each chunk, `end`, and in any case `close`."""

    def __init__(self, connection: HTTPConnection, path: str) -> None:
        self._connection = connection
        self._path = path

    def begin(self, head: Mapping[str, object]) -> None:
        """Send the prelude; `head` holds `statusCode`, `headers` and `cookies`."""
        self._connection.putrequest("POST", self._path, skip_accept_encoding=True)
        self._connection.putheader("Content-Type", "application/vnd.awslambda.http-integration-response")
        self._connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
        self._connection.putheader("Transfer-Encoding", "chunked")
        self._connection.putheader("Trailer", f"{_ERROR_TYPE}, {_ERROR_BODY}")
        self._connection.endheaders()
        self.send(json.dumps(head).encode() + _END_OF_PRELUDE)

    def send(self, chunk: bytes) -> None:
        """Send `chunk`, which is not empty: an empty one would be the end."""
        self._connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def end(self, error: Exception | None) -> None:
        """Finish the answer; an error can only go into the trailers now."""
        trailers = b""
        if error:
            body = base64.b64encode(_describe(error)).decode()
            trailers = f"{_ERROR_TYPE}: {type(error).__name__}\r\n{_ERROR_BODY}: {body}\r\n".encode()
        self._connection.send(b"0\r\n" + trailers + b"\r\n")
        _read(self._connection)

    def close(self) -> None:
        self._connection.close()


def main() -> None:
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        function = importlib.import_module("lambda_function")
    except Exception as error:
        _log(error)
        api.fail("/init", error)
        sys.exit(1)
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        api.restored()
    with asyncio.Runner() as runner:
        while True:
            runner.run(_serve(api, _next(api), function))


def _next(api: RuntimeApi) -> Invocation:
    try:
        return api.next()
    except (OSError, HTTPException) as error:
        sys.exit(f"streaming_runtime: Lambda's Runtime API has gone: {error!r}")


async def _serve(api: RuntimeApi, invocation: Invocation, function: ModuleType) -> None:
    """Answer one invocation. Its calls to the Runtime API block: a sandbox has one request at a time."""
    try:
        try:
            event = json.loads(invocation.event)
            response = await function.answer(event, deadline=invocation.deadline, request_id=invocation.id)
            chunks = _payload(response.body)
            first = await anext(chunks)
        except Exception as error:  # the status has not gone out: Lambda makes it a 502
            _log(error)
            api.fail(f"/invocation/{invocation.id}", error)
            return
        async with aclosing(chunks):
            with closing(api.stream(invocation.id)) as outgoing:
                outgoing.begin(function.head(response))
                await _pump(first, chunks, outgoing)
    except (OSError, HTTPException) as error:
        print(f"streaming_runtime: Lambda does not take the answer to {invocation.id}: {error!r}", file=sys.stderr)


async def _pump(chunk: bytes, rest: AsyncGenerator[bytes, None], outgoing: StreamedAnswer) -> None:
    failure = None
    while chunk:
        outgoing.send(chunk)
        try:  # around this alone: a reset of upstream's connection must not pass for one of Lambda's
            chunk = await anext(rest, b"")
        except Exception as error:
            _log(error)
            chunk, failure = b"", error
    outgoing.end(failure)


async def _payload(body: bytes | Stream) -> AsyncGenerator[bytes, None]:
    """The body's chunks that are not empty; at least one."""
    if isinstance(body, bytes):
        yield body or _EMPTY_BODY
        return
    empty = True
    async with aclosing(body):
        async for chunk in body:
            if chunk:
                empty = False
                yield chunk
    if empty:
        yield _EMPTY_BODY


def _read(connection: HTTPConnection) -> tuple[HTTPMessage, bytes]:
    answer = connection.getresponse()
    body = answer.read()
    if answer.status >= 300:
        raise HTTPException(f"{answer.status} {body.decode(errors='replace')}")
    return answer.headers, body


def _describe(error: Exception) -> bytes:
    """The error as Lambda's own runtime reports it. A traceback names code, never values."""
    frames = traceback.format_tb(error.__traceback__)
    return json.dumps({"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": frames}).encode()


def _log(error: Exception) -> None:
    traceback.print_exception(error, chain=False)


if __name__ == "__main__":
    main()
