"""Every way a request can be refused, and the one place where a refusal becomes a response.

    TrefoilError
    ├── InvalidRequest          400  the client's fault; `param` names the field
    │   ├── UnknownEndpoint     404
    │   ├── NotFound            404  an object that is not the app's, whether or not it exists
    │   ├── MethodNotAllowed    405  with `allow`
    │   ├── Conflict            409  an Idempotency-Key whose first request is still at work
    │   ├── StateConflict       409  what an operator wants to change is not in a state for it
    │   ├── PreconditionFailed  412  it was changed since the operator read it
    │   ├── BodyTooLarge        413
    │   ├── UnsupportedBody     415
    │   ├── IdempotencyKeyReused  422  with another request than the first
    │   └── PreconditionRequired  428  a change that does not say of which version
    ├── NotAuthenticated        401  no key, an unknown one, an expired one
    ├── NotAllowed              403  a model or an endpoint that is not the app's to use
    ├── Limited                 429
    │   ├── RequestsLimited     429  more requests in this minute than the app may make
    │   ├── TokensLimited       429  more tokens in this minute than the app may use
    │   └── QuotaExceeded       429  more money than the app may spend
    ├── UpstreamError           502  the model's service failed us
    │   ├── UpstreamAuthFailed  502  the operator's own credential was refused
    │   └── UpstreamTimeout     504
    ├── StoreUnavailable        503  the store of apps and keys does not answer
    └── InternalError           500  a bug of ours

    ConfigurationError          never a response: it stops the process at start

The bodies have OpenAI's shape, `{"error": {"message", "type", "param", "code"}}`, so that every SDK raises its own
typed exception for them (https://platform.openai.com/docs/guides/error-codes).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from core.http import Response


class ConfigurationError(Exception):
    """A setting is missing or wrong. The message names the setting and says what to write instead."""


class TrefoilError(Exception):
    """A refusal: `message` and `param` are shown to the client, so neither may hold a secret."""

    status: int = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or type(self).code
        self.headers: dict[str, str] = {}


class InvalidRequest(TrefoilError):
    status = 400
    type = "invalid_request_error"


class UnknownEndpoint(InvalidRequest):
    status = 404
    code = "unknown_url"


class NotFound(InvalidRequest):
    status = 404
    code = "not_found"


class MethodNotAllowed(InvalidRequest):
    status = 405
    code = "method_not_supported"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.headers["allow"] = allow


class Conflict(InvalidRequest):
    status = 409
    code = "idempotency_conflict"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.headers["retry-after"] = "1"


class StateConflict(InvalidRequest):
    status = 409
    code = "state_conflict"


class PreconditionFailed(InvalidRequest):
    status = 412
    code = "version_conflict"


class PreconditionRequired(InvalidRequest):
    status = 428
    code = "version_required"


class IdempotencyKeyReused(InvalidRequest):
    status = 422
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key came with another request before: use a new key for each request.")


class BodyTooLarge(InvalidRequest):
    status = 413
    code = "request_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request body is larger than this service takes: {limit_bytes:,} bytes at most.")


class UnsupportedBody(InvalidRequest):
    status = 415
    code = "unsupported_content"


class NotAuthenticated(TrefoilError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.headers["www-authenticate"] = "Bearer"


class NotAllowed(TrefoilError):
    status = 403
    type = "invalid_request_error"


class Limited(TrefoilError):
    """The SDKs raise their `RateLimitError`, and try again by themselves unless told not to."""

    status = 429

    def __init__(self, message: str, *, retry_after_seconds: int | None) -> None:
        """
        Args:
            retry_after_seconds: None where waiting does not help.
        """
        super().__init__(message)
        if retry_after_seconds is None:
            self.headers["x-should-retry"] = "false"
        else:
            self.headers["retry-after"] = str(retry_after_seconds)


class RequestsLimited(Limited):
    type = "requests"
    code = "rate_limit_exceeded"


class TokensLimited(Limited):
    type = "tokens"
    code = "rate_limit_exceeded"


class QuotaExceeded(Limited):
    type = "insufficient_quota"
    code = "insufficient_quota"

    def __init__(self, message: str, *, retry_after_seconds: int | None) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.headers["x-should-retry"] = "false"  # a budget comes back by the day or the month, not while one waits


class UpstreamError(TrefoilError):
    status = 502
    type = "upstream_error"
    code = "upstream_failed"
    may_cost: bool = False
    """Whether upstream may have worked for this, and want to be paid, although nothing usable came of it."""


class UpstreamAuthFailed(UpstreamError):
    code = "upstream_auth_failed"

    def __init__(
        self, message: str = "This service's own access to the model was refused: its operator can mend it."
    ) -> None:
        super().__init__(message)
        self.headers["x-should-retry"] = "false"  # the SDKs heed it: nothing but the operator can mend this


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


class StoreUnavailable(TrefoilError):
    status = 503
    code = "store_unavailable"

    def __init__(self) -> None:
        super().__init__("This service cannot reach its store right now. Please try again in a moment.")
        self.headers["retry-after"] = "1"


class InternalError(TrefoilError):
    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("Something went wrong in this service. It has been logged; please try again.")


def body(error: TrefoilError) -> bytes:
    """The error as OpenAI writes it, in UTF-8."""
    fields = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return json.dumps({"error": fields}, ensure_ascii=False).encode("utf-8", "replace")


def to_response(error: TrefoilError, request_id: str) -> Response:
    headers: Mapping[str, str] = {"content-type": "application/json", "x-request-id": request_id, **error.headers}
    return Response(error.status, headers, body(error))


def to_event(error: TrefoilError) -> bytes:
    """The error as one server-sent event, for a stream whose status has already gone out: the SDKs raise on it."""
    return b"data: " + body(error) + b"\n\n"
