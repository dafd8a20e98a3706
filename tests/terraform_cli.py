"""Terraform as the tests run it: the real program, in a copy of one of the roots."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.staging import REPOSITORY
from missing import Missing

ROOTS = REPOSITORY / "terraform"

_USUAL_MIRRORS = ("~/.terraform.d/plugins", "/usr/local/share", "/usr/share", "/opt")
_NO_TERRAFORM = "needs Terraform 1.11 or later: https://developer.hashicorp.com/terraform/install"
_NO_PROVIDER = (
    "needs the Terraform provider {provider}: a network on which `terraform init` finds it, or TERRAFORM_PLUGIN_MIRROR "
    "set to a folder that `terraform providers mirror` made"
)


@dataclass(frozen=True)
class Root:
    """A copy of terraform/<cloud>, so that what Terraform writes there is gone with the test's folder."""

    folder: Path
    environ: Mapping[str, str]
    variables: list[str] = field(default_factory=list)
    """`-var` options of every command that takes them."""

    def run(self, command: str, *options: str, accept: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        """`terraform command options`; it must end with one of the exit codes of `accept`."""
        takes_variables = command in ("plan", "apply", "destroy", "test")
        line = ["terraform", f"-chdir={self.folder}", command, "-no-color", *options]
        done = subprocess.run(
            [*line, *(self.variables if takes_variables else [])],
            check=False,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode in accept, f"{' '.join(line)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def output(self) -> Mapping[str, Any]:
        """The outputs by their names."""
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json").stdout).items()}


def copy_root(cloud: str, into: Path, *, provider: str, environ: Mapping[str, str] | None = None) -> Root:
    """A copy that `terraform init` has set up.

    Raises:
        Missing: Terraform, or its provider, cannot be had here.
    """
    program = find_terraform()
    assert program
    root = into / "terraform" / cloud
    unwanted = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars")
    shutil.copytree(ROOTS / cloud, root, ignore=unwanted)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    clean |= {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", **(environ or {})}
    mirror = _mirror(provider)
    if "TF_REATTACH_PROVIDERS" in os.environ:  # what a simulator sets
        clean["TF_REATTACH_PROVIDERS"] = os.environ["TF_REATTACH_PROVIDERS"]
    elif mirror:
        clean["TF_CLI_CONFIG_FILE"] = str(_write_config(into / "terraform.rc", mirror, provider))
    made = Root(root, clean)
    if made.run("init", "-input=false", accept=(0,) if mirror else (0, 1)).returncode:
        raise Missing(_NO_PROVIDER.format(provider=provider))
    return made


def find_terraform() -> str:
    """
    Raises:
        Missing: it is not installed.
    """
    program = shutil.which("terraform")
    if program is None:
        raise Missing(_NO_TERRAFORM)
    return program


def _mirror(provider: str) -> Path | None:
    """The folder of providers that holds this one, as `terraform providers mirror` lays it out: HOST/OWNER/NAME."""
    return next((place.parents[len(Path(provider).parts)] for place in _places(provider)), None)


def _places(provider: str) -> Iterator[Path]:
    named = os.environ.get("TERRAFORM_PLUGIN_MIRROR")
    for base in (named,) if named else _USUAL_MIRRORS:
        for depth in ("*", "*/*"):
            yield from sorted(Path(base).expanduser().glob(f"{depth}/{provider}"))


def _write_config(file: Path, mirror: Path, provider: str) -> Path:
    file.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path    = "{mirror}"\n'
        f'    include = ["{provider}"]\n  }}\n  direct {{\n    exclude = ["{provider}"]\n  }}\n}}\n',
        "utf-8",
    )
    return file
