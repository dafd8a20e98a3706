"""`python -m core`: an operator's commands on the embedded store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core.__main__ import main
from core.app_keys import is_well_formed
from core.auth import Authenticator
from core.errors import NotAuthenticated
from core.sqlite_store import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def _run(store: Path, *arguments: str) -> int:
    return main(["--store", str(store), *arguments])


def _app_behind(store: Path, key: str) -> str | None:
    async def identify() -> str | None:
        opened = SqliteStore(store)
        try:
            app = await Authenticator(opened, cache_seconds=0).identify({"api-key": key})
        except NotAuthenticated:
            return None
        finally:
            opened.close()
        return app.id

    return asyncio.run(identify())


def test_a_key_s_life(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(store, "key", "new", "--app", "web-shop") == 0
    printed = capsys.readouterr()
    key = printed.out.strip()
    assert is_well_formed(key)
    assert "only time" in printed.err
    assert _app_behind(store, key) == "web-shop"

    assert _run(store, "key", "list") == 0
    listing = capsys.readouterr().out
    key_id = listing.split()[0]
    assert f"tfl_...{key[-4:]}" in listing
    assert "enabled, no expiry" in listing
    assert key not in listing

    for verb, expected in [("disable", None), ("enable", "web-shop"), ("delete", None)]:
        assert _run(store, "key", verb, key_id) == 0
        assert _app_behind(store, key) == expected
    assert _run(store, "key", "list") == 0
    assert capsys.readouterr().out == ""


def test_an_app_is_disabled_with_its_keys(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(store, "key", "new", "--app", "web-shop", "--days", "30")
    key = capsys.readouterr().out.strip()
    assert _run(store, "app", "disable", "web-shop") == 0
    assert _app_behind(store, key) is None
    assert _run(store, "app", "list") == 0
    assert "disabled" in capsys.readouterr().out
    assert _run(store, "app", "enable", "web-shop") == 0
    assert _app_behind(store, key) == "web-shop"
    _run(store, "key", "list", "--app", "web-shop")
    assert "enabled, until 20" in capsys.readouterr().out


def test_an_app_s_pages(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(store, "key", "new", "--app", "web-shop")
    capsys.readouterr()
    assert _run(store, "app", "origins", "web-shop", "https://shop.example", "http://localhost:3000") == 0
    _run(store, "app", "list")
    assert "https://shop.example http://localhost:3000" in capsys.readouterr().out
    assert _run(store, "app", "origins", "web-shop") == 0
    _run(store, "app", "list")
    assert capsys.readouterr().out.rstrip().endswith("enabled")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["key", "new", "--app", "Web Shop"], "'Web Shop' cannot be an app's name"),
        (["key", "new", "--app", "../x"], "cannot be an app's name"),
        (["key", "disable", "nope"], "There is no key with the id 'nope'"),
        (["app", "disable", "nope"], "There is no app 'nope'"),
        (["app", "origins", "nope", "https://a.example"], "There is no app 'nope'"),
        (["app", "origins", "nope", "a.example/path"], "'a.example/path' is no origin"),
    ],
)
def test_a_mistake_is_one_clear_line(
    store: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert _run(store, *arguments) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_a_store_that_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tmp_path, "key", "list") == 1
    assert "cannot be used" in capsys.readouterr().err
