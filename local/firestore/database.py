"""The documents, and what each method of the service does to them.

Transactions are optimistic: one that read what has changed since is aborted when it commits. Nothing here awaits, so
that every method is done at once and alone.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from local.firestore import names, queries, values, writes
from local.firestore.messages import (
    BatchGetDocumentsResponse,
    BeginTransactionResponse,
    CommitResponse,
    Document,
    Empty,
    Message,
    RunQueryResponse,
    Timestamp,
    WriteResult,
)
from local.firestore.refusal import Refusal


@dataclass(slots=True)
class _Transaction:
    read_only: bool
    seen: dict[str, Message | None] = field(default_factory=dict)
    """The documents that it read."""


class Database:
    """All databases of all projects: a document's name says where it belongs."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._latest_microseconds = 0
        self._documents: dict[str, Message] = {}
        self._transactions: dict[bytes, _Transaction] = {}

    def get_document(self, request: Message) -> Iterator[Message]:
        names.check_document(request.name, names.database_of(request.name))
        document = self._read(request.name, request.transaction)
        if document is None:
            raise Refusal("NOT_FOUND", f'Document "{request.name}" not found.')
        yield document

    def batch_get_documents(self, request: Message) -> Iterator[Message]:
        transaction = request.transaction
        if request.HasField("new_transaction"):
            transaction = self._begin(request.new_transaction)
        for name in request.documents:
            names.check_document(name, request.database)
        for place, name in enumerate(request.documents):
            answer = BatchGetDocumentsResponse(read_time=self._tick())
            if place == 0 and request.HasField("new_transaction"):
                answer.transaction = transaction
            document = self._read(name, transaction)
            if document is None:
                answer.missing = name
            else:
                answer.found.CopyFrom(document)
            yield answer

    def begin_transaction(self, request: Message) -> Iterator[Message]:
        yield BeginTransactionResponse(transaction=self._begin(request.options))

    def rollback(self, request: Message) -> Iterator[Message]:
        self._transactions.pop(request.transaction, None)
        yield Empty()

    def commit(self, request: Message) -> Iterator[Message]:
        """All writes, or a refusal and none."""
        if request.transaction:
            self._end(request.transaction, has_writes=bool(request.writes))
        moment, staged, results = self._tick(), dict[str, Message | None](), []
        for write in request.writes:
            name = writes.name_of(write)
            names.check_document(name, request.database)
            before = staged.get(name, self._documents.get(name))
            writes.check_precondition(write, before)
            after, transformed = writes.apply(write, before, moment)
            staged[name] = after
            results.append(WriteResult(update_time=after and after.update_time, transform_results=transformed))
        self._publish(staged)
        yield CommitResponse(write_results=results, commit_time=moment)

    def run_query(self, request: Message) -> Iterator[Message]:
        names.segments(request.parent, names.database_of(request.parent))
        moment = self._tick()
        found = queries.run(request.structured_query, request.parent, self._documents.values())
        for document in found:
            self._read(document.name, request.transaction)
            yield RunQueryResponse(document=document, read_time=moment)
        if not found:
            yield RunQueryResponse(read_time=moment)

    def sweep(self, field_name: str, unix_time: float) -> int:
        """Delete the documents that a TTL policy on this field says are over; how many there were."""
        over = [
            name
            for name, document in self._documents.items()
            if (value := values.find(document.fields, [field_name])) is not None
            and value.HasField("timestamp_value")
            and value.timestamp_value.seconds <= unix_time
        ]
        for name in over:
            del self._documents[name]
        return len(over)

    def clear(self) -> None:
        self._documents.clear()
        self._transactions.clear()

    def _begin(self, options: Message) -> bytes:
        transaction = secrets.token_bytes(12)
        self._transactions[transaction] = _Transaction(options.HasField("read_only"))
        return transaction

    def _read(self, name: str, transaction: bytes) -> Message | None:
        document = self._documents.get(name)
        if transaction:
            self._find(transaction).seen.setdefault(name, document)
        return document

    def _end(self, name: bytes, *, has_writes: bool) -> None:
        transaction = self._find(name)
        del self._transactions[name]
        if transaction.read_only and has_writes:
            raise Refusal("INVALID_ARGUMENT", "Cannot modify entities in a read-only transaction.")
        # A document that was written again is another object.
        if any(self._documents.get(name) is not document for name, document in transaction.seen.items()):
            raise Refusal("ABORTED", "Too much contention on these documents. Please try again.")

    def _find(self, transaction: bytes) -> _Transaction:
        if transaction not in self._transactions:
            raise Refusal("INVALID_ARGUMENT", "The referenced transaction has expired or is no longer valid.")
        return self._transactions[transaction]

    def _publish(self, staged: dict[str, Message | None]) -> None:
        for name, document in staged.items():
            if document is None:
                self._documents.pop(name, None)
            elif document != self._documents.get(name, Document()):
                self._documents[name] = document

    def _tick(self) -> Message:
        """Now, and later than at the last call: no two commits have one time."""
        self._latest_microseconds = max(self._latest_microseconds + 1, int(self._clock() * 1_000_000))
        moment = Timestamp()
        moment.FromMicroseconds(self._latest_microseconds)
        return moment
