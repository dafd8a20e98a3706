"""The methods of google.firestore.v1.Firestore that the emulator knows, and what a test has it do about them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from local.firestore.database import Database
from local.firestore.messages import (
    BatchGetDocumentsRequest,
    BatchGetDocumentsResponse,
    BeginTransactionRequest,
    BeginTransactionResponse,
    CommitRequest,
    CommitResponse,
    Document,
    Empty,
    GetDocumentRequest,
    Message,
    RollbackRequest,
    RunQueryRequest,
    RunQueryResponse,
)
from local.firestore.refusal import Refusal

NAME = "google.firestore.v1.Firestore"


class Method(NamedTuple):
    run: Callable[[Database, Message], Iterator[Message]]
    request: Message
    """A class."""
    response: Message
    """A class."""
    streams: bool = False


METHODS: Mapping[str, Method] = {
    "GetDocument": Method(Database.get_document, GetDocumentRequest, Document),
    "BatchGetDocuments": Method(
        Database.batch_get_documents, BatchGetDocumentsRequest, BatchGetDocumentsResponse, streams=True
    ),
    "BeginTransaction": Method(Database.begin_transaction, BeginTransactionRequest, BeginTransactionResponse),
    "Commit": Method(Database.commit, CommitRequest, CommitResponse),
    "Rollback": Method(Database.rollback, RollbackRequest, Empty),
    "RunQuery": Method(Database.run_query, RunQueryRequest, RunQueryResponse, streams=True),
}


@dataclass(slots=True)
class Failure:
    """What to answer instead, so many times."""

    method: str
    status: str
    times: int = 1
    after: bool = False
    """Whether the method is carried out nevertheless: its answer is lost."""

    def __post_init__(self) -> None:
        Refusal(self.status, "")  # there must be such a status
        if self.method not in METHODS or self.times < 1:
            raise ValueError("there is no such failure")


class Service:
    def __init__(self, latency_seconds: float = 0.0) -> None:
        """
        Args:
            latency_seconds: between a method's effect and its answer.
        """
        self.database = Database()
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self.failures: list[Failure] = []
        self._latency_seconds = latency_seconds

    async def call(self, name: str, request: Message) -> list[Message]:
        """
        Raises:
            Refusal: what is answered instead.
        """
        self.calls[name] += 1
        failure = self._next_failure(name)
        try:
            if failure is None or failure.after:
                answers = list(METHODS[name].run(self.database, request))
        finally:
            await asyncio.sleep(self._latency_seconds)
        if failure is not None:
            raise Refusal(failure.status, "The emulator was told to fail.")
        return answers

    def _next_failure(self, method: str) -> Failure | None:
        failure = next((failure for failure in self.failures if failure.method == method), None)
        if failure is not None:
            failure.times -= 1
            self.failures = [failure for failure in self.failures if failure.times]
        return failure
