"""What a function asks Google's metadata server for
(https://cloud.google.com/compute/docs/metadata/querying-metadata).
"""

from __future__ import annotations

from collections.abc import Mapping

SERVICE_ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default"


class MetadataServer:
    """Gives an access token, another one each time, and knows those that it gave."""

    def __init__(self, lifetime_seconds: int = 3599) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._given = 0

    def answer(self, headers: Mapping[str, str]) -> tuple[int, dict[str, object]]:
        """Status and body of the request for a token, whose header names are in lower case."""
        if headers.get("metadata-flavor") != "Google":
            return 403, {"error": "Missing Metadata-Flavor:Google header."}
        self._given += 1
        token = {"access_token": f"emulated-{self._given}", "expires_in": self._lifetime_seconds}
        return 200, {**token, "token_type": "Bearer"}

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Whether a request's bearer token is one that was given."""
        token = headers.get("authorization", "").removeprefix("Bearer emulated-")
        return token.isdecimal() and 0 < int(token) <= self._given
