"""Secrets Manager as moto has it: what the function is given at its start, and what it says where it is not."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

if importlib.util.find_spec("moto") is None:
    pytest.skip("needs the package 'moto[server,dynamodb]'", allow_module_level=True)

import boto3  # type: ignore[import-untyped]

from core.errors import ConfigurationError
from local.dynamodb_emulator import REGION
from local.staging import REPOSITORY
from moto_process import CREDENTIALS, moto
from secretsmanager_secrets import with_secrets

_KEY = "sk-never-to-be-shown"
_NOWHERE = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:nobody-AbCdEf"


@pytest.fixture(scope="module")
def environ() -> Iterator[Mapping[str, str]]:
    with moto() as url:
        yield {**CREDENTIALS, "AWS_ENDPOINT_URL": url}


@pytest.fixture(scope="module")
def client(environ: Mapping[str, str]) -> Iterator[Any]:
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    session = boto3.Session(region_name=REGION, **keys)
    with contextlib.closing(session.client("secretsmanager", endpoint_url=environ["AWS_ENDPOINT_URL"])) as client:
        yield client


def _secret(client: Any, name: str, **content: object) -> str:
    arn: str = client.create_secret(Name=name, **content)["ARN"]
    return arn


def test_the_entries_of_the_secret_are_variables(client: Any, environ: Mapping[str, str]) -> None:
    arn = _secret(client, "good", SecretString=json.dumps({"OPENAI_API_KEY": _KEY, "TREFOIL_ADMIN_KEY": "b"}))
    given = {**environ, "TREFOIL_SECRET": arn, "PATH": "/bin", "TREFOIL_ADMIN_KEY": "set by hand"}
    assert with_secrets(given) == {**given, "OPENAI_API_KEY": _KEY}


def test_the_region_is_the_secrets_own(client: Any, environ: Mapping[str, str]) -> None:
    arn = _secret(client, "here", SecretString='{"A": "b"}')
    elsewhere = {"AWS_DEFAULT_REGION": "eu-west-3", "AWS_REGION": "eu-west-3"}
    assert with_secrets({**environ, **elsewhere, "TREFOIL_SECRET": arn})["A"] == "b"


def test_an_endpoint_of_its_own_goes_first(client: Any, environ: Mapping[str, str]) -> None:
    arn = _secret(client, "own", SecretString='{"A": "b"}')
    own = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_SECRETS_MANAGER": environ["AWS_ENDPOINT_URL"]}
    assert with_secrets({**environ, **own, "TREFOIL_SECRET": arn})["A"] == "b"


def test_the_event_loop_of_the_runtime_is_left_alone(client: Any, environ: Mapping[str, str]) -> None:
    arn = _secret(client, "loop", SecretString='{"A": "b"}')
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        assert with_secrets({**environ, "TREFOIL_SECRET": arn})["A"] == "b"
        assert runner.run(_running_loop()) is loop


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_without_one_the_environment_is_all() -> None:
    environ = {"OPENAI_API_KEY": _KEY}
    assert with_secrets(environ) is environ


@pytest.mark.parametrize(
    "content",
    [
        {"SecretString": f"{_KEY} is no JSON"},
        {"SecretString": json.dumps([_KEY])},
        {"SecretString": json.dumps({_KEY: 5})},
        {"SecretBinary": _KEY.encode()},
    ],
    ids=["text", "list", "number", "binary"],
)
def test_a_secret_of_another_form_is_refused_unquoted(
    client: Any, environ: Mapping[str, str], request: pytest.FixtureRequest, content: dict[str, object]
) -> None:
    arn = _secret(client, request.node.callspec.id, **content)
    with pytest.raises(ConfigurationError, match="must be a JSON object of texts") as refusal:
        with_secrets({**environ, "TREFOIL_SECRET": arn})
    assert _KEY not in str(refusal.value)


@pytest.mark.parametrize("secret", ["trefoil", "arn:aws:s3:::bucket", "arn:aws:secretsmanager::1:secret:x"])
def test_only_an_arn_names_a_secret(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="TREFOIL_SECRET: write the ARN"):
        with_secrets({"TREFOIL_SECRET": secret})


def test_one_that_is_not_there_is_named(environ: Mapping[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=f"TREFOIL_SECRET: the secret {_NOWHERE} cannot be read: .*NotFound"):
        with_secrets({**environ, "TREFOIL_SECRET": _NOWHERE})


def test_a_service_that_does_not_answer_is_named() -> None:
    environ = {**CREDENTIALS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "TREFOIL_SECRET": _NOWHERE}
    with pytest.raises(ConfigurationError, match=r"cannot be read: http://127\.0\.0\.1:9 cannot be reached"):
        with_secrets(environ)


def test_boto3_is_not_loaded(client: Any, environ: Mapping[str, str]) -> None:
    arn = _secret(client, "lean", SecretString="{}")
    program = (
        "import os, sys, secretsmanager_secrets\n"
        "secretsmanager_secrets.with_secrets(os.environ)\n"
        "sys.exit(any(name in sys.modules for name in ('boto3', 'botocore')))\n"
    )
    own = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'aws'}", "TREFOIL_SECRET": arn}
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **environ, **own}, check=True)
