"""Bring a package to the function app that Terraform made: `python3 terraform/azure/push.py build/azure.zip`.

It is how to go back, too: push the package of before. Needed are Python 3.11 and the Azure CLI, logged in. The
provider's `zip_deploy_file` does not work on Flex Consumption, and `az functionapp deployment source config-zip` has
Azure build every Python package anew; this sends the package as it is
(https://learn.microsoft.com/azure/azure-functions/deployment-zip-push).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_PATIENCE_SECONDS = 300
"""For roles that are new: Azure may take minutes to know them everywhere."""
_PAUSE_SECONDS = 2.0
_REQUEST_SECONDS = 300

_FAILED, _SUCCEEDED = 3, 4
"""The states of a deployment that are final."""
_NOT_YET = (403, 404, 409, 429, 502, 503)
"""What Azure answers while the app, or a role, is new, or another deployment is going on."""


class PushError(Exception):
    """The message says what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Azure:
    """Requests in the name of whoever is logged in."""

    token: str

    @classmethod
    def log_in(cls, management: str) -> Azure:
        """
        Raises:
            PushError: there is no Azure CLI, or nobody is logged in.
        """
        command = ["az", "account", "get-access-token", "--resource", f"{management}/"]
        token = _said([*command, "--query", "accessToken", "--output", "tsv"])
        if not token:
            raise PushError(
                "the Azure CLI gave no token: install it (https://aka.ms/installazurecli) and log in with `az login`"
            )
        return cls(token)

    def ask(self, method: str, url: str, body: bytes | None = None, content_type: str = "application/json") -> Answer:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        return _ask(method, url, body, headers)


def _said(command: list[str]) -> str:
    """What the command wrote; empty where it failed or is not there."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - ours
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""


def _ask(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] = MappingProxyType({})) -> Answer:
    """The answer, whatever its status; status 0 where there was none."""
    request = urllib.request.Request(url, body, dict(headers), method=method)  # noqa: S310 - https but in the tests
    try:
        with urllib.request.urlopen(request, timeout=_REQUEST_SECONDS) as answer:  # noqa: S310 - as above
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read())
    except OSError:
        return Answer(0, b"")


@dataclass(frozen=True, slots=True)
class App:
    """The function app, and where Azure is asked about it."""

    id: str
    url: str
    scm: str
    """Its deployment service."""
    management: str

    def refresh_secrets(self, azure: Azure) -> bool:
        """Whether every Key Vault reference gives the app its secret. Unasked, Azure looks once a day."""
        references = f"{self.management}{self.id}/config/configreferences/appsettings"
        azure.ask("POST", f"{references}/refresh?api-version=2022-03-01", b"")
        found = azure.ask("GET", f"{references}?api-version=2022-03-01")
        if found.status != 200 or not isinstance(found.json, dict):
            return False
        states = [reference["properties"]["status"] for reference in found.json["value"]]
        return bool(states) and all(state == "Resolved" for state in states)

    def publish(self, azure: Azure, package: bytes) -> str | None:
        """Upload the package; the deployment's id. None where it is too early."""
        url = f"{self.scm}/api/publish?RemoteBuild=false&Deployer=trefoil"
        answer = azure.ask("POST", url, package, "application/zip")
        if answer.status in (200, 202):
            return answer.json if isinstance(answer.json, str) else "latest"
        if answer.status in _NOT_YET or b"BlobUploadFailed" in answer.body:
            return None
        raise PushError(
            f"Azure refused the package with status {answer.status}: {answer.body[:500].decode(errors='replace')}"
        )

    def is_deployed(self, azure: Azure, deployment: str) -> bool:
        """
        Raises:
            PushError: it failed.
        """
        answer = azure.ask("GET", f"{self.scm}/api/deployments/{deployment}")
        state = answer.json if isinstance(answer.json, dict) else {}
        if state.get("status") == _FAILED:
            raise PushError(f"the deployment failed: {state.get('status_text') or state.get('message')}")
        return bool(state.get("status") == _SUCCEEDED)

    def is_healthy(self) -> bool:
        return _ask("GET", f"{self.url}/healthz").status == 200


def push(
    app: App,
    azure: Azure,
    package: bytes,
    *,
    patience_seconds: float = _PATIENCE_SECONDS,
    pause_seconds: float = _PAUSE_SECONDS,
) -> None:
    """
    Args:
        patience_seconds: for each of the steps.

    Raises:
        PushError: the app does not serve the package.
    """

    def wait(step: str, until: Callable[[], Any], otherwise: str) -> Any:
        print(step, flush=True)
        end = time.monotonic() + patience_seconds
        while not (got := until()):
            if time.monotonic() > end:
                raise PushError(otherwise)
            time.sleep(pause_seconds)
        return got

    wait(
        "secrets: asking for them",
        lambda: app.refresh_secrets(azure),
        "the app cannot read its secrets: look at Settings > Environment variables in Azure's portal",
    )
    deployment = wait(
        f"package: sending {len(package) / 1e6:.1f} MB",
        lambda: app.publish(azure, package),
        "Azure does not take the package: have you the role Website Contributor or Contributor for the app?",
    )
    wait(
        "package: being deployed",
        lambda: app.is_deployed(azure, deployment),
        f"Azure has not finished: look at {app.scm}/api/deployments/{deployment}",
    )
    wait(
        "app: asking for its health",
        app.is_healthy,
        f"{app.url}/healthz does not answer 200: look at the app's logs (`terraform output logs_url`)",
    )


def scm_of(url: str) -> str:
    """`https://NAME.azurewebsites.net` has its deployment service at `https://NAME.scm.azurewebsites.net`."""
    parts = urlsplit(url)
    name, _, rest = parts.netloc.partition(".")
    return urlunsplit((parts.scheme, f"{name}.scm.{rest}", "", "", ""))


def _output(name: str) -> str:
    value = _said(["terraform", f"-chdir={Path(__file__).resolve().parent}", "output", "-raw", name])
    if not value:
        raise PushError("Terraform knows no function app here: `make deploy CLOUD=azure`, or give --id and --url")
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description="Bring a package to the function app, now or back to an older one.")
    parser.add_argument("package", type=Path, help="the zip that `make package CLOUD=azure` built")
    parser.add_argument("--id", help="the app's resource id; by default Terraform's output")
    parser.add_argument("--url", help="where the app answers; by default Terraform's output")
    parser.add_argument("--scm", help="where its deployment service answers; by default it follows from the url")
    parser.add_argument("--management", default="https://management.azure.com", help="of another Azure cloud")
    options = parser.parse_args()
    try:
        url = options.url or _output("url")
        app = App(options.id or _output("function_id"), url, options.scm or scm_of(url), options.management)
        package = options.package.read_bytes()
        push(app, Azure.log_in(app.management), package)
    except PushError as error:
        sys.exit(f"push: {error}")
    except OSError as error:
        sys.exit(f"push: {options.package} cannot be read: {error.strerror}")
    print(f"{app.url} serves {options.package}")


if __name__ == "__main__":
    main()
