"""The rules of the house, which keep the clouds apart and the core free of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import ENVIRONMENT
from local.staging import REPOSITORY, stage

_CLOUDS = ("aws", "azure", "gcp")
_CORE_MAY_IMPORT = {"core", "pydantic", "pydantic_core", *sys.stdlib_module_names}
_MAY_IMPORT_TOO = {  # what openai brings
    "content.py": {"jiter"},
    "cloud_clients.py": {"openai"},
    "http_connection.py": {"httptools"},
    "openai_client.py": {"httpx2"},
    "openai_sdk.py": {"anyio", "openai"},
    "references.py": {"jiter"},
    "tls.py": {"httpx2"},
}


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def _files(folder: str) -> list[Path]:
    return sorted((REPOSITORY / folder).rglob("*.py"))


@pytest.mark.parametrize("file", _files("core"), ids=lambda file: file.name)
def test_core_knows_no_cloud(file: Path) -> None:
    allowed = _CORE_MAY_IMPORT | _MAY_IMPORT_TOO.get(file.name, set())
    assert {name.partition(".")[0] for name in _imports(file)} <= allowed


@pytest.mark.parametrize("cloud", _CLOUDS)
def test_adapters_know_no_openai_and_no_other_cloud(cloud: str) -> None:
    forbidden = {"openai", "local"}
    for file in _files(cloud):
        roots = {name.partition(".")[0] for name in _imports(file)}
        own = {path.stem for other in _CLOUDS if other != cloud for path in _files(other)}
        assert not roots & (forbidden | own), file


def test_only_settings_reads_the_environment() -> None:
    readers = [file.name for file in _files("core") if re.search(r"os\.(environ|getenv)", file.read_text("utf-8"))]
    assert readers == ["__main__.py", "cold_start.py"]  # which hands it over, as the adapters do; which only sets


def test_cloud_folders_are_no_packages_and_share_no_names() -> None:
    names = Counter(file.stem for cloud in _CLOUDS for file in _files(cloud))
    assert "__init__" not in names
    assert [name for name, times in names.items() if times > 1] == []
    assert not set(names) & (sys.stdlib_module_names | {"core", "local"})
    assert not {"core", "functions", "data", "identity", "cosmos"} & {file.stem for file in _files("azure")}


def test_tests_are_no_package() -> None:
    assert list((REPOSITORY / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("cloud", _CLOUDS)
def test_requirements_are_those_of_the_project(cloud: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    expected = {*project["dependencies"], *project["optional-dependencies"][cloud]}
    lines = (REPOSITORY / cloud / "requirements.txt").read_text("utf-8").split("\n")
    given = {line for line in lines if line and not line.startswith("#")}
    assert given == {requirement.partition(";")[0].strip() for requirement in expected}


@pytest.mark.parametrize("cloud", _CLOUDS)
def test_a_staged_folder_holds_what_its_zip_will(cloud: str, tmp_path: Path) -> None:
    folder = stage(cloud, tmp_path / cloud)
    own = {file.name for file in (REPOSITORY / cloud).iterdir()} - {"__pycache__"}
    assert {file.name for file in folder.iterdir()} == own | {"core", "trefoil.toml"}
    assert (folder / "core" / "gateway.py").is_file()


def test_importing_core_starts_nothing() -> None:
    """No thread, no event loop, no connection at import: Google's framework imports before it forks."""
    program = (
        "import sys, threading, asyncio, core.gateway, core.asgi, core.sqlite_store\n"
        "assert threading.active_count() == 1\n"
        "assert asyncio.events._get_running_loop() is None\n"
        "core.gateway.Settings.load({'OPENAI_API_KEY': 'sk-any'})\n"
        "assert not {'boto3', 'azure', 'flask', 'starlette', 'aiohttp'} & set(sys.modules)\n"
        "assert not {'core.cloud_upstreams', 'core.cloud_clients', 'core.cloud_identity'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_the_readme_names_every_variable() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert [name for name in (*ENVIRONMENT, "TREFOIL_CONFIG") if f"`{name}`" not in readme] == []
