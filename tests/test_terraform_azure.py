"""terraform/azure: what it promises, what it makes of a simulated Azure, and the code that push.py brings there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest

from azure_deployment_service import TOKEN, AzureDeploymentService
from azure_host_process import AzureHost
from core.settings import ENVIRONMENT, Settings
from cosmos_emulator_process import emulator
from cosmos_store import CosmosStore
from function_app_store import open_store
from local.cosmos_emulator import KEY
from local.staging import REPOSITORY
from missing import Missing
from offline_client import Upstream
from package_build import build, unpack
from simulated_terraform import ADMIN_KEY, OPENAI_API_KEY, SECRETS, SimulatedTerraform, own_tests

pytestmark = pytest.mark.slow

_ACCOUNT = "11111111-2222-3333-4444-555555555555"
_LIBRARIES = ".python_packages"
_PLATFORM = {"IDENTITY_ENDPOINT": "http://localhost:8081/msi/token", "IDENTITY_HEADER": "x"}
"""What Azure sets beside the app's own settings."""
_REFERENCE = re.compile(r"@Microsoft\.KeyVault\(SecretUri=https://[a-z0-9-]+\.vault\.azure\.net/secrets/([A-Z-]+)\)")
_MODEL = "from-the-package"
_ALIAS = f'\n[models."{_MODEL}"]\ntargets = [{{ upstream = "openai", model = "gpt-4o-mini;pace=20" }}]\n'


