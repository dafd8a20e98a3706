"""How a request to Cosmos DB proves who sends it
(https://learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol
from urllib.parse import quote, urlsplit

from core import cloud_identity, errors
from core.ports import StoreError


class Credential(Protocol):
    async def authorization(self, verb: str, link: str, date: str) -> str:
        """The `authorization` header of a request for the items at `link`, dated `date` (RFC 1123).

        Raises:
            StoreError: there is none to be had.
        """
        ...


class MasterKey:
    """The account's key, which may do everything. For the emulator; an account can be told to take none."""

    def __init__(self, key: str) -> None:
        """
        Args:
            key: in base64, as the portal shows it.

        Raises:
            ValueError: it is no base64.
        """
        self._key = base64.b64decode(key, validate=True)

    async def authorization(self, verb: str, link: str, date: str) -> str:
        text = f"{verb.lower()}\ndocs\n{link}\n{date.lower()}\n\n"
        signature = base64.b64encode(hmac.digest(self._key, text.encode(), "sha256")).decode()
        return quote(f"type=master&ver=1.0&sig={signature}", safe="")


class ManagedIdentity:
    """A token that the platform gives to the function app, which may do what its role in the account allows."""

    def __init__(self, token: Callable[[], Awaitable[str]]) -> None:
        self._token = token

    @classmethod
    def of_function_app(
        cls, identity_endpoint: str, identity_header: str, *, account: str, client_id: str | None = None
    ) -> ManagedIdentity:
        """
        Args:
            identity_endpoint: what Azure puts into IDENTITY_ENDPOINT.
            identity_header: what Azure puts into IDENTITY_HEADER.
            account: the endpoint of the Cosmos DB account.
            client_id: names a user-assigned identity; None for the app's own.
        """
        resource = (
            f"https://{urlsplit(account).hostname}"  # right in every Azure cloud, unlike https://cosmos.azure.com
        )
        fetch = partial(
            cloud_identity.azure_token, identity_endpoint, identity_header, resource=resource, client_id=client_id
        )
        return cls(cloud_identity.cached(fetch))

    async def authorization(self, verb: str, link: str, date: str) -> str:
        try:
            return f"type=aad&ver=1.0&sig={await self._token()}"
        except errors.UpstreamAuthFailed as error:
            raise StoreError("Cosmos DB cannot be used: the platform gave no token of its managed identity") from error
