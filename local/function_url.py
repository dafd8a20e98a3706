"""A Lambda function URL as an ASGI app: HTTP in, payload format 2.0 to a sandbox, its answer unwrapped and sent on.

As on Lambda, a client that leaves is not reported to the function, which runs on to its end.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
"""

from __future__ import annotations

import base64
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl

import h11
from pydantic import BaseModel, ConfigDict, ValidationError

from local.runtime_api import Answer, InitError, SandboxError
from local.sandboxes import Sandboxes, Throttled

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ToEvent = Callable[[Message, bytes, str], dict[str, Any]]

PAYLOAD_LIMIT_BYTES = 6 * 1024 * 1024
_PRELUDE_TYPE = "application/vnd.awslambda.http-integration-response"
_END_OF_PRELUDE = b"\0" * 8
_TEXT_TYPES = ("text/", "application/json", "application/javascript", "application/xml")
_FRAMING = {"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"}
_WITHOUT_BODY = {204, 304}
_THROTTLED = b'{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}'


class _ClientLeft(Exception):
    """The client went away before its request was complete."""


class _TooLarge(Exception):
    """The event is larger than Lambda takes."""


class _BadAnswer(SandboxError):
    """The function's answer is not one that a function URL can pass on."""


class _Fields(BaseModel):
    """What a function says about its HTTP response."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    statusCode: int = 200
    headers: dict[str, str] = {}
    cookies: list[str] = []
    body: str = ""
    isBase64Encoded: bool = False

    def content(self) -> bytes:
        return base64.b64decode(self.body, validate=True) if self.isBase64Encoded else self.body.encode()

    def head(self, *, default_type: str) -> h11.Response:
        """Status and headers. Raises `_BadAnswer` for what is not HTTP."""
        headers = {"content-type": default_type}
        headers |= {name.lower(): value for name, value in self.headers.items() if name.lower() not in _FRAMING}
        pairs = [*headers.items(), *(("set-cookie", cookie) for cookie in self.cookies)]
        try:
            encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in pairs]
            return h11.Response(status_code=self.statusCode, headers=encoded)
        except (UnicodeEncodeError, h11.LocalProtocolError) as error:
            raise _BadAnswer(f"the answer's head is not valid HTTP: {error}") from None


class FunctionUrl:
    """The ASGI app. `streaming` is the URL's InvokeMode: RESPONSE_STREAM, or else BUFFERED.

    `to_event` makes the event of a request's ASGI scope, body and id: in payload format 2.0 if it is None.
    """

    def __init__(self, sandboxes: Sandboxes, *, streaming: bool, to_event: ToEvent | None = None) -> None:
        self._sandboxes = sandboxes
        self._open = _open_stream if streaming else _open_buffered
        self._to_event = to_event or _to_event

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        client = _Client(send)
        request_id = str(uuid.uuid4())
        try:
            body = await _read_body(receive)
            await self._relay(_to_payload(self._to_event(scope, body, request_id)), request_id, client)
        except _ClientLeft:
            return
        except _TooLarge:
            await client.break_off(413, "Request Entity Too Large")
        except Throttled:
            print("aws_emulator: a request was refused: --max-sandboxes are busy", file=sys.stderr, flush=True)
            await client.throttle(request_id)
        except SandboxError as error:
            kind = "init error" if isinstance(error, InitError) else "error"
            print(f"aws_emulator: {kind}: {error}", file=sys.stderr, flush=True)
            await client.break_off(502, "Internal Server Error")

    async def _relay(self, event: bytes, request_id: str, client: _Client) -> None:
        async with (
            self._sandboxes.lease() as sandbox,
            sandbox.invoke(event, request_id=request_id) as answer,
            aclosing(answer.chunks),
        ):
            head, first = await self._open(answer)
            await client.start(head.status_code, [*head.headers, (b"x-amzn-requestid", request_id.encode())])
            await client.send(first)
            async for chunk in answer.chunks:
                await client.send(chunk)
        await client.end()  # only now, so that the client's next request finds the sandbox idle


class _Client:
    """The HTTP response on its way to the client. Sending to one that has left does nothing."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._status: int | None = None

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, chunk: bytes) -> None:
        if chunk and self._status not in _WITHOUT_BODY:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body"})

    async def throttle(self, request_id: str) -> None:
        """Answer what Lambda does where the function's concurrency is used up."""
        headers = {
            "content-type": "application/json",
            "content-length": str(len(_THROTTLED)),
            "x-amzn-errortype": "TooManyRequestsException",
            "x-amzn-requestid": request_id,
        }
        await self.start(429, [(name.encode(), value.encode()) for name, value in headers.items()])
        await self.send(_THROTTLED)
        await self.end()

    async def break_off(self, status: int, reason: str) -> None:
        """Answer `reason`. Too late for that, leave the response without its end: the server cuts the connection."""
        if self._status is None:
            await self.start(status, [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(reason))])
            await self.send(reason.encode())
            await self.end()


