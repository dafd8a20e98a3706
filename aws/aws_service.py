"""Calls of AWS's services that speak JSON: signed, and sent again for as long as that may help."""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aws_credentials
from aws_credentials import Credentials, NoCredentials
from aws_endpoint import endpoint
from aws_signature import sign
from core import json_text
from core.http_connection import ConnectFailed, HttpError, Silence
from core.store_client import NoTurn, StoreClient, WholeAnswer

_CALLS_AT_ONCE = 64
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.025
_THROTTLED_PAUSE_SECONDS = 1.0
"""The longest pause before the second attempt; before the third it is twice that. As in botocore."""

_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)
_CONFLICT = "ReplicatedWriteConflictException"
"""Of a table that is written in several regions. As with those that are throttled, nothing was done."""


class Api(NamedTuple):
    """One service's dialect of AWS's JSON protocol
    (https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html).
    """

    service: str
    """As hosts and signatures call it."""
    target: str
    """What `x-amz-target` has before the operation's name."""
    version: str
    """Of the protocol."""
    endpoint_variable: str
    """Names another endpoint than the region's own; the same as for AWS's SDKs."""


class AwsError(Exception):
    """A call that failed. Of what the service says, the text has the first line only: in those below it AWS may quote
    the request's headers, the session token among them.
    """

    def __init__(
        self,
        reason: str,
        *,
        code: str = "",
        answer: Mapping[str, Any] | None = None,
        is_done: bool | None = False,
        pause_seconds: float | None = None,
    ) -> None:
        """
        Args:
            code: the service's, such as `ResourceNotFoundException`.
            answer: all that the service says.
            is_done: None where nobody knows.
            pause_seconds: the longest pause before another attempt; None where none would help.
        """
        super().__init__(reason)
        self.code = code
        self.answer = answer or {}
        self.is_done = is_done
        self.pause_seconds = pause_seconds


class AwsService:
    """One service in one region, or where the environment says that it is. It belongs to the event loop that uses it
    first.

    It goes straight there: HTTPS_PROXY, which AWS's SDKs heed, it does not. A function in a VPC reaches the services by
    the VPC's endpoints, or a NAT gateway.
    """

    def __init__(
        self, api: Api, region: str, environ: Mapping[str, str], *, connect_seconds: float, silence_seconds: float
    ) -> None:
        """
        Args:
            environ: the credentials, as `aws_credentials` finds them, and the endpoint, as `aws_endpoint` does.
            connect_seconds, silence_seconds: as for `StoreClient`.

        Raises:
            ConfigurationError: the region, the endpoint or the credentials cannot be right.
        """
        self._api = api
        self._region = region
        self._credentials = aws_credentials.source(environ)
        url = endpoint(api.service, api.endpoint_variable, region, environ)
        parts = urlsplit(url)
        self._host = parts.netloc.rpartition("@")[2]
        self._path = f"{parts.path.rstrip('/')}/"
        self._url = f"{parts.scheme}://{self._host}"
        self._client = StoreClient(
            url, at_once=_CALLS_AT_ONCE, connect_seconds=connect_seconds, silence_seconds=silence_seconds
        )

    async def call(self, operation: str, request: Mapping[str, object], *, once: bool = False) -> Mapping[str, Any]:
        """The answer to an operation of the API.

        Where the service is busy, fails or does not answer, it is called again after a random pause, three times in
        all.

        Args:
            once: not where nobody knows whether it was done already.

        Raises:
            AwsError: there is none, or it is a refusal.
        """
        body = json_text.write(request)
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(operation, body)
            except AwsError as error:
                longest = error.pause_seconds
                if longest is None or attempt == _ATTEMPTS or (once and error.is_done is None):
                    raise
            await asyncio.sleep(random.random() * longest * attempt)  # noqa: S311

    async def close(self) -> None:
        await self._client.close()

    async def _attempt(self, operation: str, body: bytes) -> Mapping[str, Any]:
        answer = await self._send(operation, body)
        if answer.status != 200:
            raise _refusal(answer)
        if "x-amz-crc32" in answer.headers and answer.headers["x-amz-crc32"] != str(zlib.crc32(answer.body)):
            raise AwsError("the answer's checksum is wrong", is_done=None, pause_seconds=_PAUSE_SECONDS)
        said = _object(answer.body)
        if said is None:
            raise AwsError("the answer is not JSON", is_done=None)
        return said

    async def _send(self, operation: str, body: bytes) -> WholeAnswer:
        try:
            headers = self._headers(operation, body, await self._credentials())
            return await self._client.send("POST", "/", headers, body)
        except NoCredentials as error:
            raise AwsError(str(error)) from None
        except NoTurn:
            raise AwsError("too many other calls were under way") from None
        except ConnectFailed:
            raise AwsError(f"{self._url} cannot be reached", pause_seconds=_PAUSE_SECONDS) from None
        except Silence:
            raise AwsError(f"{self._url} did not answer in time", is_done=None, pause_seconds=_PAUSE_SECONDS) from None
        except HttpError:
            raise AwsError(f"{self._url} hung up", is_done=None, pause_seconds=_PAUSE_SECONDS) from None
        except ValueError:
            raise AwsError("the credentials have characters that no header may have") from None

    def _headers(self, operation: str, body: bytes, credentials: Credentials) -> dict[str, str]:
        headers = {
            "content-type": f"application/x-amz-json-{self._api.version}",
            "x-amz-target": f"{self._api.target}.{operation}",
        }
        where = {"host": self._host, "path": self._path, "region": self._region, "service": self._api.service}
        return sign(headers, body, credentials, **where, at=time.time())


def _refusal(answer: WholeAnswer) -> AwsError:
    said = _object(answer.body) or {}
    # As in "com.amazonaws.dynamodb.v20120810#ThrottlingException", or with a colon and a URL behind it.
    code = str(said.get("__type") or answer.headers.get("x-amzn-errortype", "")).rpartition("#")[2].partition(":")[0]
    message = str(said.get("message") or said.get("Message") or "").partition("\n")[0]
    reason = ": ".join(part for part in (code or f"status {answer.status}", message) if part)
    if code in _THROTTLED or answer.status == 429:
        return AwsError(reason, code=code, answer=said, pause_seconds=_THROTTLED_PAUSE_SECONDS)
    if code == _CONFLICT:
        return AwsError(reason, code=code, answer=said, pause_seconds=_PAUSE_SECONDS)
    if answer.status >= 500:
        return AwsError(reason, code=code, answer=said, is_done=None, pause_seconds=_PAUSE_SECONDS)
    return AwsError(reason, code=code, answer=said)


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        said = json_text.read(content)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None
