"""What the services are started with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest

from local.services import Deployment


def _environ(caller: Mapping[str, str], tmp_path: Path) -> Mapping[str, str]:
    return _deployment(caller, tmp_path).cloud("gcp").environ


def _deployment(caller: Mapping[str, str], tmp_path: Path) -> Deployment:
    return Deployment(port_base=28_700, state=tmp_path, upstream_url=None, upstream_key="sk-x", environ=caller)


def test_the_operator_s_settings_reach_them_and_the_run_s_own_come_first(tmp_path: Path) -> None:
    caller = {
        "TREFOIL_CONFIG": "other.toml",
        "TREFOIL_REQUEST_TIMEOUT_SECONDS": "7",
        "TREFOIL_UPSTREAM_URL": "http://elsewhere",
        "TREFOIL_SQLITE_PATH": "elsewhere",
        "OPENAI_API_KEY": "sk-caller",
        "OPENAI_BASE_URL": "http://elsewhere",
        "OTHER_KEY": "sk-other",
    }
    environ = _environ(caller, tmp_path)
    assert environ["TREFOIL_CONFIG"] == os.path.abspath("other.toml")
    assert environ["TREFOIL_REQUEST_TIMEOUT_SECONDS"] == "7"
    assert environ["TREFOIL_UPSTREAM_URL"] == "http://127.0.0.1:28700/v1"
    assert environ["TREFOIL_SQLITE_PATH"] == str(tmp_path / "store.sqlite3")
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
