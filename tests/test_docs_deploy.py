"""docs/deploy.md: its commands and names exist, its snippets are valid, its prices are computed anew."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import deploy_costs as costs
from core import command_line
from core.settings import ENVIRONMENT, Settings
from local.staging import REPOSITORY
from missing import Missing
from terraform_cli import ROOTS, find_terraform

_PAGE = (REPOSITORY / "docs" / "deploy.md").read_text("utf-8")
_MAKEFILE = (REPOSITORY / "Makefile").read_text("utf-8")
_CLOUDS = ("aws", "azure", "gcp")
_CALLED = {"AWS": "aws", "Azure": "azure", "Google Cloud": "gcp"}
_TIMES = "\N{MULTIPLICATION SIGN}"
_SHELL = "\n".join(re.sub(r"^ {3}", "", block, flags=re.MULTILINE)
                   for block in re.findall(r"^ *```sh\n(.*?)^ *```", _PAGE, re.MULTILINE | re.DOTALL))  # fmt: skip
_SNIPPETS = re.findall(r"<!-- tfvars: ([a-z ]+) -->\n```hcl\n(.*?)```", _PAGE, re.DOTALL)
_BACKENDS = dict(re.findall(r"<!-- backend: ([a-z]+) -->\n```hcl\n(.*?)```", _PAGE, re.DOTALL))


def _variables(cloud: str) -> dict[str, str]:
    """The blocks of a root's variables by their names."""
    text = "".join(file.read_text("utf-8") for file in (ROOTS / cloud).glob("variables*.tf"))
    return dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL))


def _outputs(cloud: str) -> set[str]:
    return set(re.findall(r'^output "(\w+)"', (ROOTS / cloud / "outputs.tf").read_text("utf-8"), re.MULTILINE))


def _default(variable: str) -> str:
    """As variables.tf has it; it is the same for all clouds."""
    [value] = re.findall(r"^  default +=(?: )(.*)$", _variables("aws")[variable], re.MULTILINE)
    return str(value)


def _table(first_cell: str) -> dict[str, list[str]]:
    """The rows of the page's table whose heading begins so, by their first cell."""
    [text] = re.findall(rf"^\| {re.escape(first_cell)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", _PAGE, re.MULTILINE)
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines()]
    return {name: cells for name, *cells in rows}


def _section(heading: str) -> str:
    [text] = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", _PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def _terraform() -> str:
    try:
        return find_terraform()
    except Missing as missing:
        pytest.skip(str(missing))


# Commands and names ---------------------------------------------------------------------------------------------------


