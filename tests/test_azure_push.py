"""terraform/azure/push.py: how a package, or an older one, gets to the function app."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from azure_deployment_service import TOKEN, AzureDeploymentService
from local.staging import REPOSITORY

_PROGRAM = REPOSITORY / "terraform/azure/push.py"
_ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/sites/trefoil-1"


@pytest.fixture(scope="module")
def push() -> Any:
    specification = importlib.util.spec_from_file_location("azure_push", _PROGRAM)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["azure_push"] = module  # where dataclasses look for it
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def service() -> Iterator[AzureDeploymentService]:
    with AzureDeploymentService.started() as running:
        yield running


def _push(push: Any, service: AzureDeploymentService, *, token: str = TOKEN, patience_seconds: float = 20) -> None:
    app = push.App(_ID, service.url, service.url, service.url)
    push.push(app, push.Azure(token), b"a package", patience_seconds=patience_seconds, pause_seconds=0)


def test_the_package_is_deployed_as_it_is(push: Any, service: AzureDeploymentService) -> None:
    _push(push, service)
    assert (service.packages, service.app_ids) == ([b"a package"], {_ID})


def test_it_waits_for_what_azure_does_not_know_yet(push: Any, service: AzureDeploymentService) -> None:
    service.first_secrets += ["AccessToKeyVaultDenied", "InitialReferenceResolution"]
    service.first_uploads += [(403, ""), (400, "BlobUploadFailedException: 403"), (503, ""), (409, "")]
    service.first_states += [0, 1, 2]
    service.first_health += [503, 404]
    _push(push, service)
    assert service.packages == [b"a package"]
    left = service.first_secrets + service.first_uploads + service.first_states + service.first_health
    assert left == []


def test_secrets_that_stay_out_of_reach_stop_it_before_the_code_changes(
    push: Any, service: AzureDeploymentService
) -> None:
    service.first_secrets += ["AccessToKeyVaultDenied"] * 1000
    with pytest.raises(push.PushError, match="cannot read its secrets"):
        _push(push, service, patience_seconds=0.1)
    assert service.packages == []


@pytest.mark.parametrize(("status", "said"), [(401, "who are you"), (415, "no zip"), (400, "ValidationError")])
def test_a_refusal_is_told_at_once(push: Any, service: AzureDeploymentService, status: int, said: str) -> None:
    service.first_uploads += [(status, said)]
    with pytest.raises(push.PushError, match=f"status {status}: .*{said}"):
        _push(push, service)
    assert service.packages == []


def test_a_deployment_that_fails_is_told(push: Any, service: AzureDeploymentService) -> None:
    service.first_states += [1, 3]
    with pytest.raises(push.PushError, match="failed: as it is"):
        _push(push, service)


def test_an_app_that_does_not_start_is_told(push: Any, service: AzureDeploymentService) -> None:
    service.first_health += [503] * 1000
    with pytest.raises(push.PushError, match="healthz does not answer 200"):
        _push(push, service, patience_seconds=0.1)


def test_an_address_where_nobody_answers_is_told(push: Any, service: AzureDeploymentService) -> None:
    app = push.App(_ID, service.url, service.url, "http://127.0.0.1:1")
    with pytest.raises(push.PushError, match="cannot read its secrets"):
        push.push(app, push.Azure(TOKEN), b"", patience_seconds=0, pause_seconds=0)


@pytest.mark.parametrize(
    ("url", "scm"),
    [
        ("https://trefoil-1.azurewebsites.net", "https://trefoil-1.scm.azurewebsites.net"),
        ("https://t-abc.westeurope-01.azurewebsites.net", "https://t-abc.scm.westeurope-01.azurewebsites.net"),
    ],
)
def test_the_deployment_service_follows_from_the_url(push: Any, url: str, scm: str) -> None:
    assert push.scm_of(url) == scm


def _run(*options: str, path: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(_PROGRAM), *options]
    return subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)


def test_whoever_is_not_logged_in_is_told_to(tmp_path: Path, service: AzureDeploymentService) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    done = _run(str(tmp_path / "a.zip"), "--id", _ID, "--url", service.url, path=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "az login" in done.stderr


def test_a_package_that_is_not_there_is_told(tmp_path: Path, service: AzureDeploymentService) -> None:
    done = _run(str(tmp_path / "none.zip"), "--id", _ID, "--url", service.url, path=str(service.azure_cli(tmp_path)))
    assert done.returncode == 1
    assert "none.zip cannot be read" in done.stderr


def test_without_a_deployment_of_terraform_it_asks_for_the_app(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    done = _run(str(tmp_path / "a.zip"), path=str(tmp_path))
    assert done.returncode == 1
    assert "make deploy CLOUD=azure" in done.stderr
