"""What the services are started with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from local import services
from local.failure import Failure
from local.services import CLOUDS, Deployment


def _environ(caller: Mapping[str, str], tmp_path: Path) -> Mapping[str, str]:
    return _deployment(caller, tmp_path).cloud("gcp").environ


def _deployment(caller: Mapping[str, str], tmp_path: Path) -> Deployment:
    return Deployment(port_base=28_700, state=tmp_path, upstream_url=None, upstream_key="sk-x", environ=caller)


def test_the_operator_s_settings_reach_them_and_the_run_s_own_come_first(tmp_path: Path) -> None:
    caller = {
        "TREFOIL_CONFIG": "other.toml",
        "TREFOIL_REQUEST_TIMEOUT_SECONDS": "7",
        "TREFOIL_UPSTREAM_URL": "http://elsewhere",
        "TREFOIL_STORE": "dynamodb:elsewhere",
        "OPENAI_API_KEY": "sk-caller",
        "OPENAI_BASE_URL": "http://elsewhere",
        "OTHER_KEY": "sk-other",
    }
    environ = _environ(caller, tmp_path)
    assert environ["TREFOIL_CONFIG"] == os.path.abspath("other.toml")
    assert environ["TREFOIL_REQUEST_TIMEOUT_SECONDS"] == "7"
    assert environ["TREFOIL_UPSTREAM_URL"] == "http://127.0.0.1:28700/v1"
    assert environ["TREFOIL_STORE"] == f"sqlite:{tmp_path}/store.sqlite3"
    assert (environ["OPENAI_API_KEY"], environ["OTHER_KEY"]) == ("sk-x", "sk-other")
    assert "OPENAI_BASE_URL" not in environ


@pytest.mark.parametrize("excepted", ["", "internal.example", "*"])
def test_they_call_this_machine_without_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
    caller = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
    environ = _environ({**caller, "NO_PROXY": excepted}, tmp_path)
    assert environ["HTTP_PROXY"] == "http://127.0.0.1:1"
    assert excepted in environ["no_proxy"]
    for name in ("NO_PROXY", "no_proxy", *caller):
        monkeypatch.setenv(name, environ[name])
    with httpx2.Client() as client:
        assert client._transport_for_url(httpx2.URL("http://127.0.0.1:28700")) is client._transport
        assert client._transport_for_url(httpx2.URL("http://localhost:28700")) is client._transport


def test_what_they_write_is_utf_8_whatever_the_caller_s_locale(tmp_path: Path) -> None:
    assert _environ({"PYTHONIOENCODING": "ascii"}, tmp_path)["PYTHONIOENCODING"] == "utf-8"


def test_the_admin_key_reaches_every_cloud(tmp_path: Path) -> None:
    deployment = replace(_deployment({"TREFOIL_ADMIN_KEY": "the caller's"}, tmp_path), admin_key="tfl_admin")
    for cloud in CLOUDS:
        assert deployment.cloud_environ(cloud)["TREFOIL_ADMIN_KEY"] == "tfl_admin"


def test_native_stores_take_each_cloud_to_its_own(tmp_path: Path) -> None:
    caller = dict.fromkeys(("TREFOIL_STORE", "AWS_REGION", "AWS_ENDPOINT_URL_DYNAMODB", "FIRESTORE_EMULATOR_HOST"), "x")
    deployment = replace(_deployment(caller, tmp_path), native_stores=True)
    aws, azure, gcp = (deployment.cloud_environ(cloud) for cloud in CLOUDS)
    assert aws["TREFOIL_STORE"] == "dynamodb:trefoil"
    assert aws["AWS_ENDPOINT_URL_DYNAMODB"] == "http://127.0.0.1:28704"
    assert (aws["AWS_REGION"], aws["AWS_ACCESS_KEY_ID"]) == ("us-east-1", "local")
    assert azure["TREFOIL_STORE"] == "cosmos:http://127.0.0.1:28705/trefoil/store"
    assert gcp["TREFOIL_STORE"] == "firestore:trefoil-local"
    assert gcp["FIRESTORE_EMULATOR_HOST"] == "127.0.0.1:28706"


@pytest.mark.parametrize("account", [{"AWS_ACCESS_KEY_ID": "AKIA"}, {"AWS_PROFILE": "bedrock"}])
def test_an_account_for_the_upstream_is_left_alone(tmp_path: Path, account: dict[str, str]) -> None:
    environ = replace(_deployment(account, tmp_path), native_stores=True).cloud_environ("aws")
    assert environ.items() >= account.items()
    assert "AWS_SECRET_ACCESS_KEY" not in environ


def test_a_missing_package_is_named_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_is_installed", lambda module: module != "moto")
    with pytest.raises(Failure, match=r"^dynamodb needs the package 'moto', .*: run 'make stores'\.$"):
        _deployment({}, tmp_path).store("aws")
