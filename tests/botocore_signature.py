"""What Amazon's own SDK would have written into `authorization`: the referee of our signatures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]


def botocores_signature(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    credentials: tuple[str | None, ...],
    service: str,
    region: str,
    *,
    at: str,
) -> str:
    """The signature of a POST.

    Args:
        credentials: the access key's id, the secret key and, if there is one, the session token.
        at: as `x-amz-date` has it.
    """
    moment = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    request = AWSRequest("POST", url, headers=dict(headers), data=body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda: moment)
        SigV4Auth(Credentials(*credentials), service, region).add_auth(request)
    signature: str = request.headers["Authorization"]
    return signature
