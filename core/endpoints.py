"""What this service answers: the table a reader looks at first, and the search in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from core import errors, schemas


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row: a method and a path, and what the gateway has to know about them.

    A path segment in braces stands for one that the client fills in.
    """

    name: str
    method: str
    path: str
    body: type[schemas.Call] | None = None
    """What the request's JSON body must be; None where the endpoint takes no body."""
    last_event: re.Pattern[bytes] | None = None
    """Found in the last event of a complete stream: a stream that ends without it was cut."""
    public: bool = False
    """Answered without an app key, and without upstream."""


HEALTH = Endpoint("health", "GET", "/healthz", public=True)

ENDPOINTS = (
    HEALTH,
    Endpoint(
        "chat.completions.create",
        "POST",
        "/v1/chat/completions",
        body=schemas.ChatCompletion,
        # Or upstream's own word that it failed.
        last_event=re.compile(rb"(?:^|[\r\n])data: ?(?:\[DONE\]|\{\"error\")"),
    ),
    Endpoint("models.list", "GET", "/v1/models"),
    Endpoint("models.retrieve", "GET", "/v1/models/{model}"),
)


def find(method: str, path: str, table: tuple[Endpoint, ...] = ENDPOINTS) -> Endpoint:
    """The row for a request.

    Raises:
        UnknownEndpoint: no row has this path.
        MethodNotAllowed: rows have this path, but not with this method; the error lists theirs.
    """
    rows = [row for row in table if _matches(row.path, path)]
    if not rows:
        raise errors.UnknownEndpoint(f"Unknown URL: {method} {path}. {_advice(path, table)}")
    for row in rows:
        if row.method == method:
            return row
    allow = ", ".join(sorted({row.method for row in rows}))
    raise errors.MethodNotAllowed(f"{method} is not supported on {path}, only {allow}.", allow=allow)


def _matches(pattern: str, path: str) -> bool:
    if "{" not in pattern:
        return pattern == path
    wanted, given = pattern.split("/"), path.split("/")
    return len(wanted) == len(given) and all(
        _is_plain(have) if want.startswith("{") else want == have for want, have in zip(wanted, given, strict=True)
    )


def _is_plain(segment: str) -> bool:
    """Whether a client's segment stays one when upstream decodes it: never empty, never a way up the tree."""
    return segment != "" and not {".", ".."} & set(unquote(segment).split("/"))


def _advice(path: str, table: tuple[Endpoint, ...]) -> str:
    if any(_matches(row.path, f"/v1{path}") for row in table):
        return f"Did you mean /v1{path}? An OpenAI client's base URL here ends in /v1."
    return "The endpoints offered are listed in this service's README."
