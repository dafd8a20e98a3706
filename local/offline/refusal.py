"""OpenAI's error bodies: those the offline upstream gives for a bad request, and those it is told to give."""

from __future__ import annotations

import json
from typing import Final

INVALID: Final = "invalid_request_error"


class Refusal(Exception):
    """A request that is answered with an error: the status and the four fields of OpenAI's error object."""

    def __init__(
        self, status: int, message: str, *, kind: str = INVALID, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, str | None] = {"message": message, "type": kind, "param": param, "code": code}

    def body(self) -> bytes:
        """The JSON document, indented like the service's own."""
        return json.dumps({"error": self.error}, ensure_ascii=False, indent=2).encode() + b"\n"

    def event(self) -> bytes:
        """The same on one line: what an event in a stream carries."""
        return json.dumps({"error": self.error}, ensure_ascii=False, separators=(",", ":")).encode()

    def named_event(self, number: int | None = None) -> bytes:
        """The same as the newer streams send it, in responses with a number.

        The service nests the error, though its documents have it flat: seen on the wire in
        https://github.com/openai/openai-dotnet/issues/881
        """
        numbered = {} if number is None else {"sequence_number": number}
        event = {"type": "error", "error": self.error, **numbered}
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


# status -> message, type, code: what the service answers with this status when nothing else is said.
_FAULTS: Final[dict[int, tuple[str, str, str | None]]] = {
    400: ("The request was refused as it was told to be.", INVALID, None),
    401: ("Incorrect API key provided: sk-off**********line.", INVALID, "invalid_api_key"),
    403: ("This project may not use this model.", INVALID, "model_access_denied"),
    404: ("The model does not exist or you do not have access to it.", INVALID, "model_not_found"),
    409: ("The resource was changed by another request.", INVALID, "conflict"),
    422: ("The request was well formed but cannot be followed.", INVALID, "unprocessable_entity"),
    429: ("Rate limit reached for requests. Please try again later.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request.", "server_error", None),
    502: ("Bad gateway.", "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "server_error", None),
}
_OTHER: Final = ("The request failed as it was told to.", INVALID, None)


def fault(status: int, code: str | None = None) -> Refusal:
    """The error that OpenAI sends with this status; `code` chooses another one than the usual."""
    message, kind, usual = _FAULTS.get(status, _FAULTS[500] if status >= 500 else _OTHER)
    if code == "insufficient_quota":
        message, kind = "You exceeded your current quota, please check your plan and billing details.", code
    return Refusal(status, message, kind=kind, code=code or usual)
