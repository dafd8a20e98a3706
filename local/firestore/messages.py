"""Google's own message classes (https://github.com/googleapis/googleapis/tree/master/google/firestore/v1)."""

from __future__ import annotations

from typing import Any, TypeAlias

from google.cloud.firestore_v1 import types
from google.protobuf import empty_pb2, timestamp_pb2

Message: TypeAlias = Any
"""An instance of one of these classes, which are made at run time."""

# Without the wrappers around them, which make every access ten times as slow.
Document: Message = types.Document.pb()
Value: Message = types.Value.pb()
WriteResult: Message = types.WriteResult.pb()
GetDocumentRequest: Message = types.GetDocumentRequest.pb()
BatchGetDocumentsRequest: Message = types.BatchGetDocumentsRequest.pb()
BatchGetDocumentsResponse: Message = types.BatchGetDocumentsResponse.pb()
BeginTransactionRequest: Message = types.BeginTransactionRequest.pb()
BeginTransactionResponse: Message = types.BeginTransactionResponse.pb()
CommitRequest: Message = types.CommitRequest.pb()
CommitResponse: Message = types.CommitResponse.pb()
RollbackRequest: Message = types.RollbackRequest.pb()
RunQueryRequest: Message = types.RunQueryRequest.pb()
RunQueryResponse: Message = types.RunQueryResponse.pb()
Timestamp: Message = timestamp_pb2.Timestamp
Empty: Message = empty_pb2.Empty
