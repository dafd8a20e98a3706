"""The seam: the two plain values that every adapter translates to and from, and nothing else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


def new_request_id() -> str:
    """`req_` and 32 hexadecimal digits, as OpenAI writes its own."""
    return f"req_{os.urandom(16).hex()}"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, read to its end."""

    method: str
    """Upper-case."""
    path: str
    """As the client sent it: percent-encoded, without the query."""
    query: str = ""
    """As the client sent it, without the question mark."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; repeated headers joined by a comma."""
    body: bytes = b""
    deadline: float | None = None
    """When the platform ends this request, on the clock of `time.monotonic`; None where it never does."""
    first_byte_deadline: float | None = None
    """When the platform ends this request unless its answer has begun; None where that makes no difference."""
    client: str | None = None
    """The client's address as the platform reports it."""
    id: str = field(default_factory=new_request_id)


class Stream(Protocol):
    """A body that is still being produced. Whoever holds one must iterate it to its end or call `aclose`."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response. The body is finished bytes, or a stream of them; an adapter never looks inside."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names. No `content-length` and no hop-by-hop header: the adapter's server writes those."""
    body: bytes | Stream = b""
