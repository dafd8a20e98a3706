"""terraform/aws: tested with a mock of AWS, and applied to moto with the real provider; what it deployed is run."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("moto") is None:
    pytest.skip("needs the package 'moto[server,dynamodb]'", allow_module_level=True)

import boto3  # type: ignore[import-untyped]
import openai

import dynamodb_item
import secretsmanager_secrets
from aws_emulator_process import emulator
from core.settings import ENVIRONMENT
from local.dynamodb_emulator import REGION
from local.offline_upstream import running
from missing import Missing
from moto_process import ACCOUNT, CREDENTIALS, code_of, moto
from package_build import build_here, unpack
from terraform_cli import ROOTS, Root, copy_root, find_terraform

_PROVIDER = "hashicorp/aws"
_OPENAI_KEY = "sk-that-stands-in-no-state"
_ADMIN_KEY = "admin-key-that-stands-in-no-state"
_CLOUDS = ("aws", "azure", "gcp")


def _root(into: Path, environ: Mapping[str, str] | None = None) -> Root:
    try:
        return copy_root("aws", into, provider=_PROVIDER, environ=environ)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("cloud", _CLOUDS)
def test_the_files_are_formatted(cloud: str) -> None:
    try:
        program = find_terraform()
    except Missing as missing:
        pytest.skip(str(missing))
    command = [program, "fmt", "-check", "-recursive", "-diff", str(ROOTS / cloud)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("cloud", _CLOUDS)
def test_every_cloud_has_the_same_variables(cloud: str) -> None:
    assert (ROOTS / cloud / "variables.tf").read_bytes() == (ROOTS / "aws" / "variables.tf").read_bytes()


@pytest.mark.parametrize("cloud", _CLOUDS)
def test_every_cloud_has_the_same_outputs(cloud: str) -> None:
    outputs = re.findall(r'^output "(\w+)"', (ROOTS / cloud / "outputs.tf").read_text("utf-8"), re.MULTILINE)
    common = ["create_first_key_command", "dashboard_url", "function_name", "logs_url", "openai_base_url", "url"]
    assert [name for name in sorted(outputs) if name in common] == common


@pytest.mark.parametrize("cloud", _CLOUDS)
def test_every_variable_is_typed_and_described(cloud: str) -> None:
    for file in (ROOTS / cloud).glob("variables*.tf"):
        blocks = re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', file.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        assert blocks, file
        for name, block in blocks:
            assert re.search(r"^  type +=", block, re.MULTILINE), name
            assert re.search(r"^  description +=", block, re.MULTILINE), name


def test_the_example_sets_what_can_be_set() -> None:
    variables = (ROOTS / "aws" / "variables.tf").read_text("utf-8")
    known = re.findall(r'^variable "(\w+)" \{', variables, re.MULTILINE)
    example = (ROOTS / "example.tfvars").read_text("utf-8")
    assert set(re.findall(r"^(?:# )?(\w+) += ", example, re.MULTILINE)) <= set(known)


@pytest.mark.slow
def test_its_own_tests_pass(tmp_path: Path) -> None:
    root = _root(tmp_path)
    root.run("validate")
    said = root.run("test").stdout
    assert re.search(r"Success! \d+ passed, 0 failed\.", said), said


@dataclass
class Deployed:
    """The root as it is applied to moto, and what is seen of it from outside."""

    root: Root
    aws_url: str
    package: Path

    @contextlib.contextmanager
    def client(self, service: str) -> Iterator[Any]:
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        client = boto3.Session(region_name=REGION, **keys).client(service, endpoint_url=self.aws_url)
        with contextlib.closing(client):
            yield client

    def variables(self) -> dict[str, str]:
        with self.client("lambda") as client:
            answer = client.get_function_configuration(FunctionName="trefoil", Qualifier="live")
        variables: dict[str, str] = answer["Environment"]["Variables"]
        return variables


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("terraform_aws")
    secrets = {"TF_VAR_openai_api_key": _OPENAI_KEY, "TF_VAR_admin_key": _ADMIN_KEY}
    root = _root(folder, secrets)
    # Without its description: the root would refuse what is built for this machine's Python.
    package = build_here("aws", folder / "build").rename(folder / "aws.zip")
    with moto() as url, running() as upstream:
        given = {
            "account": ACCOUNT,
            "endpoint": url,
            "environment": json.dumps({"TREFOIL_UPSTREAM_URL": f"{upstream}/v1"}),
            "package_path": str(package),
            "region": REGION,
        }
        root.variables.extend(f"-var={name}={value}" for name, value in given.items())
        root.run("apply", "-input=false", "-auto-approve")
        yield Deployed(root, url, package)


@pytest.mark.slow
class TestDeployment:
    """In this order: the last one takes it away."""

    def test_a_second_plan_is_empty(self, deployed: Deployed) -> None:
        deployed.root.run("plan", "-input=false", "-detailed-exitcode")

    def test_the_function_is_the_package(self, deployed: Deployed) -> None:
        with deployed.client("lambda") as client:
            found = client.get_function_configuration(FunctionName="trefoil", Qualifier="live")
        digest = hashlib.sha256(deployed.package.read_bytes()).digest()
        assert found["CodeSha256"] == base64.b64encode(digest).decode()

    def test_its_variables_are_those_that_the_code_reads(self, deployed: Deployed) -> None:
        names = deployed.variables().keys()
        assert names == {"AWS_LAMBDA_EXEC_WRAPPER", "TREFOIL_SECRET", "TREFOIL_STORE", "TREFOIL_UPSTREAM_URL"}
        ours = {name for name in names if name.startswith("TREFOIL_")}
        assert ours <= {*ENVIRONMENT, secretsmanager_secrets.VARIABLE}

    def test_the_table_is_the_stores(self, deployed: Deployed) -> None:
        with deployed.client("dynamodb") as client:
            table = client.describe_table(TableName="trefoil")["Table"]
            ttl = client.describe_time_to_live(TableName="trefoil")["TimeToLiveDescription"]
        assert {key["AttributeName"]: key["KeyType"] for key in table["KeySchema"]} == {"pk": "HASH", "sk": "RANGE"}
        assert ttl == {"AttributeName": dynamodb_item.EXPIRES_AT, "TimeToLiveStatus": "ENABLED"}

    def test_the_role_may_use_what_is_its_own_and_nothing_else(self, deployed: Deployed) -> None:
        with deployed.client("iam") as client:
            policies = client.list_role_policies(RoleName="trefoil-function")["PolicyNames"]
            attached = client.list_attached_role_policies(RoleName="trefoil-function")["AttachedPolicies"]
            policy = client.get_role_policy(RoleName="trefoil-function", PolicyName="function")["PolicyDocument"]
        assert (policies, attached) == (["function"], [])
        place = f"{REGION}:{ACCOUNT}"
        assert {statement["Sid"]: statement["Resource"] for statement in policy["Statement"]} == {
            "Store": f"arn:aws:dynamodb:{place}:table/trefoil",
            "Secret": deployed.variables()["TREFOIL_SECRET"],
            "Logs": f"arn:aws:logs:{place}:log-group:/aws/lambda/trefoil:*",
        }
        actions = {action for statement in policy["Statement"] for action in _listed(statement["Action"])}
        verbs = ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query")
        logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
        assert actions == {f"dynamodb:{verb}" for verb in verbs} | {"secretsmanager:GetSecretValue"} | logs
        assert {statement["Effect"] for statement in policy["Statement"]} == {"Allow"}

    def test_anybody_may_call_its_url_and_only_by_its_url(self, deployed: Deployed) -> None:
        with deployed.client("lambda") as client:
            policy = json.loads(client.get_policy(FunctionName="trefoil")["Policy"])
        said = {statement["Action"]: statement for statement in policy["Statement"]}
        assert said.keys() == {"lambda:InvokeFunction", "lambda:InvokeFunctionUrl"}
        assert said["lambda:InvokeFunction"]["InvokedViaFunctionUrl"] is True
        assert said["lambda:InvokeFunctionUrl"]["FunctionUrlAuthType"] == "NONE"

    def test_new_secrets_reach_the_function_and_no_file(self, deployed: Deployed, tmp_path: Path) -> None:
        plan = tmp_path / "plan"
        deployed.root.run("plan", "-input=false", f"-out={plan}", "-var=secrets_version=2")
        shown = deployed.root.run("show", "-json", str(plan)).stdout
        changes = {change["address"]: change["change"]["actions"] for change in json.loads(shown)["resource_changes"]}
        assert {address for address, actions in changes.items() if actions != ["no-op"]} == {
            "aws_lambda_alias.live",
            "aws_lambda_function.gateway",
            "aws_secretsmanager_secret_version.environment",
        }
        shown += deployed.root.run("output", "-json").stdout + json.dumps(deployed.variables())
        files = [file for file in (plan, *deployed.root.folder.rglob("*")) if file.is_file() and not file.is_symlink()]
        assert any(file.suffix == ".tfstate" for file in files)
        for secret in (_OPENAI_KEY, _ADMIN_KEY):
            assert secret not in shown
            assert [file for file in files if secret.encode() in file.read_bytes()] == []

    def test_what_was_deployed_streams_a_chat(self, deployed: Deployed, tmp_path: Path) -> None:
        task_root = unpack(code_of(deployed.aws_url, "trefoil", tmp_path / "code.zip"), tmp_path / "task")
        environ = {**CREDENTIALS, **deployed.variables(), "AWS_ENDPOINT_URL": deployed.aws_url}
        del environ["AWS_LAMBDA_EXEC_WRAPPER"]  # the emulator starts `run` as Lambda does for it
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            with emulator(task_root, tmp_path / "log.txt") as running_function:
                url = f"http://127.0.0.1:{running_function.port}"
                key = _first_key(deployed.root.output()["create_first_key_command"], deployed.root.output()["url"], url)
                with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
                    messages: Any = [{"role": "user", "content": "hello"}]
                    chunks = list(client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True))
        assert len(chunks) > 2, (tmp_path / "log.txt").read_text("utf-8")
        with deployed.client("dynamodb") as client:
            assert client.scan(TableName="trefoil")["Count"] > 0

    def test_a_rest_api_can_take_the_place_of_the_url(self, deployed: Deployed) -> None:
        with deployed.client("wafv2") as client:
            metrics = {"SampledRequestsEnabled": False, "CloudWatchMetricsEnabled": False, "MetricName": "filter"}
            wanted = {"Name": "filter", "Scope": "REGIONAL", "DefaultAction": {"Allow": {}}}
            web_acl = client.create_web_acl(**wanted, VisibilityConfig=metrics)["Summary"]["ARN"]
        with deployed.client("acm") as client:
            certificate = client.request_certificate(DomainName="llm.example.com")["CertificateArn"]
        rest_api = {"web_acl_arn": web_acl, "domain_name": "llm.example.com", "certificate_arn": certificate}
        deployed.root.variables.extend([f"-var=rest_api={json.dumps(rest_api)}", "-var=function_url=false"])
        deployed.root.run("apply", "-input=false", "-auto-approve")
        deployed.root.run("plan", "-input=false", "-detailed-exitcode")

        assert deployed.root.output()["openai_base_url"] == "https://llm.example.com/v1"
        with deployed.client("apigateway") as client:
            [api] = client.get_rest_apis()["items"]
            [stage] = client.get_stages(restApiId=api["id"])["item"]
            [mapping] = client.get_base_path_mappings(domainName="llm.example.com")["items"]
            resources = client.get_resources(restApiId=api["id"], embed=["methods"])["items"]
        assert (mapping["restApiId"], mapping["stage"], mapping["basePath"]) == (api["id"], "live", "(none)")
        assert stage["webAclArn"] == web_acl
        assert stage["methodSettings"]["*/*"]["throttlingRateLimit"] == 100
        assert {resource["path"] for resource in resources} == {"/", "/{proxy+}"}
        with deployed.client("lambda") as client:
            alias = client.get_alias(FunctionName="trefoil", Name="live")["AliasArn"]
            policy = json.loads(client.get_policy(FunctionName="trefoil", Qualifier="live")["Policy"])
        uris = {
            method["methodIntegration"]["uri"]
            for resource in resources
            for method in resource["resourceMethods"].values()
        }
        functions = f"arn:aws:apigateway:{REGION}:lambda:path/2021-11-15/functions"
        assert uris == {f"{functions}/{alias}/response-streaming-invocations"}
        [statement] = [one for one in policy["Statement"] if one["Principal"] != "*"]
        assert (statement["Action"], statement["Principal"]) == (
            "lambda:InvokeFunction",
            {"Service": "apigateway.amazonaws.com"},
        )
        [source] = statement["Condition"]["ArnLike"].values()
        assert re.fullmatch(rf"arn:aws:execute-api:{REGION}:\d*:{api['id']}/live/\*", source)

    def test_it_is_taken_away_again(self, deployed: Deployed) -> None:
        deployed.package.unlink()
        forgetful = {name: value for name, value in deployed.root.environ.items() if not name.startswith("TF_VAR_")}
        replace(deployed.root, environ=forgetful).run("destroy", "-input=false", "-auto-approve")
        assert "values" not in json.loads(deployed.root.run("show", "-json").stdout)
        with deployed.client("dynamodb") as client:
            assert client.list_tables()["TableNames"] == []
        with deployed.client("secretsmanager") as client:
            assert client.list_secrets()["SecretList"] == []
        with deployed.client("lambda") as client:
            assert client.list_functions()["Functions"] == []
        with deployed.client("apigateway") as client:
            assert (client.get_rest_apis()["items"], client.get_domain_names()["items"]) == ([], [])


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _first_key(command: str, url: str, here: str) -> str:
    """The key that the output's command makes, at the address where the function runs in this test."""
    assert command.count(url) == 2
    environ = {**os.environ, "TF_VAR_admin_key": _ADMIN_KEY}
    said = subprocess.run(
        command.replace(url, here), shell=True, env=environ, capture_output=True, text=True, check=True
    )
    found = re.search(r'"(tfl_[^"]+)"', said.stdout)
    assert found, said.stdout
    return found[1]
