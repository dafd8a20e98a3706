"""The zips: the same from the same, nothing missing, nothing too much; unpacked elsewhere, each streams a chat."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import openai
import pytest

from aws_emulator_process import emulator
from azure_host_process import AzureHost
from local.keys import ensure_keys
from local.offline_upstream import running
from local.running import free_port_base
from local.staging import REPOSITORY
from package_build import build, build_here, unpack

_CLOUDS = ("aws", "azure", "gcp")
_LIBRARIES = ".python_packages/lib/site-packages"
_MOST_BYTES = {"aws": 15_000_000, "azure": 17_000_000, "gcp": 400_000}
"""Beyond which somebody should ask what has come in."""
_UNCHECKED_HASH = (1).to_bytes(4, "little")
"""The flags of bytecode that is used without a look at the source: https://peps.python.org/pep-0552/"""
_PATIENCE_SECONDS = 60

_Serving = Callable[[Path, Mapping[str, str], Path], AbstractContextManager[int]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's configuration and a model that only this one knows, by which it is recognised."""
    file = tmp_path_factory.mktemp("config") / "own.toml"
    alias = '[models."packaged"]\ntargets = [{ upstream = "openai", model = "gpt-4o-mini" }]\n'
    file.write_text((REPOSITORY / "trefoil.toml").read_text("utf-8") + alias, "utf-8")
    return file


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, config: Path) -> Mapping[str, Path]:
    """Each cloud's zip, for this machine."""
    output = tmp_path_factory.mktemp("build")
    build_here("all", output, "--config", str(config))
    return {cloud: output / f"{cloud}.zip" for cloud in _CLOUDS}


def _names(package: Path) -> set[str]:
    with zipfile.ZipFile(package) as archive:
        return set(archive.namelist())


def _core() -> set[str]:
    """What lies in core, data included."""
    files = (file.relative_to(REPOSITORY).as_posix() for file in (REPOSITORY / "core").rglob("*") if file.is_file())
    return {name for name in files if "__pycache__" not in name}


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first = build("gcp", tmp_path / "first")
    umask = os.umask(0o077)
    try:
        second = build("gcp", tmp_path / "second")
    finally:
        os.umask(umask)
    assert first.read_bytes() == second.read_bytes()


def test_google_gets_all_but_the_entry_as_a_wheel(tmp_path: Path) -> None:
    package = build("gcp", tmp_path)
    root = unpack(package, tmp_path / "root")
    (wheel,) = root.glob("trefoil-*.whl")
    own = {file.name for file in (REPOSITORY / "gcp").glob("*.py")} - {"main.py"}
    assert _names(package) == {"main.py", "requirements.txt", wheel.name}
    assert {name for name in _names(wheel) if ".dist-info/" not in name} == _core() | own | {"trefoil.toml"}
    requirements = (root / "requirements.txt").read_text("utf-8")
    assert re.search(rf"^\./{re.escape(wheel.name)} --hash=sha256:\w{{64}}$", requirements, re.MULTILINE)


