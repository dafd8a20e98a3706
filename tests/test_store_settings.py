"""TREFOIL_STORE on each cloud: what it opens, what it refuses, and what it costs a start."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cosmos_credential
from core.errors import ConfigurationError
from core.sqlite_store import SqliteStore
from cosmos_store import CosmosStore
from firestore_store import FirestoreStore
from local.staging import REPOSITORY

_KEY = "c2VjcmV0"
_IDENTITY = {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/token", "IDENTITY_HEADER": "secret-header"}
_ACCOUNT = "cosmos:https://trefoil.documents.azure.com/db/items"
_ROLE = {"AWS_ACCESS_KEY_ID": "a-role-s", "AWS_SECRET_ACCESS_KEY": "secret"}
"""Without credentials in its environment, the store would search for some with botocore."""
_MODULES = {"aws": "lambda_store", "azure": "function_app_store", "gcp": "run_function_store"}
_ENTRIES = {"aws": "lambda_function", "azure": "function_app", "gcp": "main"}


def _open(cloud: str, setting: str, **environ: str) -> Any:
    return importlib.import_module(_MODULES[cloud]).open_store(setting, environ)


def _called(rest: Any) -> tuple[str, str, int]:
    """Scheme, host and port of the service that a store calls."""
    http = rest._client._http
    return "https" if http._tls else "http", http._host, http._port


@pytest.mark.parametrize("cloud", _MODULES)
def test_the_embedded_store_is_there_on_every_cloud(cloud: str, tmp_path: Path) -> None:
    store = _open(cloud, f"sqlite:{tmp_path}/a:b.sqlite3")
    assert isinstance(store, SqliteStore)
    assert store._path == tmp_path / "a:b.sqlite3"


def test_dynamodb_lies_in_the_function_s_region() -> None:
    regions = {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "us-east-1"}
    store = _open("aws", "dynamodb:trefoil-prod", **regions, **_ROLE)
    assert store._table._name == "trefoil-prod"
    assert store._table._service._region == "eu-central-1"
    assert store._table._service._url == "https://dynamodb.eu-central-1.amazonaws.com"


def test_dynamodb_s_emulator_is_named_by_amazon_s_own_variable() -> None:
    place = {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1"}
    assert _open("aws", "dynamodb:trefoil", **place, **_ROLE)._table._service._url == "http://127.0.0.1:1"


@pytest.mark.parametrize("client_id", ["", "0000-1111"])
def test_cosmos_db_is_opened_with_the_managed_identity(client_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def of_function_app(endpoint: str, header: str, **more: object) -> str:
        asked.update(more, endpoint=endpoint, header=header)
        return "credential"

    monkeypatch.setattr(cosmos_credential.ManagedIdentity, "of_function_app", of_function_app)
    store = _open("azure", _ACCOUNT, **_IDENTITY, AZURE_CLIENT_ID=client_id)
    assert isinstance(store, CosmosStore)
    rest = store._container._rest
    assert (_called(rest), rest._link) == (("https", "trefoil.documents.azure.com", 443), "dbs/db/colls/items")
    assert rest._credential == "credential"  # type: ignore[comparison-overlap]
    assert asked == {
        "endpoint": _IDENTITY["IDENTITY_ENDPOINT"],
        "header": "secret-header",
        "account": "https://trefoil.documents.azure.com",
        "client_id": client_id or None,
    }


def test_cosmos_db_s_emulator_is_opened_with_a_key() -> None:
    store = _open("azure", "cosmos:http://127.0.0.1:8081/db/items", TREFOIL_COSMOS_KEY=_KEY)
    assert _called(store._container._rest) == ("http", "127.0.0.1", 8081)
    assert store._container._rest._credential._key == b"secret"


@pytest.mark.parametrize(
    ("place", "database"),
    [("my-project", "(default)"), ("my-project/(default)", "(default)"), ("p.com:x/db-1", "db-1")],
)
def test_firestore_is_opened_with_the_metadata_server_s_token(place: str, database: str) -> None:
    store = _open("gcp", f"firestore:{place}")
    assert isinstance(store, FirestoreStore)
    project = place.partition("/")[0]
    assert _called(store._rest) == ("https", "firestore.googleapis.com", 443)
    assert store._rest._target == f"/v1/projects/{project}/databases/{database}/"
    assert store._rest._token is not None


def test_firestore_s_emulator_is_asked_without_a_token() -> None:
    store = _open("gcp", "firestore:my-project", FIRESTORE_EMULATOR_HOST="localhost:8080")
    assert _called(store._rest) == ("http", "localhost", 8080)
    assert store._rest._target == "/v1/projects/my-project/databases/(default)/"
    assert store._rest._token is None


@pytest.mark.parametrize(
    ("cloud", "setting", "environ", "said"),
    [
        (
            "aws",
            "firestore:my-project",
            {},
            "TREFOIL_STORE: AWS has no store 'firestore': write dynamodb:TABLE, or sqlite:PATH",
        ),
        ("aws", "dynamodb:a b", {}, "TREFOIL_STORE: 'a b' cannot be the name of a DynamoDB table: write dynamodb:TAB"),
        ("aws", "dynamodb:arn:aws:x", {}, "TREFOIL_STORE: 'arn:aws:x' cannot be the name of a DynamoDB table"),
        (
            "aws",
            "dynamodb:trefoil",
            {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_DYNAMODB": "nonsense", **_ROLE},
            "AWS_ENDPOINT_URL_DYNAMODB: 'nonsense' is no URL of a server: write http://HOST:PORT or https://HOST.",
        ),
        ("aws", "dynamodb:trefoil", {"AWS_REGION": "a/b", **_ROLE}, "AWS_REGION: 'a/b' is no region of AWS."),
        ("aws", "dynamodb:trefoil", {}, "AWS_REGION is not set: give it the region of the DynamoDB table"),
        ("azure", "dynamodb:t", {}, "TREFOIL_STORE: Azure has no store 'dynamodb': write cosmos:https://ACCOUNT.docu"),
        ("azure", "cosmos:trefoil", {}, "TREFOIL_STORE: 'trefoil' names no container of Cosmos DB: write cosmos:http"),
        ("azure", "cosmos:https://a.example/db", {}, "names no container of Cosmos DB: write cosmos:https://ACCOUNT"),
        ("azure", "cosmos:https://a.example/db/c/d", {}, "names no container of Cosmos DB: write cosmos:https://ACC"),
        ("azure", "cosmos:https://a.example:99999/db/c", _IDENTITY, "names no container of Cosmos DB: write cosmos:h"),
        ("azure", _ACCOUNT, {}, "TREFOIL_STORE: this process has no managed identity to open Cosmos DB with (Azure w"),
        ("azure", _ACCOUNT, {"TREFOIL_COSMOS_KEY": "no base64!"}, "TREFOIL_COSMOS_KEY: it is no base64: write the ac"),
        ("azure", "cosmos:http://a.example/db/c", _IDENTITY, "TREFOIL_STORE: a managed identity's token must not tra"),
        ("gcp", "cosmos:x", {}, "TREFOIL_STORE: Google Cloud has no store 'cosmos': write firestore:PROJECT or fire"),
        ("gcp", "firestore:My Project", {}, "TREFOIL_STORE: 'My Project' names no Firestore database: write firestor"),
        ("gcp", "firestore:p/d/x", {}, "TREFOIL_STORE: 'p/d/x' names no Firestore database: write firestore:PROJECT"),
        (
            "gcp",
            "firestore:my-project",
            {"FIRESTORE_EMULATOR_HOST": "http://h:1"},
            "FIRESTORE_EMULATOR_HOST: write HOST:PORT,",
        ),
        (
            "gcp",
            "firestore:my-project",
            {"FIRESTORE_EMULATOR_HOST": "localhost:99999"},
            "FIRESTORE_EMULATOR_HOST: write HOST:PORT,",
        ),
    ],
)
def test_a_mistake_is_named(cloud: str, setting: str, environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
        _open(cloud, setting, **environ)
    assert "no base64!" not in str(caught.value)


def _start(cloud: str, program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`program` after the import of the cloud's entry, in a process of its own."""
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / cloud)])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-c", f"import {_ENTRIES[cloud]}\n{program}"],
        env={**clean, "OPENAI_API_KEY": "sk-any", "PYTHONPATH": path, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("cloud", _ENTRIES)
def test_another_cloud_s_store_stops_the_start(cloud: str) -> None:
    ended = _start(cloud, "", TREFOIL_STORE="bigtable:x")
    assert ended.returncode == 1
    assert re.search(r"TREFOIL_STORE: .* has no store 'bigtable': write \w+:", ended.stderr.splitlines()[-1])


_STARTS = [
    ("aws", "sqlite:x", {}, {"sqlite3"}, {"dynamodb_store"}),
    ("aws", "dynamodb:trefoil", {"AWS_REGION": "us-east-1", **_ROLE}, {"dynamodb_store"}, {"sqlite3", "botocore"}),
    ("azure", "sqlite:x", {}, {"sqlite3"}, {"cosmos_store"}),
    ("azure", _ACCOUNT, _IDENTITY, {"cosmos_store"}, {"sqlite3"}),
    ("gcp", "sqlite:x", {}, {"sqlite3"}, {"firestore_store"}),
    ("gcp", "firestore:my-project", {}, {"firestore_store"}, {"sqlite3"}),
]


@pytest.mark.parametrize(("cloud", "setting", "environ", "loaded", "spared"), _STARTS)
def test_a_start_loads_the_one_store_and_opens_nothing(
    cloud: str, setting: str, environ: dict[str, str], loaded: set[str], spared: set[str]
) -> None:
    """No thread and no socket, so that Google's framework may fork afterwards and Lambda may take a snapshot."""
    program = (
        "import gc, socket, sys, threading\n"
        f"assert {loaded} <= set(sys.modules), 'not loaded'\n"
        f"assert not {spared} & set(sys.modules), 'loaded'\n"
        "assert threading.active_count() == 1, 'a thread'\n"
        "assert not [one for one in gc.get_objects() if isinstance(one, socket.socket)], 'a socket'\n"
    )
    ended = _start(cloud, program, TREFOIL_STORE=setting, **environ)
    assert ended.returncode == 0, ended.stderr
