"""Each cloud's runtime on its own cloud's store, as `python -m local --stores native` starts them."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from core import app_keys
from core.kinds import Kind
from core.objects import Objects
from core.ports import App, AppKey, Store
from local import cosmos_emulator
from local.failure import Failure
from local.running import free_port_base
from local.services import CLOUDS, STORES
from local_deployment import LocalDeployment, start

pytestmark = pytest.mark.slow

_PORTS = 7
_MODEL = "gpt-4o-mini;pace=0"
_OPENERS = {"aws": "lambda_store", "azure": "function_app_store", "gcp": "run_function_store"}
_NEEDED = {"dynamodb": "moto", "firestore": "google.cloud.firestore_v1"}


def _missing() -> str | None:
    """Why the emulators cannot run here."""
    try:
        cosmos_emulator.command("127.0.0.1", 0)
    except Failure as failure:
        return str(failure)
    for store, package in _NEEDED.items():
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return f"the {store} emulator needs the package '{package}'"
    return None


_REASON = _missing()
needs_emulators = pytest.mark.skipif(_REASON is not None, reason=_REASON or "")


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDeployment]:
    folder = tmp_path_factory.mktemp("native")
    with LocalDeployment.started(folder, "--stores", "native", "--model", _MODEL) as running:
        yield running


@pytest.fixture
def stores(native: LocalDeployment, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Store]:
    """Every cloud's store, opened as its function opens it."""
    for cloud in CLOUDS:
        for name, value in native.store_variables[cloud].items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return {
        cloud: importlib.import_module(_OPENERS[cloud]).open_store(native.stores[cloud], os.environ) for cloud in CLOUDS
    }


async def _close(stores: Mapping[str, Store]) -> None:
    await stores["aws"].close()  # type: ignore[attr-defined]
    await stores["azure"].close()  # type: ignore[attr-defined]
    await stores["gcp"].aclose()  # type: ignore[attr-defined]


@needs_emulators
def test_they_are_named_in_the_description(native: LocalDeployment) -> None:
    assert {cloud: setting.partition(":")[0] for cloud, setting in native.stores.items()} == STORES
    assert not (native.state / "store.sqlite3").exists()


@needs_emulators
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_cloud_knows_its_apps_and_records_its_objects_in_its_own_store(
    cloud: str, native: LocalDeployment, stores: Mapping[str, Store]
) -> None:
    with openai.OpenAI(base_url=native.base_urls[cloud], api_key=native.app_key, max_retries=0) as client:
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": f"from {cloud}"}]
        plain = client.chat.completions.create(model=_MODEL, messages=messages)
        chunks = client.chat.completions.create(model=_MODEL, messages=messages, stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        response = client.responses.create(model=_MODEL, input="remember this")
        again = client.responses.retrieve(response.id)
    assert plain.choices[0].message.content == streamed
    assert f"from {cloud}" in streamed
    assert again.output_text == response.output_text

    async def look() -> dict[str, bool]:
        """In which stores the app's key is known, and where the object is recorded as the app's own."""
        found = {}
        for name, store in stores.items():
            record = AppKey.model_validate(await store.get(AppKey.key(app_keys.digest(native.app_key))))
            app = App.model_validate(await store.get(App.key(record.app_id)))
            recorded = await Objects(store).all_of(app, Kind.RESPONSE)
            found[name] = response.id in json.dumps(recorded, default=str)
        await _close(stores)
        return found

    assert asyncio.run(look()) == {name: name == cloud for name in CLOUDS}


@needs_emulators
@pytest.mark.parametrize("cloud", CLOUDS)
def test_an_unknown_key_is_refused(cloud: str, native: LocalDeployment) -> None:
    client = openai.OpenAI(base_url=native.base_urls[cloud], api_key=app_keys.generate(), max_retries=0)
    with client, pytest.raises(openai.AuthenticationError):
        client.models.list()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the emulator through /proc, which only Linux has")
@needs_emulators
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_store_that_dies_ends_the_run_with_one_line(cloud: str, tmp_path: Path) -> None:
    with LocalDeployment.started(tmp_path, "--stores", "native", "--model", _MODEL, "--cloud", cloud) as running:
        module = f"local.{STORES[cloud]}_emulator".encode()
        (emulator,) = [
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            if module in _read(folder / "cmdline") and _parent(folder) == running.process.pid
        ]
        os.kill(emulator, signal.SIGKILL)
        assert running.process.wait(30) == 1
    said = running.log.read_text("utf-8")
    assert re.search(rf"^trefoil: {STORES[cloud]} stopped with exit code -9", said, re.MULTILINE)
    assert "Traceback" not in said


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _parent(folder: Path) -> int:
    return int(_read(folder / "stat").rpartition(b")")[2].split()[1])


def test_a_missing_emulator_is_said_before_anything_starts(tmp_path: Path) -> None:
    process = start(
        ["--once", "--stores", "native", "--cloud", "azure", "--state", str(tmp_path / "state")],
        port_base=free_port_base(_PORTS),
        environ={"PATH": str(tmp_path)},
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"^trefoil: the Cosmos DB emulator needs Node.js, which is not installed", output, re.MULTILINE)
    assert "starting" not in output
