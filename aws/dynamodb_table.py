"""A DynamoDB table as its low-level API has it: tried again within bounds, and failing as the store may fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from aws_service import Api, AwsError, AwsService
from core.ports import StoreError
from dynamodb_item import Item

_DYNAMODB = Api(
    service="dynamodb",
    target="DynamoDB_20120810",
    version="1.0",
    endpoint_variable="AWS_ENDPOINT_URL_DYNAMODB",
)
_CONNECT_TIMEOUT_SECONDS = 2.0
_READ_TIMEOUT_SECONDS = 3.0


class Refused(Exception):
    """The condition of a write did not hold, and nothing was written."""

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item
        """What the write met; empty where there was no item."""


class DynamodbTable:
    """The table named `name`. It belongs to the event loop that uses it first.

    Where DynamoDB is busy or does not answer, a call is tried again after a random pause, three times in all. Every
    method takes the parameters of the API operation of its name, and may raise `StoreError`: at once where nothing
    listens, after some 10 seconds where nobody answers.

    Args:
        environ: the credentials and the endpoint, as for `AwsService`.

    Raises:
        ConfigurationError: one of them cannot be right, or `region`.
    """

    def __init__(self, name: str, region: str, environ: Mapping[str, str]) -> None:
        self._name = name
        timeouts = {"connect_seconds": _CONNECT_TIMEOUT_SECONDS, "silence_seconds": _READ_TIMEOUT_SECONDS}
        self._service = AwsService(_DYNAMODB, region, environ, **timeouts)

    async def get(self, **request: object) -> Mapping[str, Any]:
        return await self._call("GetItem", request)

    async def query(self, **request: object) -> Mapping[str, Any]:
        return await self._call("Query", request)

    async def delete(self, **request: object) -> Mapping[str, Any]:
        return await self._call("DeleteItem", request)

    async def put(self, *, once: bool = False, **request: object) -> None:
        """
        Args:
            once: do not try again where nothing could tell whether the first try was successful and its answer lost.

        Raises:
            Refused: the request's condition does not hold.
        """
        await self._call("PutItem", request, once=once)

    async def update(self, *, once: bool = False, **request: object) -> Item:
        """The item as it is now. The rest is as with `put`."""
        answer = await self._call("UpdateItem", {**request, "ReturnValues": "ALL_NEW"}, once=once)
        return cast("Item", answer["Attributes"])

    async def close(self) -> None:
        await self._service.close()

    async def _call(self, operation: str, request: Mapping[str, object], *, once: bool = False) -> Mapping[str, Any]:
        if "ConditionExpression" in request:
            request = {**request, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        try:
            return await self._service.call(operation, {"TableName": self._name, **request}, once=once)
        except AwsError as error:
            if error.code == "ConditionalCheckFailedException":
                raise Refused(error.answer.get("Item", {})) from None
            raise StoreError(f"DynamoDB table {self._name}: {operation}: {error}") from None
