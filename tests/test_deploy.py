"""terraform/deploy.sh: what it runs in which order, with stand-ins for Terraform and for the packing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from terraform_cli import ROOTS

_TERRAFORM = """#!/bin/sh
case "$*" in
*" console "*) cat >/dev/null; echo "${SAID:-\\"arm64:trefoil.toml\\"}" ;;
*) echo "terraform $*" >>"$DONE" ;;
esac
"""
_PYTHON = """#!/bin/sh
case "$1" in *package.py) mkdir -p build; echo "$PACKAGE" >"build/$2.zip" ;; esac
echo "python $*" >>"$DONE"
"""


class _Checkout:
    """Copies of what deploy.sh needs, and two programs that only write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for cloud, files in {"azure": ("versions.tf", "push.py"), "gcp": ("versions.tf",)}.items():
            root = folder / "terraform" / cloud
            root.mkdir(parents=True)
            for file in files:
                (root / file).touch()
        shutil.copy(ROOTS / "deploy.sh", folder / "terraform")
        for name, text in {"terraform": _TERRAFORM, "python": _PYTHON}.items():
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(text, "utf-8")
            program.chmod(0o755)
        (folder / "my.tfvars").touch()

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        own = {
            "PATH": f"{self.folder}/bin{os.pathsep}{os.environ['PATH']}",
            "PYTHON": str(self.folder / "bin" / "python"),
            "DONE": str(self.folder / "done.txt"),
            "PACKAGE": "1",
        }
        command = ["sh", "terraform/deploy.sh", *arguments]
        return subprocess.run(command, check=False, cwd=self.folder, env=own | environ, capture_output=True, text=True)

    def done(self) -> list[str]:
        return (self.folder / "done.txt").read_text("utf-8").splitlines()

    def kept(self) -> dict[str, str]:
        return {file.name: file.read_text("utf-8").strip() for file in (self.folder / "build").glob("*.*.zip")}


@pytest.fixture
def checkout(tmp_path: Path) -> _Checkout:
    return _Checkout(tmp_path)


def test_it_packs_by_the_variables_and_applies(checkout: _Checkout) -> None:
    done = checkout.run("apply", "gcp", "my.tfvars", "-compact-warnings", SAID='"x86_64:my own.toml"')
    assert done.returncode == 0, done.stderr
    file = f"-var-file={checkout.folder}/my.tfvars"
    assert checkout.done() == [
        "terraform -chdir=terraform/gcp init -input=false",
        "python terraform/package.py gcp --architecture x86_64 --config my own.toml",
        f"terraform -chdir=terraform/gcp apply -input=false {file} -compact-warnings",
    ]
    assert checkout.kept() == {}


def test_where_terraform_cannot_bring_the_code_the_package_of_before_is_kept(checkout: _Checkout) -> None:
    for package, kept in [
        ("1", {"azure.deployed.zip": "1"}),
        ("2", {"azure.deployed.zip": "2", "azure.before.zip": "1"}),
        ("2", {"azure.deployed.zip": "2", "azure.before.zip": "1"}),
        ("3", {"azure.deployed.zip": "3", "azure.before.zip": "2"}),
    ]:
        done = checkout.run("apply", "azure", "my.tfvars", PACKAGE=package)
        assert done.returncode == 0, done.stderr
        assert checkout.done()[-1] == "python terraform/azure/push.py build/azure.zip"
        assert checkout.kept() == kept


def test_what_it_takes_away_needs_no_package(checkout: _Checkout) -> None:
    done = checkout.run("destroy", "azure", "my.tfvars")
    assert done.returncode == 0, done.stderr
    assert checkout.done() == [
        "terraform -chdir=terraform/azure init -input=false",
        f"terraform -chdir=terraform/azure destroy -var-file={checkout.folder}/my.tfvars",
    ]


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (("apply", "heroku", "my.tfvars"), {}, "there is no cloud 'heroku': write CLOUD=aws"),
        (("apply", "gcp", ""), {}, "there is no file '': write VARS=FILE"),
        (("apply", "gcp", "my.tfvars"), {"SAID": "Error: Invalid value"}, "my.tfvars: Error: Invalid value"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_applied(
    checkout: _Checkout, arguments: tuple[str, ...], environ: dict[str, str], message: str
) -> None:
    done = checkout.run(*arguments, **environ)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (checkout.folder / "build").exists()