def test_the_commands_are_a_shell_s() -> None:
    done = subprocess.run(["bash", "-n"], input=_SHELL, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_each_target_is_one_of_make_s() -> None:
    lines = re.findall(r"\bmake ([a-z]+)((?: [A-Z]+=[\w./-]+)*)", _SHELL)
    targets = {target for target, _ in lines}
    assert targets == {"deploy", "destroy"}
    for target, options in lines:
        assert re.search(rf"^{target}:.*##", _MAKEFILE, re.MULTILINE), target
        assert dict(option.split("=") for option in options.split()).keys() == {"CLOUD", "VARS"}
    assert {cloud for _, options in lines for cloud in re.findall(r"CLOUD=(\w+)", options)} == set(_CLOUDS)
    for option in ("CLOUD", "VARS"):
        assert f"$({option})" in _MAKEFILE


def test_each_output_is_the_root_s() -> None:
    asked = re.findall(r"terraform -chdir=terraform/(\w+) output(?: -raw)? (\w+)", _SHELL)
    assert len(asked) >= 8
    for cloud, output in asked:
        assert output in _outputs(cloud), (cloud, output)


def test_what_is_called_a_variable_or_an_output_is_one() -> None:
    known = {name for cloud in _CLOUDS for name in (*_variables(cloud), *_outputs(cloud))}
    said = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)(?: = [^`]+)?`", _PAGE))
    assert said - known == {"api_key_env"}
    assert {"max_instances", "secrets_version", "deletion_protection", "rest_api"} <= said


def test_each_secret_has_a_variable() -> None:
    names = set(re.findall(r"TF_VAR_(\w+)", _PAGE))
    assert names == {"openai_api_key", "admin_key", "extra_secrets"}
    for cloud in _CLOUDS:
        for name in names:
            assert "ephemeral   = true" in _variables(cloud)[name]
    assert set(re.findall(r"TREFOIL_\w+", _PAGE)) <= {*ENVIRONMENT, "TREFOIL_URL"}


def test_each_command_of_the_operator_is_one() -> None:
    lines = re.findall(r"^\.venv/bin/python -m core (.+)$", _SHELL, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        command_line.parse(shlex.split(line))


def test_each_file_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", _PAGE)
    assert len(links) > 20
    for link in links:
        assert link.startswith("https://") or (REPOSITORY / "docs" / link).exists(), link
    for file in set(re.findall(r"\bterraform/[\w./]+\.(?:py|tfvars)", _SHELL)):
        assert (REPOSITORY / file).is_file(), file


def test_each_place_on_the_page_is_there() -> None:
    headings = {_anchor(heading) for heading in re.findall(r"^#+ (.+)$", _PAGE, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", _PAGE)) <= headings


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def test_one_can_go_back_on_azure_to_what_deploy_keeps() -> None:
    [kept] = set(re.findall(r"build/azure\.\w+\.zip", _SHELL))
    assert kept.replace("azure", "$cloud") in (ROOTS / "deploy.sh").read_text("utf-8")


def test_one_can_go_back_on_aws_by_the_alias() -> None:
    [alias] = re.findall(r"update-alias .*--name (\w+)", _SHELL)
    text = (ROOTS / "aws" / "function.tf").read_text("utf-8")
    assert re.search(rf'resource "aws_lambda_alias" "\w+" \{{\n  name +="? ?"{alias}"', text)
    assert "publish          = true" in text


def test_google_keeps_as_many_images_as_the_page_says() -> None:
    [count] = re.findall(r"keep_count = (\d+)", (ROOTS / "gcp" / "build.tf").read_text("utf-8"))
    assert f"the latest {['', '', '', '', '', 'five'][int(count)]} have their image kept" in _PAGE


def test_the_policy_covers_what_is_made() -> None:
    policy = json.loads(re.findall(r"<!-- aws-policy -->\n```json\n(.*?)```", _PAGE, re.DOTALL)[0])
    granted = {action.partition(":")[0] for statement in policy["Statement"] for action in statement["Action"]}
    files = [file.read_text("utf-8") for file in (ROOTS / "aws").glob("*.tf") if file.name != "rest_api.tf"]
    kinds = set(re.findall(r'^resource "aws_([a-z]+)_', "\n".join(files), re.MULTILINE))
    called = {"cloudwatch": {"cloudwatch", "logs"}}
    assert granted == {service for kind in kinds for service in called.get(kind, {kind})}


# Snippets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cloud", "snippet"),
    [(cloud, snippet) for clouds, snippet in _SNIPPETS for cloud in clouds.split()]
    + [(cloud, (ROOTS / "example.tfvars").read_text("utf-8")) for cloud in _CLOUDS],
)
def test_a_file_of_variables_is_taken(cloud: str, snippet: str, tmp_path: Path) -> None:
    names = set(re.findall(r"^(\w+) +=", snippet, re.MULTILINE))
    assert names <= _variables(cloud).keys()
    program = _terraform()
    for file in (ROOTS / cloud).glob("variables*.tf"):
        shutil.copy(file, tmp_path)
    (tmp_path / "page.tfvars").write_text(snippet, "utf-8")
    for command in (["init", "-input=false"], ["plan", "-input=false", "-var-file=page.tfvars"]):
        done = subprocess.run(
            [program, f"-chdir={tmp_path}", *command, "-no-color"], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout


@pytest.mark.parametrize("cloud", _CLOUDS)
def test_a_backend_is_valid(cloud: str, tmp_path: Path) -> None:
    program = _terraform()
    (tmp_path / "backend.tf").write_text(_BACKENDS[cloud], "utf-8")
    for command in (["fmt", "-check"], ["init", "-backend=false"], ["validate"]):
        done = subprocess.run(
            [program, f"-chdir={tmp_path}", *command, "-no-color"], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


# Numbers --------------------------------------------------------------------------------------------------------------


def test_the_page_s_sums_are_right() -> None:
    sums = re.findall(rf"`([+/{_TIMES}\d., ]+)` = \$?(\d[\d,]*(?:\.\d+)?)", _PAGE)
    assert len(sums) >= 20
    for terms, result in sums:
        decimals = len(result.partition(".")[2])
        value = sum(_product(term) for term in re.sub(r"[, ]", "", terms).split("+"))
        assert float(result.replace(",", "")) == pytest.approx(value, abs=0.5 * 10**-decimals + 1e-9), terms


def _product(term: str) -> float:
    first, *others = re.split(rf"([{_TIMES}/])", term)
    product = float(first)
    for sign, factor in zip(others[::2], others[1::2], strict=True):
        product = product * float(factor) if sign == _TIMES else product / float(factor)
    return product


def test_the_prices_are_those_of_the_constants() -> None:
    prices = _table("price")
    assert prices["a million GB-seconds"] == [
        f"${costs.AWS_GB_SECOND_USD * 1e6:.4f}",
        f"${costs.AZURE_GB_SECOND_USD * 1e6:.2f}",
        f"${costs.GOOGLE_GB_SECOND_USD * 1e6:.2f}",
    ]
    assert prices["a million vCPU-seconds"][2] == f"${costs.GOOGLE_VCPU_SECOND_USD * 1e6:.2f}"
    assert prices["a million requests"] == [
        f"${price:.2f}"
        for price in (
            costs.AWS_REQUESTS_USD_PER_MILLION,
            costs.AZURE_REQUESTS_USD_PER_MILLION,
            costs.GOOGLE_REQUESTS_USD_PER_MILLION,
        )
    ]
    assert prices["a GB of logs"] == [
        f"${price:.2f}" for price in (costs.AWS_LOG_GB_USD, costs.AZURE_LOG_GB_USD, costs.GOOGLE_LOG_GB_USD)
    ]


def test_what_is_paid_while_nothing_is_asked() -> None:
    idle, ready = re.findall(r"\n\| a month \|.*\n.*\n((?:\|.*\n)+)", _section("Idle"))
    for called, cloud in _CALLED.items():
        assert f"| {called} | " in idle
        [said] = re.findall(rf"^\| {called} \|.*?` = \$([\d.]+)", idle, re.MULTILINE)
        assert float(said) == pytest.approx(costs.idle_usd_per_month(cloud))
        [said] = re.findall(rf"^\| {called} \|.*?` = \$([\d.]+)", ready, re.MULTILINE)
        assert said == f"{costs.ready_instance_usd_per_month(cloud):.2f}"


def test_what_is_paid_idle_is_what_is_made() -> None:
    made = {cloud: "".join(f.read_text("utf-8") for f in (ROOTS / cloud).glob("*.tf")) for cloud in _CLOUDS}
    [alarms] = re.findall(r"^  alarms = \{\n(.*?)^  \}", made["aws"], re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^    [\w-]+ += \{", alarms, re.MULTILINE)) == costs.AWS_ALARMS
    assert made["aws"].count('resource "aws_secretsmanager_secret" ') == 1
    assert len(re.findall(r'resource "azurerm_monitor_(?:scheduled_query_rules|metric)_alert', made["azure"])) == 2
    assert made["gcp"].count('resource "google_monitoring_alert_policy"') == 2
    assert len(json.loads(_default("secret_names"))) == costs.GOOGLE_SECRETS
    assert f'available_cpu                    = "{costs.VCPUS}"' in made["gcp"]


def test_what_a_million_requests_cost() -> None:
    table = _table("at a time in an instance")
    assert table == {
        f"{at_a_time}": [_cents(costs.of_a_million(cloud, at_a_time).total) for cloud in _CLOUDS]
        for at_a_time in (1, 4, costs.AT_A_TIME)
    }
    assert f"Of {costs.SECONDS_PER_REQUEST} seconds each, at the default {int(costs.GIGABYTES * 1024)} MB" in _PAGE


def test_the_parts_of_it() -> None:
    text = _section("A million requests")
    for called, cloud in _CALLED.items():
        for at_a_time in (1,) if cloud == "aws" else (1, costs.AT_A_TIME):
            name = called if cloud == "aws" else f"{called}, {at_a_time}"
            [row] = re.findall(rf"^\| {name} \|(.*)\|$", text, re.MULTILINE)
            said = [float(cell.rpartition("$")[2]) for cell in row.split("|")]
            cost = costs.of_a_million(cloud, at_a_time)
            parts = (cost.compute, cost.requests, cost.store, cost.logs)
            assert said == [pytest.approx(part, abs=0.0051) for part in parts]


def test_the_defaults_are_those_of_the_costs_and_the_page() -> None:
    assert (float(_default("memory_mb")) / 1024, int(_default("concurrency"))) == (costs.GIGABYTES, costs.AT_A_TIME)
    said = _limits()
    at_a_time = f"`{_default('max_instances')} {_TIMES} {_default('concurrency')}` = "
    assert all(cell.startswith(at_a_time) for cell in said["requests at a time in all, by default"])
    concurrency = said["requests at a time in an instance (`concurrency`)"]
    assert concurrency == ["1", _default("concurrency"), _default("concurrency")]
    assert said["of this deployment (`timeout_seconds`, 30 to 900)"] == [f"{_default('timeout_seconds')} s"] * 3
    assert "var.timeout_seconds >= 30 && var.timeout_seconds <= 900" in _variables("aws")["timeout_seconds"]
    body_bytes = Settings.load({"OPENAI_API_KEY": "k"}).limits.body_bytes
    assert all(cell.startswith(f"{body_bytes // 2**20} MiB") for cell in said["of Trefoil (`limits.body_bytes`)"])
    for cloud in ("azure", "gcp"):
        assert "coalesce(var.max_instances, 100)" in (ROOTS / cloud / "function.tf").read_text("utf-8")


def _limits() -> dict[str, list[str]]:
    rows = [row.strip("|").split("|") for row in re.findall(r"^\|.*\|$", _section("Limits side by side"), re.MULTILINE)]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in rows}


def _cents(usd: float) -> str:
    """Rounded up to the cent."""
    return f"${math.ceil(round(usd * 100, 6)) / 100:,.2f}"