def _start(folder: Path, **variables: object) -> SimulatedTerraform:
    try:
        return SimulatedTerraform.of("azure", folder, account=_ACCOUNT, region="westeurope", **variables)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> SimulatedTerraform:
    return _start(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> SimulatedTerraform:
    terraform = _start(
        tmp_path_factory.mktemp("applied"),
        alarm_email="operator@example.com",
        deletion_protection=True,
        max_instances=3,
        memory_mb=2048,
        min_instances=1,
        timeout_seconds=345,
    )
    terraform.run("apply", "-auto-approve")
    return terraform


def _settings(terraform: SimulatedTerraform) -> dict[str, str]:
    return dict(terraform.one("azurerm_function_app_flex_consumption")["app_settings"])


def _environ(terraform: SimulatedTerraform) -> dict[str, str]:
    """What the function is started with: the app's settings, with each reference replaced by its secret."""
    secrets = {"OPENAI-API-KEY": OPENAI_API_KEY, "TREFOIL-ADMIN-KEY": ADMIN_KEY}
    referred = {name: _REFERENCE.fullmatch(value) for name, value in _settings(terraform).items()}
    return {
        name: secrets[found.group(1)] if (found := referred[name]) else value
        for name, value in _settings(terraform).items()
    }


def test_it_is_valid_and_uses_nothing_deprecated(fresh: SimulatedTerraform) -> None:
    said = json.loads(fresh.run("validate", "-json"))
    assert (said["valid"], said["diagnostics"]) == (True, [])


def test_its_own_tests_pass(tmp_path: Path) -> None:
    try:
        said = own_tests("azure", tmp_path, "hashicorp/azurerm")
    except Missing as missing:
        pytest.skip(str(missing))
    assert re.search(r"Success! \d+ passed, 0 failed", said), said


def test_a_secret_that_is_missing_is_named(fresh: SimulatedTerraform) -> None:
    said = fresh.run("plan", "-json", expect=1, environ={"TF_VAR_openai_api_key": OPENAI_API_KEY})
    assert "TREFOIL_ADMIN_KEY has no value" in said
    assert "OPENAI_API_KEY has no value" not in said


def test_a_second_plan_is_empty(applied: SimulatedTerraform) -> None:
    assert "No changes." in applied.run("plan", "-detailed-exitcode")


def test_the_secrets_are_nowhere(applied: SimulatedTerraform) -> None:
    plan = applied.root / "secrets.tfplan"
    applied.run("plan", f"-out={plan}")
    shown = [applied.run("show", "-json"), applied.run("show", "-json", str(plan)), json.dumps(applied.outputs())]
    for secret in (OPENAI_API_KEY, ADMIN_KEY):
        assert applied.files_with(secret) == []
        assert not any(secret in text for text in shown)
    assert applied.files_with("OPENAI-API-KEY")  # it would have been found


def test_the_function_s_variables_are_those_that_it_reads(applied: SimulatedTerraform) -> None:
    ours = {name for name in _settings(applied) if name.startswith("TREFOIL_")}
    assert ours <= ENVIRONMENT.keys()
    settings = Settings.load({**_environ(applied), **_PLATFORM})
    assert settings.request_timeout_seconds == 345
    assert settings.keys["openai"].get_secret_value() == OPENAI_API_KEY
    assert isinstance(open_store(_settings(applied)["TREFOIL_STORE"], {**_environ(applied), **_PLATFORM}), CosmosStore)


def test_the_store_is_the_one_that_the_function_is_told(applied: SimulatedTerraform) -> None:
    account, container = applied.one("azurerm_cosmosdb_account"), applied.one("azurerm_cosmosdb_sql_container")
    place = f"{account['name']}.documents.azure.com/{container['database_name']}/{container['name']}"
    assert _settings(applied)["TREFOIL_STORE"] == f"cosmos:https://{place}"
    assert account["endpoint"] == f"https://{account['name']}.documents.azure.com:443/"
    index = container["indexing_policy"][0]
    assert [path["path"] for path in index["included_path"]] == ["/partition/?"]
    assert [path["path"] for path in index["excluded_path"]] == ["/*"]


def test_secrets_are_references(applied: SimulatedTerraform) -> None:
    for name in ("OPENAI_API_KEY", "TREFOIL_ADMIN_KEY"):
        assert _REFERENCE.fullmatch(_settings(applied)[name])


def test_the_function_may_do_what_it_needs_and_nothing_else(applied: SimulatedTerraform) -> None:
    principal = applied.one("azurerm_function_app_flex_consumption")["identity"][0]["principal_id"]
    vault = applied.one("azurerm_key_vault")["id"]
    granted = {
        (role["role_definition_name"], role["scope"])
        for role in applied.all("azurerm_role_assignment")
        if role["principal_id"] == principal
    }
    assert granted == {
        ("Storage Blob Data Owner", applied.one("azurerm_storage_account")["id"]),
        ("Key Vault Secrets User", f"{vault}/secrets/OPENAI-API-KEY"),
        ("Key Vault Secrets User", f"{vault}/secrets/TREFOIL-ADMIN-KEY"),
        ("Monitoring Metrics Publisher", applied.one("azurerm_application_insights")["id"]),
    }
    role = applied.one("azurerm_cosmosdb_sql_role_assignment")
    account = applied.one("azurerm_cosmosdb_account")["id"]
    assert (role["principal_id"], role["scope"]) == (principal, f"{account}/dbs/trefoil")
    assert role["role_definition_id"] == f"{account}/sqlRoleDefinitions/00000000-0000-0000-0000-000000000002"


def test_the_deploying_person_gets_no_role_but_for_writing_the_secrets(applied: SimulatedTerraform) -> None:
    principal = applied.one("azurerm_function_app_flex_consumption")["identity"][0]["principal_id"]
    others = [role for role in applied.all("azurerm_role_assignment") if role["principal_id"] != principal]
    vault = applied.one("azurerm_key_vault")["id"]
    assert [(role["role_definition_name"], role["scope"]) for role in others] == [("Key Vault Secrets Officer", vault)]


def test_the_names_are_the_deployment_s_own(applied: SimulatedTerraform) -> None:
    assert re.fullmatch(r"[a-z0-9]{3,24}", applied.one("azurerm_storage_account")["name"])
    assert re.fullmatch(r"[a-z0-9-]{3,24}", applied.one("azurerm_key_vault")["name"])
    assert applied.outputs()["url"] == f"https://{applied.outputs()['function_name']}.azurewebsites.net"


def test_destroy_leaves_nothing_unless_the_store_is_protected(tmp_path: Path) -> None:
    terraform = _start(tmp_path)
    terraform.run("apply", "-auto-approve", "-var=deletion_protection=true")
    terraform.run("destroy", "-auto-approve", expect=1, environ={})
    assert terraform.one("azurerm_cosmosdb_sql_container")
    terraform.run("apply", "-auto-approve")
    terraform.run("destroy", "-auto-approve", environ={})
    assert list(terraform.made.rglob("*.json")) == []


def _push(applied: SimulatedTerraform, service: AzureDeploymentService, package: Path, folder: Path) -> None:
    """As `make deploy` does: the app is found by Terraform's outputs."""
    words = [sys.executable, str(applied.root / "push.py"), str(package), "--url", service.url]
    words += ["--scm", service.url, "--management", service.url]
    environ = {**os.environ, "PATH": f"{service.azure_cli(folder)}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def unpacked(applied: SimulatedTerraform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What reached the deployment service, unpacked. Its configuration knows a model that the checkout's does not.

    Its libraries are for Azure's Python 3.13; here, this Python's own take their place.
    """
    folder = tmp_path_factory.mktemp("pushed")
    config = folder / "own.toml"
    config.write_text((REPOSITORY / "trefoil.toml").read_text("utf-8") + _ALIAS, "utf-8")
    package = build("azure", folder / "build", "--config", str(config))
    with AzureDeploymentService.started() as service:
        _push(applied, service, package, folder)
        assert service.app_ids == {applied.outputs()["function_id"]}
        assert service.packages == [package.read_bytes()]
        (folder / "received.zip").write_bytes(service.packages[0])
    app = unpack(folder / "received.zip", folder / "app")
    shutil.rmtree(app / _LIBRARIES)
    return app


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, applied: SimulatedTerraform) -> Iterator[Mapping[str, str]]:
    """The variables that lead to an emulator of the store, or to a file where there is none."""
    place = _settings(applied)["TREFOIL_STORE"].partition(".documents.azure.com")[2]
    with ExitStack() as stack:
        try:
            url = stack.enter_context(emulator())
        except Missing:
            yield {"TREFOIL_STORE": f"sqlite:{tmp_path_factory.mktemp('store')}/store.sqlite3"}
        else:
            yield {"TREFOIL_STORE": f"cosmos:{url}{place}", "TREFOIL_COSMOS_KEY": KEY}


def test_the_pushed_package_streams_a_chat(
    applied: SimulatedTerraform, unpacked: Path, store: Mapping[str, str]
) -> None:
    with Upstream.started() as upstream:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "TREFOIL_"))}
        environ = {**own, **_environ(applied), **_PLATFORM, **store, "TREFOIL_UPSTREAM_URL": f"{upstream.origin}/v1"}
        with AzureHost(unpacked, env=environ) as host:
            url = f"http://127.0.0.1:{host.port}"
            command = applied.outputs()["create_first_key_command"].replace(applied.outputs()["url"], url)
            said = subprocess.run(
                ["sh", "-c", command], env={**own, **SECRETS}, capture_output=True, text=True, check=False
            )
            assert said.returncode == 0, said.stdout + said.stderr + "".join(host.errors)
            (key,) = set(re.findall(r"tfl_[A-Za-z0-9_-]{20,}", said.stdout))
            with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
                chunks = client.chat.completions.create(
                    model=_MODEL, messages=[{"role": "user", "content": "Hello"}], stream=True
                )
                texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len(texts) > 5
    assert "Hello" in "".join(texts)
