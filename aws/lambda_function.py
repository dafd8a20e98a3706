"""Trefoil on AWS Lambda: a function-URL event in, an answer out, two translations around `Gateway.handle`.

`lambda_handler` answers in one piece through Lambda's own Python runtime. `streaming_runtime.py` calls `answer`
instead and sends the same response while it is still being produced.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from contextlib import aclosing
from functools import cache
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from core import errors, logs
from core.gateway import Gateway
from core.http import Request, Response, Stream
from core.settings import Settings
from lambda_store import open_store
from secretsmanager_secrets import with_secrets

logs.to_stdout()
# Read while Lambda initialises the sandbox, so that a mistake stops the deployment and not a client's request.
_settings = Settings.load(with_secrets(os.environ))
_store = open_store(_settings.store, os.environ)


class LambdaContext(Protocol):
    """The part of Lambda's context object that is used here."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


class _Http(BaseModel):
    method: str
    sourceIp: str | None = None


class _RequestContext(BaseModel):
    http: _Http


class _Event(BaseModel):
    """Payload format 2.0, as function URLs and HTTP APIs send it; repeated headers come joined by a comma.

    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
    """

    rawPath: str
    rawQueryString: str = ""
    cookies: list[str] = []
    headers: dict[str, str] = {}
    requestContext: _RequestContext
    body: str | None = None
    isBase64Encoded: bool = False


def lambda_handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """The entry that Lambda's own runtime calls: the whole answer at once."""
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000
    return _runner().run(_answer_whole(event, deadline=deadline, request_id=context.aws_request_id))


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
    """Status, headers and cookies, as both the answer in one piece and the one in a stream begin."""
    headers = dict(response.headers)
    cookie = headers.pop("set-cookie", None)
    return {"statusCode": response.status, "headers": headers, "cookies": [cookie] if cookie else []}


async def _answer_whole(event: object, *, deadline: float, request_id: str) -> dict[str, Any]:
    response = await answer(event, deadline=deadline, request_id=request_id)
    try:
        return await _write(response)
    except errors.UpstreamError as error:  # of a stream that broke: nothing of it has gone out here
        return await _write(errors.to_response(error, request_id))


def _read(event: object, *, deadline: float, request_id: str) -> Request:
    try:
        http_event = _Event.model_validate(event)
        body = (http_event.body or "").encode()
        if http_event.isBase64Encoded:
            body = base64.b64decode(body, validate=True)
    except ValidationError as error:
        field = ".".join(map(str, error.errors(include_url=False)[0]["loc"])) or "event"
        raise errors.InvalidRequest(f"Not an HTTP request in Lambda's payload format 2.0: see '{field}'.") from None
    except ValueError:
        raise errors.InvalidRequest("The event's body is not valid base64.", param="body") from None
    headers = {name.lower(): value for name, value in http_event.headers.items()}
    if http_event.cookies:
        headers["cookie"] = "; ".join(http_event.cookies)
    return Request(
        method=http_event.requestContext.http.method.upper(),
        path=http_event.rawPath,
        query=http_event.rawQueryString,
        headers=headers,
        body=body,
        deadline=deadline,
        client=http_event.requestContext.http.sourceIp,
        id=request_id,
    )


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