def test_a_configuration_that_is_none_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[upstreams", "utf-8")
    with pytest.raises(AssertionError, match=r"package: .*wrong\.toml is no configuration"):
        build("gcp", tmp_path, "--config", str(wrong))
    assert not (tmp_path / "gcp.zip").exists()


@pytest.mark.parametrize("cloud", _CLOUDS)
def test_a_lock_names_what_requirements_ask_for(cloud: str) -> None:
    asked = (REPOSITORY / cloud / "requirements.txt").read_text("utf-8")
    locked = (REPOSITORY / cloud / "requirements.lock").read_text("utf-8")
    names = {re.split(r"[<>=\[;]", line)[0] for line in asked.splitlines() if line}
    assert names <= set(re.findall(r"^([\w.-]+)==", locked, re.MULTILINE))
    assert locked.count("==") == len(re.findall(r"== ?[\w.]+ \\\n +--hash=sha256:", locked))


@pytest.mark.slow
class TestPackages:
    @pytest.mark.parametrize("cloud", ["aws", "azure"])
    def test_it_holds_what_the_cloud_uses_and_nothing_else(self, packages: Mapping[str, Path], cloud: str) -> None:
        names = _names(packages[cloud])
        own = {file.name for file in (REPOSITORY / cloud).glob("*.py")}
        extra = {"aws": {"run"}, "azure": {"host.json"}}[cloud]
        assert own | extra | _core() | {"trefoil.toml"} <= names
        foreign = {file.name for other in (*_CLOUDS, "local", "tests") if other != cloud
                   for file in (REPOSITORY / other).glob("*.py")}  # fmt: skip
        assert not names & (foreign - own)
        assert not [name for name in names if name.endswith((".pyi", "/RECORD", "/INSTALLER")) or "boto" in name]

    @pytest.mark.parametrize("cloud", ["aws", "azure"])
    def test_all_of_it_is_compiled(self, packages: Mapping[str, Path], cloud: str) -> None:
        with zipfile.ZipFile(packages[cloud]) as archive:
            names = set(archive.namelist())
            tag = sys.implementation.cache_tag
            for name in (name for name in names if name.endswith(".py")):
                folder, _, file = name.rpartition("/")
                compiled = f"{folder}/__pycache__/{file}c".lstrip("/").replace(".pyc", f".{tag}.pyc")
                assert compiled in names
                assert archive.read(compiled)[4:8] == _UNCHECKED_HASH, compiled

    @pytest.mark.parametrize("cloud", _CLOUDS)
    def test_its_size_is_said_and_is_no_surprise(self, packages: Mapping[str, Path], cloud: str) -> None:
        said = json.loads(packages[cloud].with_suffix(".json").read_text("utf-8"))
        assert said["zip_bytes"] == packages[cloud].stat().st_size < _MOST_BYTES[cloud]
        assert said["files"] == len(_names(packages[cloud]))

    def test_lambda_may_execute_the_wrapper_and_read_the_rest(self, packages: Mapping[str, Path]) -> None:
        with zipfile.ZipFile(packages["aws"]) as archive:
            modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
        assert modes.pop("run") == 0o755
        assert set(modes.values()) == {0o644}

    def test_the_same_inputs_give_the_same_bytes(
        self, packages: Mapping[str, Path], config: Path, tmp_path: Path
    ) -> None:
        again = build_here("aws", tmp_path, "--config", str(config))
        assert again.read_bytes() == packages["aws"].read_bytes()

    def test_any_machine_builds_for_lambdas_own(self, tmp_path: Path) -> None:
        compiled = [name for name in _names(build("aws", tmp_path)) if name.endswith(".so")]
        assert compiled
        for name in compiled:
            assert re.search(r"\.(cpython-313-aarch64-linux-gnu|abi3)\.so$", name), name

    @pytest.mark.parametrize(
        ("cloud", "entry", "libraries"), [("aws", "lambda_function", ""), ("azure", "function_app", _LIBRARIES)]
    )
    def test_it_needs_nothing_but_the_standard_library(
        self, packages: Mapping[str, Path], tmp_path: Path, cloud: str, entry: str, libraries: str
    ) -> None:
        root = unpack(packages[cloud], tmp_path / "root")
        # No site-packages: -S. Azure's worker brings one library of its own, which is not asked for at the import.
        program = f"import sys; sys.path[:0] = [{str(root)!r}, {str(root / libraries)!r}]; import {entry}"
        environ = {"OPENAI_API_KEY": "k", "TREFOIL_STORE": f"sqlite:{tmp_path / 'store.sqlite3'}"}
        command = [sys.executable, "-I", "-S", "-c", program]
        done = subprocess.run(command, check=False, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("cloud", _CLOUDS)
    def test_it_streams_a_chat(self, packages: Mapping[str, Path], tmp_path: Path, cloud: str) -> None:
        root = unpack(packages[cloud], tmp_path / "root")
        store = tmp_path / "store.sqlite3"
        key = asyncio.run(ensure_keys(tmp_path, store)).app_key
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "TREFOIL_"))}
        with running() as upstream:
            settings = {
                "OPENAI_API_KEY": "k",
                "TREFOIL_STORE": f"sqlite:{store}",
                "TREFOIL_UPSTREAM_URL": f"{upstream}/v1",
            }
            with _SERVING[cloud](root, kept | settings, tmp_path) as port:
                model = _model_of_streamed_chat(f"http://127.0.0.1:{port}/v1", key)
        # Only the zip's own configuration knows `packaged`, and only the zip's own core finds that configuration.
        assert model == "gpt-4o-mini"


def _model_of_streamed_chat(base_url: str, key: str) -> str:
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "hello"}]
        chunks = list(client.chat.completions.create(model="packaged", messages=messages, stream=True))
    assert len(chunks) > 2
    return chunks[0].model


@contextmanager
def _aws(root: Path, environ: Mapping[str, str], folder: Path) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        patch.delenv("PYTHONPATH", raising=False)
        with emulator(root, folder / "log.txt") as function:
            yield function.port


@contextmanager
def _azure(root: Path, environ: Mapping[str, str], folder: Path) -> Iterator[int]:
    with AzureHost(root, env={**environ, "PYTHONPATH": str(root / _LIBRARIES)}) as host:
        yield host.port


@contextmanager
def _gcp(root: Path, environ: Mapping[str, str], folder: Path) -> Iterator[int]:
    """What Google's buildpack does: install requirements.txt in its folder, and start the framework there."""
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    subprocess.run([*install, "--target", str(site), "--requirement", "requirements.txt"], cwd=root, check=True)
    port = free_port_base(1)
    command = [sys.executable, "-S", "-m", "functions_framework", "--target", "gateway", "--source", "main.py"]
    variables = {**environ, "PYTHONPATH": str(site), "XDG_RUNTIME_DIR": str(folder), "HOST": "127.0.0.1"}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=root,
            env=variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with process:
        try:
            _wait_until_it_answers(port, process, folder / "log.txt")
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)


_SERVING: Mapping[str, _Serving] = {"aws": _aws, "azure": _azure, "gcp": _gcp}


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
        try:
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            return
        except ConnectionError:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"functions-framework did not start:\n{log.read_text('utf-8')}") from None
            time.sleep(0.1)
        finally:
            connection.close()
