"""A DynamoDB table as boto3 reaches it: tried again within bounds, and failing as the store may fail."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol, cast

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from core.ports import StoreError
from dynamodb_item import Item

_CONNECT_TIMEOUT_SECONDS = 2.0
_READ_TIMEOUT_SECONDS = 3.0
_ATTEMPTS = 3
_CONNECTIONS = 32  # as many as asyncio has worker threads at most


class Refused(Exception):
    """The condition of a write did not hold, and nothing was written."""

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item
        """What the write met; empty where there was no item."""


class _Client(Protocol):
    """The part of boto3's client that is used here. Each takes the parameters of the API operation of its name."""

    def get_item(self, **request: object) -> Mapping[str, Any]: ...
    def put_item(self, **request: object) -> Mapping[str, Any]: ...
    def update_item(self, **request: object) -> Mapping[str, Any]: ...
    def delete_item(self, **request: object) -> Mapping[str, Any]: ...
    def query(self, **request: object) -> Mapping[str, Any]: ...
    def close(self) -> None: ...


class DynamodbTable:
    """The table named `name`. Its clients are made when first used; any number of threads may call it.

    Where DynamoDB is busy or does not answer, a call is tried again after a random pause, three times in all. Every
    method may raise `StoreError`: at once where nothing listens, after some 10 seconds where nobody answers.

    Args:
        endpoint_url: where DynamoDB answers; None for the region's own endpoint.
        region: None for that of the environment (AWS_DEFAULT_REGION). The credentials are always the environment's.
    """

    def __init__(self, name: str, *, endpoint_url: str | None = None, region: str | None = None) -> None:
        self._name = name
        self._endpoint_url = endpoint_url
        self._region = region
        self._lock = threading.Lock()
        self._clients: dict[int, _Client] = {}

    def get(self, **request: object) -> Mapping[str, Any]:
        return self._call("get_item", request)

    def query(self, **request: object) -> Mapping[str, Any]:
        return self._call("query", request)

    def delete(self, **request: object) -> Mapping[str, Any]:
        return self._call("delete_item", request)

    def put(self, *, once: bool = False, **request: object) -> None:
        """
        Args:
            once: do not try again: nothing could tell whether the first try was successful and its answer lost.

        Raises:
            Refused: the request's condition does not hold.
        """
        self._call("put_item", request, once=once)

    def update(self, *, once: bool = False, **request: object) -> Item:
        """The item as it is now. The rest is as with `put`."""
        answer = self._call("update_item", {**request, "ReturnValues": "ALL_NEW"}, once=once)
        return cast("Item", answer["Attributes"])

    def prepare(self) -> None:
        """Make the client that most calls use, without connecting it."""
        try:
            self._client(_ATTEMPTS)
        except (BotoCoreError, ValueError) as error:
            raise self._failure("prepare", error) from None

    def close(self) -> None:
        with self._lock:
            while self._clients:
                self._clients.popitem()[1].close()

    def _call(self, operation: str, request: Mapping[str, object], *, once: bool = False) -> Mapping[str, Any]:
        if "ConditionExpression" in request:
            request = {**request, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        try:
            call = getattr(self._client(1 if once else _ATTEMPTS), operation)
            return cast("Mapping[str, Any]", call(TableName=self._name, **request))
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise Refused(error.response.get("Item", {})) from None
            raise self._failure(operation, error) from None
        except (BotoCoreError, ValueError) as error:  # the latter where the endpoint is no URL
            raise self._failure(operation, error) from None

    def _failure(self, operation: str, error: Exception) -> StoreError:
        # The first line only, and no cause: below it AWS may quote the request's headers, the session token among them.
        reason = str(error).partition("\n")[0]
        return StoreError(f"DynamoDB table {self._name}: {operation}: {reason}")

    def _client(self, attempts: int) -> _Client:
        """The client that tries each call so many times."""
        with self._lock:
            if attempts not in self._clients:
                self._clients[attempts] = self._connect(attempts)
            return self._clients[attempts]

    def _connect(self, attempts: int) -> _Client:
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_SECONDS,
            read_timeout=_READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=_CONNECTIONS,
            tcp_keepalive=True,
        )
        # A session of its own: boto3's common one must not be used by several threads while a client is made.
        session = boto3.Session(region_name=self._region)
        return cast("_Client", session.client("dynamodb", endpoint_url=self._endpoint_url, config=config))
