"""Secrets Manager as moto has it: what the function is given at its start, and what it says where it is not."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
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
def client() -> Iterator[Any]:
    with moto() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)
        with contextlib.closing(boto3.Session().client("secretsmanager")) as client:
            yield client


def _secret(client: Any, name: str, **content: object) -> str:
    arn: str = client.create_secret(Name=name, **content)["ARN"]
    return arn


def test_the_entries_of_the_secret_are_variables(client: Any) -> None:
    arn = _secret(client, "good", SecretString=json.dumps({"OPENAI_API_KEY": _KEY, "TREFOIL_ADMIN_KEY": "b"}))
    environ = {"TREFOIL_SECRET": arn, "PATH": "/bin", "TREFOIL_ADMIN_KEY": "set by hand"}
    assert with_secrets(environ) == {**environ, "OPENAI_API_KEY": _KEY}


def test_the_region_is_the_secrets_own(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = _secret(client, "here", SecretString='{"A": "b"}')
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert with_secrets({"TREFOIL_SECRET": arn})["A"] == "b"


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
    client: Any, request: pytest.FixtureRequest, content: dict[str, object]
) -> None:
    arn = _secret(client, request.node.callspec.id, **content)
    with pytest.raises(ConfigurationError, match="must be a JSON object of texts") as refusal:
        with_secrets({"TREFOIL_SECRET": arn})
    assert _KEY not in str(refusal.value)


@pytest.mark.parametrize("secret", ["trefoil", "arn:aws:s3:::bucket", "arn:aws:secretsmanager::1:secret:x"])
def test_only_an_arn_names_a_secret(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="TREFOIL_SECRET: write the ARN"):
        with_secrets({"TREFOIL_SECRET": secret})


@pytest.mark.usefixtures("client")
def test_one_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match=f"TREFOIL_SECRET: the secret {_NOWHERE} cannot be read: .*NotFound"):
        with_secrets({"TREFOIL_SECRET": _NOWHERE})


@pytest.mark.usefixtures("client")
def test_a_service_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="cannot be read: Could not connect"):
        with_secrets({"TREFOIL_SECRET": _NOWHERE})


def test_boto3_is_not_loaded_for_nothing() -> None:
    program = "import sys, secretsmanager_secrets as s; s.with_secrets({}); sys.exit('boto3' in sys.modules)"
    environ = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'aws'}"}
    subprocess.run([sys.executable, "-c", program], env=environ, check=True)