async def _read_body(receive: Receive) -> bytes:
    """The request's body, read to its end even if it is too large: a client that is still sending reads no answer."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        if len(body) <= PAYLOAD_LIMIT_BYTES:
            body += message.get("body", b"")
        more = message.get("more_body", False)
    if len(body) > PAYLOAD_LIMIT_BYTES:
        raise _TooLarge
    return bytes(body)


def _to_payload(event: Mapping[str, Any]) -> bytes:
    """The event as Lambda takes it. Raises `_TooLarge`."""
    payload = json.dumps(event, ensure_ascii=False).encode()
    if len(payload) > PAYLOAD_LIMIT_BYTES:
        raise _TooLarge
    return payload


def _to_event(scope: Message, body: bytes, request_id: str) -> dict[str, Any]:
    """The event in payload format 2.0."""
    headers, cookies = _split_headers(scope)
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    text = _as_text(headers.get("content-type", ""), body)
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        **({"cookies": cookies} if cookies else {}),
        "headers": headers,
        **({"queryStringParameters": parameters} if parameters else {}),
        "requestContext": _request_context(scope, path, headers, request_id),
        **({"body": base64.b64encode(body).decode() if text is None else text} if body else {}),
        "isBase64Encoded": text is None,
    }


def _split_headers(scope: Message) -> tuple[dict[str, str], list[str]]:
    """The headers, repeats joined by a comma, with those that Lambda adds; and the cookies apart."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";")]
        else:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    headers["x-forwarded-for"] = scope["client"][0]
    headers["x-forwarded-port"] = str(scope["server"][1])
    headers["x-forwarded-proto"] = scope["scheme"]
    return headers, cookies


def _request_context(scope: Message, path: str, headers: dict[str, str], request_id: str) -> dict[str, Any]:
    now = time.time()
    domain = headers.get("host", "")
    return {
        "accountId": "anonymous",
        "apiId": domain.partition(".")[0],
        "domainName": domain,
        "domainPrefix": domain.partition(".")[0],
        "http": {
            "method": scope["method"],
            "path": path,
            "protocol": f"HTTP/{scope['http_version']}",
            "sourceIp": scope["client"][0],
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
        "timeEpoch": int(now * 1000),
    }


def _as_text(content_type: str, body: bytes) -> str | None:
    """The body where it goes into JSON as it is, None where it has to be base64."""
    if body and not content_type.lower().startswith(_TEXT_TYPES):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


async def _open_stream(answer: Answer) -> tuple[h11.Response, bytes]:
    """Head and first bytes of what a RESPONSE_STREAM URL makes of an answer; what has no prelude goes out as it is."""
    if answer.content_type != _PRELUDE_TYPE:
        return _Fields().head(default_type="application/octet-stream"), b""
    held = b""
    async for chunk in answer.chunks:
        prelude, end, first = (held + chunk).partition(_END_OF_PRELUDE)
        if end:
            return _parse(prelude).head(default_type="application/octet-stream"), first
        held = prelude
    raise _BadAnswer("the answer's prelude has no end")


async def _open_buffered(answer: Answer) -> tuple[h11.Response, bytes]:
    """Head and body of what a BUFFERED URL makes of an answer."""
    payload = bytearray()
    async for chunk in answer.chunks:
        payload += chunk
        if len(payload) > PAYLOAD_LIMIT_BYTES:
            raise _BadAnswer(f"the answer is larger than {PAYLOAD_LIMIT_BYTES:,} bytes")
    try:
        fields = _parse(payload) if _names_a_status(payload) else _Fields(body=payload.decode())
        body = fields.content()
    except ValueError as error:
        raise _BadAnswer(f"the answer's body is not valid: {error}") from None
    return fields.head(default_type="application/json"), body


def _names_a_status(payload: bytes | bytearray) -> bool:
    """Whether this is an HTTP response; if not, Lambda makes it the body of one."""
    try:
        value = json.loads(payload)
    except ValueError as error:
        raise _BadAnswer(f"the answer is not JSON: {error}") from None
    return isinstance(value, dict) and "statusCode" in value


def _parse(payload: bytes | bytearray) -> _Fields:
    """The function's JSON. Raises `_BadAnswer`."""
    try:
        value = json.loads(payload)
        given = {name: field for name, field in value.items() if field is not None}
        return _Fields.model_validate(given)
    except (AttributeError, ValidationError, ValueError) as error:
        raise _BadAnswer(f"the answer is not what a function URL expects: {error}") from None
