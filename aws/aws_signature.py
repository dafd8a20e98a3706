"""Signature Version 4 of a POST, by which AWS's services know who calls. Pure.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256

from aws_credentials import Credentials

_ALGORITHM = "AWS4-HMAC-SHA256"


def sign(
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    *,
    host: str,
    path: str,
    region: str,
    service: str,
    at: float,
) -> dict[str, str]:
    """`headers`, and those that have to be added so that `credentials` vouch for them and for `body`.

    Args:
        headers: names in lower case; values without white space at their ends or double inside.
        host: the header of this name, which the HTTP client sends by itself.
        path: percent-encoded; without steps, double slashes and a query.
        at: seconds since the epoch, UTC. It must be the service's time, give or take 15 minutes.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    vouched = {**headers, "x-amz-date": moment}
    if credentials.token is not None:
        vouched["x-amz-security-token"] = credentials.token
    lines = sorted({**vouched, "host": host}.items())
    names = ";".join(name for name, _ in lines)
    listed = "".join(f"{name}:{value}\n" for name, value in lines)
    request = f"POST\n{path}\n\n{listed}\n{names}\n{sha256(body).hexdigest()}"

    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = f"{_ALGORITHM}\n{moment}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    signature = _hmac(_day_key(credentials.secret_key, moment[:8], region, service), text).hex()
    credential = f"{credentials.access_key}/{scope}"
    vouched["authorization"] = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return vouched


@lru_cache(maxsize=16)
def _day_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    """What signs all requests of one day to one service."""
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
