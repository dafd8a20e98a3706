"""What `python -m local` runs: the offline upstream, one service per cloud and, if asked for, each cloud's own store,
with the command that starts each.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from local.azure_core_tools import CoreToolsMissing, core_tools
from local.failure import Failure
from local.staging import REPOSITORY, stage

HOST = "127.0.0.1"
CLOUDS = ("aws", "azure", "gcp")
TITLES = {"aws": "AWS Lambda", "azure": "Azure Functions", "gcp": "Google Cloud Functions"}
STORES = {"aws": "dynamodb", "azure": "cosmos", "gcp": "firestore"}
"""The service that emulates each cloud's own store."""
OFFLINE_KEY = "sk-offline-upstream"

_OPERATORS_ACCOUNT = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
_OFFSETS = {"upstream": 0, "aws": 1, "azure": 2, "gcp": 3, "dynamodb": 4, "cosmos": 5, "firestore": 6}
_NEEDED = {
    "upstream": ("uvicorn",),
    "aws": ("uvicorn", "h11"),
    "azure": ("azure.functions", "azurefunctions.extensions.base", "azure_functions_runtime", "uvicorn"),
    "gcp": ("functions_framework", "uvloop", "httptools"),
    "dynamodb": ("boto3", "moto"),
    "cosmos": (),
    "firestore": ("uvicorn", "google.cloud.firestore_v1"),
}


@dataclass(frozen=True, slots=True)
class Service:
    """One process to start, and where it will answer."""

    name: str
    port: int
    command: tuple[str, ...]
    directory: Path
    environ: Mapping[str, str]
    probe: str = "/healthz"
    """The path that answers 200 as soon as the service can be used."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the services of one run share."""

    port_base: int
    state: Path
    """A folder of this run's own, for what the services write."""
    upstream_url: str | None
    """The upstream's base URL; None for the offline one of this run."""
    upstream_key: str
    environ: Mapping[str, str]
    core_tools: bool = False
    """Whether `func` hosts the Azure app."""
    native_stores: bool = False
    """Whether each cloud has its own store's emulator, and not all of them one SQLite file."""
    admin_key: str | None = None
    """What the operator proves to be one with; without it, nobody can."""

    @property
    def is_offline(self) -> bool:
        return self.upstream_url is None

    @property
    def upstream_base_url(self) -> str:
        return self.upstream_url or f"{self.upstream().url}/v1"

    @property
    def store_file(self) -> Path:
        return self.state / "store.sqlite3"

    def port(self, name: str) -> int:
        return self.port_base + _OFFSETS[name]

    def store_environ(self, cloud: str) -> Mapping[str, str]:
        """The variables by which the function of `cloud` finds its store, TREFOIL_STORE first."""
        if not self.native_stores:
            return {"TREFOIL_STORE": f"sqlite:{self.store_file}"}
        from local import native_stores  # noqa: PLC0415 - brings asyncio, for which `--help` need not wait

        return native_stores.variables(cloud, f"http://{HOST}:{self.port(STORES[cloud])}", self.environ)

    def store(self, cloud: str) -> Service:
        """The emulator of the cloud's own store.

        Raises:
            Failure: what it runs with is not installed.
        """
        from local import cosmos_emulator, native_stores  # noqa: PLC0415 - as above

        name, module, options = STORES[cloud], native_stores.MODULES[cloud], native_stores.OPTIONS[cloud]
        if name == "cosmos":
            cosmos_emulator.command(HOST, self.port(name))
        service = self._module(name, module, REPOSITORY, _base(self.environ), *options)
        return replace(service, probe=native_stores.PROBES[cloud])

    def upstream(self) -> Service:
        """The offline upstream."""
        return self._module("upstream", "local.offline_upstream", REPOSITORY, _base(self.environ))

    def cloud(self, name: str) -> Service:
        """
        Raises:
            Failure: what it runs with is not installed.
        """
        folder = stage(name, self.state / "staged" / name)
        if name == "azure" and self.core_tools:
            return self._core_tools(folder)
        environ = self.cloud_environ(name)
        if name == "aws":
            return self._module(name, "local.aws_emulator", REPOSITORY, environ, "--task-root", str(folder))
        if name == "azure":
            return self._module(name, "local.azure_host", REPOSITORY, environ, "--app-dir", str(folder))
        # What Google's buildpack starts; PYTHONPATH stands for its installing `core` as a package.
        environ |= {"PYTHONPATH": str(folder), "XDG_RUNTIME_DIR": str(self.state)}
        return self._module(name, "functions_framework", folder, environ, "--target", "gateway", "--source", "main.py")

    def _core_tools(self, folder: Path) -> Service:
        try:
            tools = core_tools(folder, self.port("azure"), self.cloud_environ("azure"))
        except CoreToolsMissing as error:
            raise Failure(str(error)) from None
        return Service("azure", self.port("azure"), tools.command, tools.cwd, tools.env)

    def cloud_environ(self, name: str) -> dict[str, str]:
        """What the function of the cloud `name` is started with."""
        admin = {"TREFOIL_ADMIN_KEY": self.admin_key} if self.admin_key else {}
        return {
            **_base(self.environ),
            "OPENAI_API_KEY": self.upstream_key,
            "TREFOIL_UPSTREAM_URL": self.upstream_base_url,
            **admin,
            **self.store_environ(name),
        }

    def _module(self, name: str, module: str, directory: Path, environ: Mapping[str, str], *more: str) -> Service:
        for needed in _NEEDED[name]:
            if not _is_installed(needed):
                target = "stores" if name in STORES.values() else "setup"
                raise Failure(f"{name} needs the package '{needed}', which is not installed: run 'make {target}'.")
        command = (sys.executable, "-m", module, "--host", HOST, "--port", str(self.port(name)), *more)
        return Service(name, self.port(name), command, directory, environ)


def _base(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment, less what would lead a service elsewhere than this run means it to go."""
    kept = {name: value for name, value in environ.items() if not name.startswith("OPENAI_")}
    kept |= {name: environ[name] for name in _OPERATORS_ACCOUNT if name in environ}
    if config := environ.get("TREFOIL_CONFIG"):
        kept["TREFOIL_CONFIG"] = os.path.abspath(config)  # the services start in other folders than the caller's
    direct = ",".join(filter(None, (environ.get("no_proxy") or environ.get("NO_PROXY"), HOST, "localhost")))
    kept |= {"NO_PROXY": direct, "no_proxy": direct}
    # UTF-8, because that is what the launcher reads, whatever it may show.
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": os.fspath(REPOSITORY)}


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
