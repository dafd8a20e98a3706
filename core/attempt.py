"""One attempt at one upstream: bytes out, bytes back, and what it means if none come."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

from pydantic_core import from_json

from core import errors, logs, schemas
from core.deadline import Deadline
from core.endpoints import Endpoint
from core.forms import canonical_type, is_form
from core.http import Request, Response
from core.http_client import InvalidTarget
from core.http_connection import ConnectFailed, ConnectTimedOut, Dropped, HttpError, Silence
from core.retry import Cause, Failure, is_transient
from core.stream import ByteStream, EventStream
from core.upstream_client import Answer, Client

_REQUEST_HEADERS = ("accept", "openai-beta", "x-client-request-id")
"""A client's headers that go up. Its credentials, organisation, cookies and address stay here."""

_RESPONSE_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-type",
    "openai-model",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-should-retry",
)
"""Upstream's headers that come down. Its rate limits and organisation are the operator's affairs, framing ours."""

_DEADLINE_RESERVE_SECONDS = 1.0
"""Kept back from the platform's deadline, to say in that time that upstream was too slow."""


class Call(NamedTuple):
    """What is asked: the same at every upstream but for the model's name."""

    endpoint: Endpoint
    request: Request
    stream: bool
    """Whether a stream of events may be passed on as one."""
    on_end: Callable[[str], None]
    """Told how a stream ended."""


class Failed(NamedTuple):
    """An attempt that may be made again, there or elsewhere."""

    failure: Failure
    answer: Response | errors.UpstreamError
    """What the client is told if no other attempt succeeds."""
    reason: str
    """For the log."""


async def ask(client: Client, call: Call, *, body: bytes, model: str | None) -> Response | Failed:
    """Upstream's answer, whole, or, where a stream was asked for and given, from its first event on. An error that is
    the client's own is an answer like any other.

    Raises:
        InvalidRequest: the client's path or query can be no URL.
    """
    request = call.request
    path = request.path.removeprefix("/v1")
    try:
        answer = await client.send(
            request.method, path, request.query, headers=_sent_headers(request), body=body, model=model
        )
        media_type, is_success = _media_type(answer), _is_success(answer)
        if is_success and (stream := _stream(answer, call, media_type)) is not None:
            await stream.start()
            return Response(answer.status, _kept_headers(answer, request), stream)
        content = await answer.read()
    except (HttpError, errors.UpstreamError) as error:
        return _failed(error)
    except InvalidTarget:
        raise errors.InvalidRequest("The URL of this request is not valid.") from None
    if is_success and media_type == "application/json" and schemas.is_object(content):
        return Response(answer.status, _kept_headers(answer, request), content)  # as most are
    return _whole_answer(answer, call, content)


def _stream(answer: Answer, call: Call, media_type: str) -> EventStream | ByteStream | None:
    """What is passed on as it comes: files, events where they were asked for, and what is no JSON, such as speech."""
    if call.endpoint.gives_file:
        return ByteStream(_chunks(answer, call.request), may_be_empty=True, on_end=call.on_end)
    if call.stream and media_type == "text/event-stream":
        return EventStream(_chunks(answer, call.request), last_events=call.endpoint.last_events, on_end=call.on_end)
    if not call.endpoint.answers_json and not media_type.startswith(("application/json", "text/")):
        return ByteStream(_chunks(answer, call.request), may_be_empty=False, on_end=call.on_end)
    return None


def left_seconds(*deadlines: float | None) -> float | None:
    """How long there is until the first of these, less the reserve; None if there is none."""
    set_deadlines = [deadline for deadline in deadlines if deadline is not None]
    if not set_deadlines:
        return None
    return max(0.0, min(set_deadlines) - _DEADLINE_RESERVE_SECONDS - time.monotonic())


def _sent_headers(request: Request) -> dict[str, str]:
    headers = _some(_REQUEST_HEADERS, request.headers)
    content_type = request.headers.get("content-type", "")
    # Any other body is JSON, whatever the client called it.
    return {**headers, "content-type": canonical_type(content_type)} if is_form(content_type) else headers


