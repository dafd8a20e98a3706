"""terraform/gcp: what it promises, and what it makes of a simulated Google Cloud; its code is read back and run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import openai
import pytest

import firestore_process
from core.settings import ENVIRONMENT, Settings
from firestore_store import FirestoreStore
from local.running import free_port_base
from local.staging import REPOSITORY
from missing import Missing
from offline_client import Upstream
from package_build import build, unpack
from run_function_store import open_store
from simulated_terraform import ADMIN_KEY, OPENAI_API_KEY, SECRETS, SimulatedTerraform, own_tests

pytestmark = pytest.mark.slow

_PROJECT = "my-project"
_FUNCTION = "serviceAccount:trefoil-run@my-project.iam.gserviceaccount.com"
_BUILD = "serviceAccount:trefoil-build@my-project.iam.gserviceaccount.com"
_GRANTS = {
    "google_artifact_registry_repository_iam_member": "repository",
    "google_cloud_run_service_iam_member": "service",
    "google_cloudfunctions2_function_iam_member": "cloud_function",
    "google_project_iam_member": "project",
    "google_secret_manager_secret_iam_member": "secret_id",
    "google_storage_bucket_iam_member": "bucket",
}
"""Each way to give a role, and the argument that says for what."""
_MODEL = "from-the-package"
_ALIAS = f'\n[models."{_MODEL}"]\ntargets = [{{ upstream = "openai", model = "gpt-4o-mini;pace=20" }}]\n'
_PATIENCE_SECONDS = 60


def _start(folder: Path, **variables: object) -> SimulatedTerraform:
    try:
        return SimulatedTerraform.of("gcp", folder, account=_PROJECT, region="europe-west1", **variables)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip; its configuration knows a model that the checkout's does not."""
    folder = tmp_path_factory.mktemp("build")
    config = folder / "own.toml"
    config.write_text((REPOSITORY / "trefoil.toml").read_text("utf-8") + _ALIAS, "utf-8")
    return build("gcp", folder, "--config", str(config))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> SimulatedTerraform:
    return _start(tmp_path_factory.mktemp("fresh"), package_path="tests/stand-in.zip")


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory, package: Path) -> SimulatedTerraform:
    terraform = _start(
        tmp_path_factory.mktemp("applied"),
        alarm_email="operator@example.com",
        max_instances=3,
        memory_mb=2048,
        min_instances=1,
        package_path=str(package),
        timeout_seconds=345,
    )
    terraform.run("apply", "-auto-approve")
    return terraform


def _service(terraform: SimulatedTerraform) -> dict[str, Any]:
    return dict(terraform.one("google_cloudfunctions2_function")["service_config"][0])


def _environ(terraform: SimulatedTerraform) -> dict[str, str]:
    """What the function is started with: its variables, and the secrets that it refers to."""
    secrets = {"trefoil-OPENAI_API_KEY": OPENAI_API_KEY, "trefoil-TREFOIL_ADMIN_KEY": ADMIN_KEY}
    referred = _service(terraform)["secret_environment_variables"]
    return {
        **_service(terraform)["environment_variables"],
        **{reference["key"]: secrets[reference["secret"]] for reference in referred},
    }


def test_it_is_valid_and_uses_nothing_deprecated(fresh: SimulatedTerraform) -> None:
    said = json.loads(fresh.run("validate", "-json"))
    assert (said["valid"], said["diagnostics"]) == (True, [])


def test_its_own_tests_pass(tmp_path: Path) -> None:
    try:
        said = own_tests("gcp", tmp_path, "hashicorp/google")
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
    assert applied.files_with("trefoil-OPENAI_API_KEY")  # it would have been found


def test_another_secret_is_another_version_for_the_function(tmp_path: Path) -> None:
    terraform = _start(tmp_path, package_path="tests/stand-in.zip")
    terraform.run("apply", "-auto-approve")
    planned = terraform.run("plan", "-var=secrets_version=2")
    assert len(re.findall(r"google_secret_manager_secret_version\S+ must be replaced", planned)) == 2
    assert "create replacement and then destroy" in planned
    assert "google_cloudfunctions2_function.this will be updated in-place" in planned


def test_the_function_s_variables_are_those_that_it_reads(applied: SimulatedTerraform) -> None:
    assert {name for name in _environ(applied) if name.startswith("TREFOIL_")} <= ENVIRONMENT.keys()
    settings = Settings.load(_environ(applied))
    assert settings.request_timeout_seconds == _service(applied)["timeout_seconds"] == 345
    assert settings.keys["openai"].get_secret_value() == OPENAI_API_KEY
    assert isinstance(open_store(_environ(applied)["TREFOIL_STORE"], {}), FirestoreStore)


def test_the_store_is_the_one_that_the_function_is_told(applied: SimulatedTerraform) -> None:
    database = applied.one("google_firestore_database")
    assert _environ(applied)["TREFOIL_STORE"] == f"firestore:{_PROJECT}/{database['name']}"
    fields = {field["field"]: field for field in applied.all("google_firestore_field")}
    assert {field["database"] for field in fields.values()} == {database["name"]}
    assert [name for name, field in fields.items() if field["ttl_config"]] == ["expire_at"]
    assert all(not field["index_config"][0]["indexes"] for field in fields.values())


def test_secrets_are_references_to_numbered_versions(applied: SimulatedTerraform) -> None:
    assert not {"OPENAI_API_KEY", "TREFOIL_ADMIN_KEY"} & _service(applied)["environment_variables"].keys()
    referred = {reference["key"]: reference for reference in _service(applied)["secret_environment_variables"]}
    assert referred.keys() == {"OPENAI_API_KEY", "TREFOIL_ADMIN_KEY"}
    assert all(reference["version"].isdigit() for reference in referred.values())


