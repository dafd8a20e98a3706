"""Which store the function keeps its apps and keys in, as TREFOIL_STORE says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from core.errors import ConfigurationError
from core.ports import Store

_WAYS = "write dynamodb:TABLE, or sqlite:PATH for the embedded store"
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html"""


def open_store(setting: str, environ: Mapping[str, str]) -> Store:
    """The store of `setting`, which is `SCHEME:PLACE`.

    Nothing is connected. The credentials are the function's own, and AWS_ENDPOINT_URL_DYNAMODB names an emulator, both
    in `environ`.

    Raises:
        ConfigurationError: there is no such store on AWS, or its place is not what it has to be.
    """
    scheme, _, place = setting.partition(":")
    if scheme == "dynamodb":
        return _dynamodb(place, environ)
    if scheme == "sqlite":
        from core.sqlite_store import SqliteStore  # noqa: PLC0415 - not loaded by a function that has another store

        return SqliteStore(place)
    raise ConfigurationError(f"TREFOIL_STORE: AWS has no store '{scheme}': {_WAYS}.")


def _dynamodb(table: str, environ: Mapping[str, str]) -> Store:
    if not _TABLE.fullmatch(table):
        raise ConfigurationError(f"TREFOIL_STORE: '{table}' cannot be the name of a DynamoDB table: {_WAYS}.")
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise ConfigurationError("AWS_REGION is not set: give it the region of the DynamoDB table in TREFOIL_STORE.")
    from dynamodb_store import DynamodbStore  # noqa: PLC0415 - not loaded by a function that has another store

    return DynamodbStore(table, region, environ)
