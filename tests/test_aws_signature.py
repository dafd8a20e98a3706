"""Signature Version 4, against the examples that AWS has published and against its SDK."""

from __future__ import annotations

import calendar
import importlib.util
import random
import string
import time

import pytest

import aws_signature
from aws_credentials import Credentials
from aws_signature import sign

_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
_REQUESTS = 300
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation


def test_the_example_of_the_test_suite() -> None:
    """`post-vanilla` of AWS's Signature Version 4 test suite."""
    signed = sign(
        {},
        b"",
        Credentials("AKIDEXAMPLE", _SECRET),
        host="example.amazonaws.com",
        path="/",
        region="us-east-1",
        service="service",
        at=calendar.timegm((2015, 8, 30, 12, 36, 0)),
    )
    assert signed == {
        "x-amz-date": "20150830T123600Z",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    }


def test_the_example_of_a_key() -> None:
    """The one of AWS's documentation for the key of a day."""
    key = aws_signature._day_key(_SECRET, "20120215", "us-east-1", "iam")
    assert key.hex() == "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"


@pytest.mark.skipif(importlib.util.find_spec("botocore") is None, reason="needs the package 'botocore'")
def test_amazons_sdk_signs_the_same() -> None:
    from botocore_signature import botocores_signature  # noqa: PLC0415 - where it is installed

    chance = random.Random(20_150_830)
    for _ in range(_REQUESTS):
        credentials = tuple(_text(chance) for _ in range(chance.choice((2, 3))))
        headers = {f"x-amz-{_text(chance, string.ascii_lowercase)}": _text(chance) for _ in range(chance.randrange(4))}
        host, path = f"{_text(chance, string.ascii_lowercase)}:8000", chance.choice(("/", "/below/"))
        service, region = chance.choice(("dynamodb", "secretsmanager")), chance.choice(("us-east-1", "cn-north-1"))
        body, at = chance.randbytes(chance.randrange(2000)), chance.randrange(1_500_000_000, 2_000_000_000)
        signed = sign(
            headers, body, Credentials(*credentials), host=host, path=path, region=region, service=service, at=at
        )
        assert signed["x-amz-date"] == time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
        assert signed.get("x-amz-security-token") == (credentials[2] if len(credentials) == 3 else None)
        assert signed["authorization"] == botocores_signature(
            f"http://{host}{path}", headers, body, credentials, service, region, at=signed["x-amz-date"]
        )


def test_credentials_are_not_shown() -> None:
    assert "secret" not in repr(Credentials("AKIDEXAMPLE", "a-secret-key", "a-secret-token"))


def _text(chance: random.Random, letters: str = _PRINTABLE) -> str:
    return "".join(chance.choices(letters, k=chance.randrange(1, 60)))