def test_each_identity_may_do_what_it_needs_and_nothing_else(applied: SimulatedTerraform) -> None:
    granted = {
        (grant["member"], grant["role"], str(grant[what]).rpartition("/")[2], _condition(grant))
        for kind, what in _GRANTS.items()
        for grant in applied.all(kind)
    }
    assert granted == {
        ("allUsers", "roles/run.invoker", "trefoil", None),
        (_FUNCTION, "roles/datastore.user", _PROJECT, 'resource.name == "projects/my-project/databases/trefoil-store"'),
        (_FUNCTION, "roles/secretmanager.secretAccessor", "trefoil-OPENAI_API_KEY", None),
        (_FUNCTION, "roles/secretmanager.secretAccessor", "trefoil-TREFOIL_ADMIN_KEY", None),
        (_BUILD, "roles/artifactregistry.writer", "trefoil", None),
        (_BUILD, "roles/logging.logWriter", _PROJECT, None),
        (_BUILD, "roles/storage.objectViewer", f"{_PROJECT}-trefoil-code", None),
        (
            _BUILD,
            "roles/storage.objectViewer",
            _PROJECT,
            'resource.name.startsWith("projects/_/buckets/gcf-v2-sources-")',
        ),
    }
    others = {folder.name for folder in applied.made.iterdir() if "_iam_" in folder.name} - _GRANTS.keys()
    assert others == set()
    assert f"serviceAccount:{_service(applied)['service_account_email']}" == _FUNCTION


def _condition(grant: Mapping[str, Any]) -> str | None:
    return grant["condition"][0]["expression"] if grant["condition"] else None


def test_destroy_leaves_nothing_but_what_is_switched_on(tmp_path: Path) -> None:
    terraform = _start(tmp_path, package_path="tests/stand-in.zip")
    terraform.run("apply", "-auto-approve")
    assert all(not service["disable_on_destroy"] for service in terraform.all("google_project_service"))
    (terraform.root / "tests/stand-in.zip").unlink()  # whoever destroys need not have built anything
    terraform.run("destroy", "-auto-approve", environ={})
    assert list(terraform.made.rglob("*.json")) == []


def test_protection_is_the_database_s_own(fresh: SimulatedTerraform) -> None:
    planned = fresh.run("plan", "-var=deletion_protection=true")
    assert re.search(r'delete_protection_state += "DELETE_PROTECTION_ENABLED"', planned)


@contextmanager
def _serving(app: Path, environ: Mapping[str, str], folder: Path) -> Iterator[str]:
    """The framework on the unpacked zip. What the buildpack would install is this Python's, and the zip's own wheel."""
    (wheel,) = app.glob("trefoil-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    port = free_port_base(1)
    command = [sys.executable, "-m", "functions_framework", "--target", "gateway", "--source", "main.py"]
    variables = {**environ, "PYTHONPATH": str(folder / "site"), "XDG_RUNTIME_DIR": str(folder)}
    with (folder / "log.txt").open("w+") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], cwd=app, env=variables, stdout=log, stderr=log
        )
        try:
            _wait_until_it_answers(f"http://127.0.0.1:{port}", process, folder / "log.txt")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=_PATIENCE_SECONDS) as answer:
                assert answer.status == 200
            return
        except urllib.error.URLError:
            if process.poll() is not None or monotonic() > end:
                raise AssertionError(f"functions-framework did not start:\n{log.read_text('utf-8')}") from None
            sleep(0.1)


def test_the_code_that_was_uploaded_streams_a_chat_from_the_store_that_was_made(
    applied: SimulatedTerraform, tmp_path: Path
) -> None:
    built_from = applied.one("google_cloudfunctions2_function")["build_config"][0]
    code = applied.one("google_storage_bucket_object")
    assert built_from["source"][0]["storage_source"][0]["object"] == code["name"]
    uploaded = Path(code["source"])
    assert hashlib.sha256(uploaded.read_bytes()).hexdigest() in code["name"]
    app = unpack(uploaded, tmp_path / "app")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "TREFOIL_"))}
    try:
        with firestore_process.running() as firestore, Upstream.started() as upstream:
            # The store's name is the deployed one: only the address that it is looked for at is this machine's.
            elsewhere = {
                "FIRESTORE_EMULATOR_HOST": firestore.url.removeprefix("http://"),
                "TREFOIL_UPSTREAM_URL": f"{upstream.origin}/v1",
            }
            with _serving(app, {**own, **_environ(applied), **elsewhere}, tmp_path) as url:
                texts = _chat(applied, url, own)
            assert firestore.calls()
    except Missing as missing:
        pytest.skip(str(missing))
    assert len(texts) > 5
    assert "Hello" in "".join(texts)


def _chat(applied: SimulatedTerraform, url: str, environ: Mapping[str, str]) -> list[str]:
    """The chunks that a client gets with the key that the deployment's own command makes."""
    command = applied.outputs()["create_first_key_command"].replace(applied.outputs()["url"], url)
    said = subprocess.run(
        ["sh", "-c", command], env={**environ, **SECRETS}, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
    (key,) = set(re.findall(r"tfl_[A-Za-z0-9_-]{20,}", said.stdout))
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "Hello"}]
        chunks = client.chat.completions.create(model=_MODEL, messages=messages, stream=True)
        return [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