async def _chunks(answer: Answer, request: Request) -> AsyncGenerator[bytes, None]:
    deadline = Deadline(left_seconds(request.deadline))
    try:
        while (chunk := await deadline.next(answer)) is not None:
            yield chunk
    except TimeoutError:
        raise _too_slow() from None
    except HttpError as error:
        failed = _failed(error)
        logs.write(logging.ERROR, "upstream_cut_off", request_id=request.id, reason=failed.reason)
        assert isinstance(failed.answer, errors.UpstreamError)
        raise failed.answer from None
    finally:
        deadline.close()
        await answer.aclose()


def _whole_answer(answer: Answer, call: Call, content: bytes) -> Response | Failed:
    status, headers = answer.status, answer.headers
    if status in (401, 403):
        return Failed(Failure(Cause.DENIED, status), errors.UpstreamAuthFailed(), f"HTTP {status}")
    if _is_readable(answer, call.endpoint, content):
        response = Response(status, _kept_headers(answer, call.request), content)
        if not _is_failure(answer):
            return response
        code = _error_code(content) if status == 429 else None
        return Failed(Failure(Cause.STATUS, status, headers, code), response, f"HTTP {status}")
    refusal = errors.UpstreamError("The model's service sent an unreadable answer.", code="upstream_invalid")
    if answer.status >= HTTPStatus.BAD_REQUEST:
        # A proxy's page, say. Its status still tells the client whether to try again.
        refusal.status = status
        refusal.headers.update({name: headers[name] for name in ("retry-after",) if name in headers})
    cause = Cause.STATUS if is_transient(status) else Cause.BROKEN
    return Failed(Failure(cause, status, headers), refusal, f"HTTP {status}, unreadable")


def _is_readable(answer: Answer, endpoint: Endpoint, content: bytes) -> bool:
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        return False
    media_type = _media_type(answer)
    if media_type == "application/json" and content:
        return schemas.is_object(content)
    if endpoint.method == "DELETE" and _is_success(answer):
        return not content
    return _is_success(answer) and not endpoint.answers_json and media_type != "text/html" and bool(content)


def _is_failure(answer: Answer) -> bool:
    """Whether an error is upstream's, not the client's."""
    invited = answer.status >= HTTPStatus.BAD_REQUEST and answer.headers.get("x-should-retry") == "true"
    return invited or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in (408, 429)


def _error_code(content: bytes) -> str | None:
    error = from_json(content).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None


def _kept_headers(answer: Answer, request: Request) -> dict[str, str]:
    return {"x-request-id": request.id, **_some(_RESPONSE_HEADERS, answer.headers)}


def _some(names: Sequence[str], headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of these names whose values every server and client can take: some take nothing beyond ASCII."""
    return {name: value for name in names if (value := headers.get(name)) and value.isascii() and value.isprintable()}


def _media_type(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_success(answer: Answer) -> bool:
    return HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES


def _failed(error: HttpError | errors.UpstreamError) -> Failed:
    reason = _root_cause(error)
    if isinstance(error, errors.UpstreamError):
        return Failed(Failure(_cause_of_ours(error)), error, reason)
    if isinstance(error, ConnectTimedOut):
        return Failed(Failure(Cause.UNREACHABLE), _too_slow(), reason)
    if isinstance(error, Silence):
        return Failed(Failure(Cause.SILENT), _too_slow(), reason)
    if isinstance(error, (ConnectFailed, Dropped)):
        cause = Cause.UNREACHABLE if isinstance(error, ConnectFailed) else Cause.DROPPED
        unreachable = errors.UpstreamError("The model's service cannot be reached.", code="upstream_unreachable")
        return Failed(Failure(cause), unreachable, reason)
    cut_off = errors.UpstreamError("The model's service broke off its answer.", code="upstream_cut_off")
    return Failed(Failure(Cause.BROKEN), cut_off, reason)


def _cause_of_ours(error: errors.UpstreamError) -> Cause:
    if isinstance(error, errors.UpstreamAuthFailed):
        return Cause.DENIED
    return Cause.SILENT if isinstance(error, errors.UpstreamTimeout) else Cause.BROKEN


def _too_slow() -> errors.UpstreamTimeout:
    return errors.UpstreamTimeout("The model's service did not answer in time.")


def _root_cause(error: BaseException) -> str:
    """The kind of failure at the bottom. Texts stay out, but for the system's and ours: others may quote a header."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    reason = error.strerror if isinstance(error, OSError) else str(error) if isinstance(error, HttpError) else ""
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
