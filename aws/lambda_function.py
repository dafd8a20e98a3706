"""Trefoil on AWS Lambda: an HTTP request as an event in, an answer out, two translations around `Gateway.handle`.

`lambda_handler` answers in one piece through Lambda's own Python runtime. `streaming_runtime.py` calls `answer`
instead and sends the same response while it is still being produced.
"""

from __future__ import annotations

from core import cold_start

# isort: split
import asyncio
import base64
import os
import time
from collections.abc import Mapping
from contextlib import aclosing
from functools import cache
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from pydantic_core import ValidationError

from core import errors, logs
from core.gateway import Gateway
from core.http import Request, Response, Stream
from core.model import Model
from core.settings import Settings
from lambda_store import open_store
from secretsmanager_secrets import with_secrets

_REST_FIRST_BYTE_SECONDS = 290
"""A regional REST API cuts a stream off that is idle for 300 seconds; the rest is for saying so in time.

https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode.html
"""
_PLAIN_IN_PATHS = "/%:@!$&'()*+,;=~"
"""What may stand in a percent-encoded path, beside letters, digits and -._ (RFC 3986, section 3.3)."""

logs.to_stdout()
# Read while Lambda initialises the sandbox, so that a mistake stops the deployment and not a client's request.
_settings = Settings.load(with_secrets(os.environ))
_store = open_store(_settings.store, os.environ)


class LambdaContext(Protocol):
    """The part of Lambda's context object that is used here."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


class _Http(Model):
    method: str
    sourceIp: str | None = None


class _UrlContext(Model):
    http: _Http


class _UrlEvent(Model):
    """Payload format 2.0, as function URLs and HTTP APIs send it; repeated headers come joined by a comma.

    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
    """

    rawPath: str
    rawQueryString: str = ""
    cookies: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    requestContext: _UrlContext
    body: str | None = None
    isBase64Encoded: bool = False

    def to_request(self, body: bytes, *, deadline: float, request_id: str) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.cookies:
            headers["cookie"] = "; ".join(self.cookies)
        return Request(
            method=self.requestContext.http.method.upper(),
            path=self.rawPath,
            query=self.rawQueryString,
            headers=headers,
            body=body,
            deadline=deadline,
            client=self.requestContext.http.sourceIp,
            id=request_id,
        )


_UrlEvent.prepare()  # the usual one


class _Identity(Model):
    sourceIp: str | None = None


class _RestContext(Model):
    identity: _Identity


class _RestEvent(Model):
    """Payload format 1.0, as REST APIs send it.

    The path comes without the stage and percent-encoded, which is seen but not documented; the query decoded, which is:
    "REST APIs decode URL-encoded request parameters". So the parameters are encoded anew. What is lost is the order
    among parameters of different names, and whether one had an equals sign.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html
    """

    httpMethod: str
    path: str
    multiValueHeaders: dict[str, list[str]] | None = None
    multiValueQueryStringParameters: dict[str, list[str]] | None = None
    requestContext: _RestContext
    body: str | None = None
    isBase64Encoded: bool = False

    def to_request(self, body: bytes, *, deadline: float, request_id: str) -> Request:
        return Request(
            method=self.httpMethod.upper(),
            # A path that is encoded stays as it is. Were one not, it must not become a query.
            path=quote(self.path, safe=_PLAIN_IN_PATHS),
            query=urlencode(self.multiValueQueryStringParameters or {}, doseq=True, quote_via=quote),
            headers=_join(self.multiValueHeaders or {}),
            body=body,
            deadline=deadline,
            first_byte_deadline=time.monotonic() + _REST_FIRST_BYTE_SECONDS,
            client=self.requestContext.identity.sourceIp,
            id=request_id,
        )


def lambda_handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """The entry that Lambda's own runtime calls: the whole answer at once."""
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000
    whole = _runner().run(_answer_whole(event, deadline=deadline, request_id=context.aws_request_id))
    if _is_rest(event):  # API Gateway takes an answer for malformed that has a key which its format 1.0 has not
        cookies = whole.pop("cookies")
        whole["multiValueHeaders"] = {"set-cookie": cookies} if cookies else {}
    return whole


async def answer(event: object, *, deadline: float, request_id: str) -> Response:
    """The response to an event of any kind: one that is no HTTP request gets a 400.

    `deadline` is when Lambda will stop the sandbox, on the clock of `time.monotonic`. `request_id` is Lambda's own, so
    that what a client quotes is what the operator finds in the logs.
    """
    try:
        request = _read(event, deadline=deadline, request_id=request_id)
    except errors.InvalidRequest as error:
        return errors.to_response(error, request_id)
    return await _gateway().handle(request)


def head(response: Response) -> dict[str, Any]:
    """Status, headers and cookies, as both the answer in one piece and the one in a stream begin.

    In a stream, REST APIs take the same as function URLs do.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
    """
    headers = dict(response.headers)
    cookie = headers.pop("set-cookie", None)
    return {"statusCode": response.status, "headers": headers, "cookies": [cookie] if cookie else []}


async def _answer_whole(event: object, *, deadline: float, request_id: str) -> dict[str, Any]:
    response = await answer(event, deadline=deadline, request_id=request_id)
    try:
        return await _write(response)
    except errors.UpstreamError as error:  # of a stream that broke: nothing of it has gone out here
        return await _write(errors.to_response(error, request_id))


def _is_rest(event: object) -> bool:
    return isinstance(event, dict) and "httpMethod" in event


def _read(event: object, *, deadline: float, request_id: str) -> Request:
    kind = _RestEvent if _is_rest(event) else _UrlEvent
    try:
        http_event = kind.model_validate(event)
        body = (http_event.body or "").encode()
        if http_event.isBase64Encoded:
            body = base64.b64decode(body, validate=True)
    except ValidationError as error:
        field = ".".join(map(str, error.errors(include_url=False)[0]["loc"])) or "event"
        raise errors.InvalidRequest(f"Not an HTTP request in a payload format of Lambda's: see '{field}'.") from None
    except ValueError:
        raise errors.InvalidRequest("The event's body is not valid base64.", param="body") from None
    return http_event.to_request(body, deadline=deadline, request_id=request_id)


def _join(headers: Mapping[str, list[str]]) -> dict[str, str]:
    """The headers by their names in lower case, which the client may have written in several ways."""
    values: dict[str, list[str]] = {}
    for name, given in headers.items():
        values.setdefault(name.lower(), []).extend(given)
    return {name: ("; " if name == "cookie" else ",").join(given) for name, given in values.items()}


async def _write(response: Response) -> dict[str, Any]:
    body = response.body if isinstance(response.body, bytes) else await _collect(response.body)
    try:
        return {**head(response), "body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:  # whatever its content type: bytes that are valid UTF-8 survive JSON, others would not
        return {**head(response), "body": base64.b64encode(body).decode(), "isBase64Encoded": True}


async def _collect(stream: Stream) -> bytes:
    async with aclosing(stream):
        return b"".join([chunk async for chunk in stream])


@cache
def _runner() -> asyncio.Runner:
    """One event loop for the life of the sandbox: the upstream connections that stay open belong to it."""
    return asyncio.Runner()


@cache
def _gateway() -> Gateway:
    return Gateway(_settings, _store)


_gateway()  # no request waits until it is made
cold_start.is_over()
