"""A Terraform root on a simulated cloud: the real Terraform, with terraform-sim's providers instead of the cloud's own.

TERRAFORM_SIM names its launcher. What it creates is a folder of files, which tests read as they would ask the cloud.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.staging import REPOSITORY
from missing import Missing
from terraform_cli import copy_root, find_terraform

OPENAI_API_KEY = "sk-canary-of-the-openai-key"
ADMIN_KEY = "canary-of-the-admin-key-0123456789abcdef"
SECRETS = {"TF_VAR_openai_api_key": OPENAI_API_KEY, "TF_VAR_admin_key": ADMIN_KEY}

_SKIPPED = "needs a simulated cloud: set TERRAFORM_SIM to the launcher of terraform-sim"


@dataclass(frozen=True, slots=True)
class SimulatedTerraform:
    """A copy of terraform/<cloud>, and the simulated cloud that it makes."""

    launcher: str
    cloud: str
    root: Path
    made: Path
    """Everything that was created, a file each."""
    variables: Sequence[str]
    """`-var` options."""

    @classmethod
    def of(cls, cloud: str, folder: Path, **variables: object) -> SimulatedTerraform:
        """A copy in `folder` that `terraform init` has set up, with nothing created.

        Raises:
            Missing: there is no Terraform, or no simulated cloud.
        """
        find_terraform()
        launcher = os.environ.get("TERRAFORM_SIM", "")
        if not launcher:
            raise Missing(_SKIPPED)
        root = folder / "terraform" / cloud
        unwanted = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars")
        shutil.copytree(REPOSITORY / "terraform" / cloud, root, ignore=unwanted)
        said = {name: value if isinstance(value, str) else json.dumps(value) for name, value in variables.items()}
        options = [f"-var={name}={value}" for name, value in said.items()]
        made = cls(launcher, cloud, root, folder / "made", options)
        made.run("init", "-input=false")
        return made

    def run(self, command: str, *options: str, expect: int = 0, environ: Mapping[str, str] = SECRETS) -> str:
        """What `terraform command` writes; it must end with the exit code `expect`."""
        words = [self.launcher, "--cloud", self.cloud, "--cloud-dir", str(self.made), "--quiet", "--"]
        words += ["terraform", f"-chdir={self.root}", command, "-no-color", *options]
        if command in ("plan", "apply", "destroy"):
            words += ["-input=false", *self.variables]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            words, env={**clean, **environ}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == expect, f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def outputs(self) -> dict[str, str]:
        state = json.loads((self.root / "terraform.tfstate").read_text("utf-8"))
        return {name: output["value"] for name, output in state["outputs"].items()}

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The attributes of everything of one resource type that is there now."""
        files = sorted((self.made / kind).glob("*.json"))
        return [{"id": said["id"], **said["attributes"]} for said in (json.loads(file.read_text()) for file in files)]

    def one(self, kind: str) -> dict[str, Any]:
        (found,) = self.all(kind)
        return found

    def files_with(self, text: str) -> list[Path]:
        """Where this text stands: in the state, in what was created, in what Terraform keeps."""
        places = [file for folder in (self.root, self.made) for file in folder.rglob("*") if file.is_file()]
        return [place for place in places if text.encode() in place.read_bytes()]


def own_tests(cloud: str, folder: Path, provider: str) -> str:
    """What `terraform test` says of a root: on the simulated provider, or, without a simulator, on the real one.

    Raises:
        Missing: neither can be had here.
    """
    if os.environ.get("TERRAFORM_SIM"):
        return SimulatedTerraform.of(cloud, folder).run("test", environ={})
    return copy_root(cloud, folder, provider=provider).run("test").stdout
