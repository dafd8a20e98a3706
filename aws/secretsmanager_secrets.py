"""The function's secrets on AWS: one secret in Secrets Manager, read once while Lambda makes the sandbox.

It is a JSON object whose entries are environment variables, such as `{"OPENAI_API_KEY": "sk-...", "TREFOIL_ADMIN_KEY":
"..."}`. So they stand neither in the function's configuration, which whoever may look at it can read, nor on a disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol, cast

from core.errors import ConfigurationError

VARIABLE = "TREFOIL_SECRET"
"""The environment variable that holds the secret's ARN."""

_CONNECT_TIMEOUT_SECONDS = 1.0
_READ_TIMEOUT_SECONDS = 2.0
_ATTEMPTS = 3
"""Lambda gives the making of a sandbox 10 seconds: all of them and the pauses between fit in."""


class _Client(Protocol):
    """The part of boto3's client that is used here."""

    def get_secret_value(self, *, SecretId: str) -> Mapping[str, object]: ...
    def close(self) -> None: ...


def with_secrets(environ: Mapping[str, str]) -> Mapping[str, str]:
    """`environ` and the entries of the secret that it names in `TREFOIL_SECRET`; without that, `environ` as it is.

    A variable that is set in `environ` too keeps the value it has there. A secret that changes is seen by the sandboxes
    that are made after it.

    Raises:
        ConfigurationError: the secret cannot be read, or is not of that form. It quotes nothing of it.
    """
    secret = environ.get(VARIABLE)
    return {**_entries(_read(secret)), **environ} if secret else environ


def _read(secret: str) -> object:
    import boto3  # type: ignore[import-untyped] # noqa: PLC0415 (it takes 100 ms, for nothing where no secret is named)
    from botocore.config import Config  # type: ignore[import-untyped] # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped] # noqa: PLC0415

    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        read_timeout=_READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    try:
        client = cast("_Client", boto3.Session(region_name=_region(secret)).client("secretsmanager", config=config))
        try:
            return client.get_secret_value(SecretId=secret).get("SecretString")
        finally:
            client.close()
    except (BotoCoreError, ClientError) as error:
        # The first line only, and no cause: below it AWS may quote the request's headers, the session token among them.
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"{VARIABLE}: the secret {secret} cannot be read: {reason}") from None


def _region(secret: str) -> str:
    """The region in an ARN, `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME`."""
    match secret.split(":", 6):
        case ["arn", _, "secretsmanager", region, _, "secret", _] if region:
            return region
    raise ConfigurationError(f"{VARIABLE}: write the ARN of a secret in AWS Secrets Manager.")


def _entries(text: object) -> Mapping[str, str]:
    try:
        entries = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        entries = None
    if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
        raise ConfigurationError(
            f'{VARIABLE}: the secret must be a JSON object of texts, such as {{"OPENAI_API_KEY": "..."}}.'
        )
    return entries
