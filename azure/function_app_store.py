"""Which store the function app keeps its apps and keys in, as TREFOIL_STORE says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.errors import ConfigurationError
from core.ports import Store

if TYPE_CHECKING:
    from cosmos_credential import Credential

_WAYS = "write cosmos:https://ACCOUNT.documents.azure.com/DATABASE/CONTAINER, or sqlite:PATH for the embedded store"
_PLACE = re.compile(r"(https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?)/([^/\\?#\s]+)/([^/\\?#\s]+)/?")


def open_store(setting: str, environ: Mapping[str, str]) -> Store:
    """The store of `setting`, which is `SCHEME:PLACE`.

    It opens nothing, and then stays with the event loop that uses it first.

    Raises:
        ConfigurationError: there is no such store on Azure, or its place is not what it has to be, or there is nothing
            to open it with.
    """
    scheme, _, place = setting.partition(":")
    if scheme == "cosmos":
        return _cosmos(place, environ)
    if scheme == "sqlite":
        from core.sqlite_store import SqliteStore  # noqa: PLC0415 - not loaded by an app that has another store

        return SqliteStore(place)
    raise ConfigurationError(f"TREFOIL_STORE: Azure has no store '{scheme}': {_WAYS}.")


def _cosmos(place: str, environ: Mapping[str, str]) -> Store:
    misplaced = ConfigurationError(f"TREFOIL_STORE: '{place}' names no container of Cosmos DB: {_WAYS}.")
    found = _PLACE.fullmatch(place)
    if not found:
        raise misplaced
    endpoint, database, container = found.groups()
    from cosmos_store import CosmosStore  # noqa: PLC0415 - not loaded by an app that has another store

    credential = _credential(endpoint, environ)
    try:
        return CosmosStore(endpoint, database, container, credential)
    except ValueError:  # there is no such port
        raise misplaced from None


def _credential(endpoint: str, environ: Mapping[str, str]) -> Credential:
    from cosmos_credential import ManagedIdentity, MasterKey  # noqa: PLC0415 - as above

    if key := environ.get("TREFOIL_COSMOS_KEY"):
        try:
            return MasterKey(key)
        except ValueError:
            raise ConfigurationError("TREFOIL_COSMOS_KEY: it is no base64: write the account's key as it is.") from None
    if endpoint.startswith("http:"):
        raise ConfigurationError(
            "TREFOIL_STORE: a managed identity's token must not travel in the open: write https:// for an account, "
            "or set TREFOIL_COSMOS_KEY for an emulator."
        )
    identity_endpoint, identity_header = environ.get("IDENTITY_ENDPOINT"), environ.get("IDENTITY_HEADER")
    if not identity_endpoint or not identity_header:
        raise ConfigurationError(
            "TREFOIL_STORE: this process has no managed identity to open Cosmos DB with (Azure would set "
            "IDENTITY_ENDPOINT): switch one on for the function app, or set TREFOIL_COSMOS_KEY."
        )
    return ManagedIdentity.of_function_app(
        identity_endpoint, identity_header, account=endpoint, client_id=environ.get("AZURE_CLIENT_ID") or None
    )
