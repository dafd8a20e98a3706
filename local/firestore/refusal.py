"""A refusal, by the name of its gRPC status (https://cloud.google.com/apis/design/errors#handling_errors)."""

from __future__ import annotations

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class Refusal(Exception):
    def __init__(self, status: str, message: str) -> None:
        """
        Raises:
            KeyError: there is no such status.
        """
        super().__init__(message)
        self.status = status
        self.message = message
        self.http_status = HTTP_STATUS[status]
