"""The four stores as deployments have them: each with its emulator, opened as its cloud's adapter opens it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cosmos_emulator_process
import firestore_process
from core.ports import Store
from local.cosmos_emulator import CONTAINER, DATABASE, KEY
from local.dynamodb_emulator import REGION
from local.staging import REPOSITORY
from missing import Missing

_TABLE = "trefoil"


@dataclass(frozen=True, slots=True)
class StoreDeployment:
    """One store, as TREFOIL_STORE and the environment name it."""

    name: str
    module: str
    """The adapter's, which opens it."""
    setting: str
    environ: Mapping[str, str]

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        store: Store = importlib.import_module(self.module).open_store(self.setting, self.environ)
        try:
            yield store
        finally:
            close = getattr(store, "aclose", None) or store.close  # type: ignore[attr-defined]
            closing = close()
            if inspect.isawaitable(closing):
                await closing


@contextmanager
def sqlite(folder: Path) -> Iterator[StoreDeployment]:
    yield StoreDeployment("sqlite", "lambda_store", f"sqlite:{folder / 'store.sqlite3'}", {})


@contextmanager
def dynamodb(folder: Path) -> Iterator[StoreDeployment]:
    if importlib.util.find_spec("moto") is None:
        raise Missing("needs the package 'moto[server,dynamodb]'")
    command = [sys.executable, "-m", "local.dynamodb_emulator", "--table", _TABLE]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            environ = {
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ENDPOINT_URL_DYNAMODB": process.stdout.readline().split()[1],
                "NO_PROXY": "127.0.0.1",
            }
            yield StoreDeployment("dynamodb", "lambda_store", f"dynamodb:{_TABLE}", environ)
        finally:
            process.terminate()


@contextmanager
def cosmos(folder: Path) -> Iterator[StoreDeployment]:
    with cosmos_emulator_process.emulator() as url:
        setting = f"cosmos:{url}/{DATABASE}/{CONTAINER}"
        yield StoreDeployment("cosmos", "function_app_store", setting, {"TREFOIL_COSMOS_KEY": KEY})


@contextmanager
def firestore(folder: Path) -> Iterator[StoreDeployment]:
    with firestore_process.running() as emulator:
        environ = {"FIRESTORE_EMULATOR_HOST": emulator.url.removeprefix("http://")}
        yield StoreDeployment("firestore", "run_function_store", "firestore:project", environ)


STORES: Mapping[str, Callable[[Path], AbstractContextManager[StoreDeployment]]] = {
    "sqlite": sqlite,
    "dynamodb": dynamodb,
    "cosmos": cosmos,
    "firestore": firestore,
}
"""How each is started. Raises `Missing` where what its emulator is made of is not installed."""
