"""The function's secrets on AWS: one secret in Secrets Manager, read once while Lambda makes the sandbox.

It is a JSON object whose entries are environment variables, such as `{"OPENAI_API_KEY": "sk-...", "TREFOIL_ADMIN_KEY":
"..."}`. So they stand neither in the function's configuration, which whoever may look at it can read, nor on a disk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from aws_service import Api, AwsError, AwsService
from core.errors import ConfigurationError

VARIABLE = "TREFOIL_SECRET"
"""The environment variable that holds the secret's ARN."""

_SECRETS_MANAGER = Api(
    service="secretsmanager",
    target="secretsmanager",
    version="1.1",
    endpoint_variable="AWS_ENDPOINT_URL_SECRETS_MANAGER",
)
_CONNECT_TIMEOUT_SECONDS = 1.0
_READ_TIMEOUT_SECONDS = 2.0
"""Lambda gives the making of a sandbox 10 seconds: three attempts and the pauses between fit in."""


def with_secrets(environ: Mapping[str, str]) -> Mapping[str, str]:
    """`environ` and the entries of the secret that it names in `TREFOIL_SECRET`; without that, `environ` as it is.

    A variable that is set in `environ` too keeps the value it has there. A secret that changes is seen by the sandboxes
    that are made after it.

    Raises:
        ConfigurationError: the secret cannot be read, or is not of that form. It quotes nothing of it.
    """
    secret = environ.get(VARIABLE)
    if not secret:
        return environ
    # In an event loop of its own, which is gone before the runtime's begins.
    return {**_entries(asyncio.run(_read(secret, environ))), **environ}


async def _read(secret: str, environ: Mapping[str, str]) -> object:
    timeouts = {"connect_seconds": _CONNECT_TIMEOUT_SECONDS, "silence_seconds": _READ_TIMEOUT_SECONDS}
    service = AwsService(_SECRETS_MANAGER, _region(secret), environ, **timeouts)
    try:
        return (await service.call("GetSecretValue", {"SecretId": secret})).get("SecretString")
    except AwsError as error:
        raise ConfigurationError(f"{VARIABLE}: the secret {secret} cannot be read: {error}") from None
    finally:
        await service.close()


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
