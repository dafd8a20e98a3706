"""What can be set, and what is said of a setting that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.settings import ENVIRONMENT, Settings

_KEY = {"OPENAI_API_KEY": "sk-secret"}


def _load(tmp_path: Path, toml: str, **environ: str) -> Settings:
    file = tmp_path / "trefoil.toml"
    file.write_text(toml, "utf-8")
    return Settings.load({**_KEY, "TREFOIL_CONFIG": str(file), **environ})


def test_the_file_that_ships_holds_the_defaults(tmp_path: Path) -> None:
    assert Settings.load(_KEY) == _load(tmp_path, "")


def test_the_environment_takes_precedence(tmp_path: Path) -> None:
    settings = _load(
        tmp_path,
        '[upstream]\nbase_url = "https://file.example/v1"\nconnect_timeout_seconds = 2\n',
        TREFOIL_UPSTREAM_URL="http://environment.example/v1/",
        TREFOIL_SQLITE_PATH="elsewhere.sqlite3",
        TREFOIL_REQUEST_TIMEOUT_SECONDS="60",
    )
    assert settings.upstream.base_url == "http://environment.example/v1"
    assert settings.upstream.connect_timeout_seconds == 2
    assert settings.sqlite_path == Path("elsewhere.sqlite3")
    assert settings.request_timeout_seconds == 60


@pytest.mark.parametrize(
    ("toml", "environ", "said"),
    [
        ("", {"OPENAI_API_KEY": ""}, "OPENAI_API_KEY is not set: give it the OpenAI key"),
        ("", {"OPENAI_API_KEY": "sk-a\n"}, "OPENAI_API_KEY: it holds a blank, a line break"),
        ("", {"TREFOIL_UPSTREAM_URL": "api.openai.com"}, "TREFOIL_UPSTREAM_URL: write a URL that begins with http"),
        (
            "",
            {"TREFOIL_REQUEST_TIMEOUT_SECONDS": "1m"},
            "TREFOIL_REQUEST_TIMEOUT_SECONDS: input should be a valid number",
        ),
        ("", {"TREFOIL_CONFIG": "nowhere.toml"}, "TREFOIL_CONFIG: nowhere.toml cannot be read (No such file"),
        ("[upstream", {}, "trefoil.toml is not valid TOML"),
        ("surprise = 1", {}, "trefoil.toml: 'surprise' is none of its sections, which are upstream, limits, apps."),
        ("openai_api_key = 'sk-in-a-file'", {}, "'openai_api_key' is none of its sections"),
        ("upstream = 1", {}, "'upstream' is none of its sections"),
        ("[upstream]\nbase_ulr = ''", {}, "trefoil.toml: upstream.base_ulr: there is no such setting."),
        ("[upstream]\nbase_url = 'ftp://x'", {}, "trefoil.toml: upstream.base_url: write a URL that begins"),
        ("[limits]\nbody_bytes = 0", {}, "trefoil.toml: limits.body_bytes: input should be greater than 0."),
        ("[apps]\ncache_seconds = 'x'", {}, "trefoil.toml: apps.cache_seconds: input should be a valid number"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, toml: str, environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, toml, **environ)
    assert said in str(caught.value)
    assert "sk-" not in str(caught.value)


def test_the_key_is_not_in_what_settings_print() -> None:
    settings = Settings.load(_KEY)
    assert "sk-secret" not in f"{settings!r} {settings}"
    assert settings.openai_api_key.get_secret_value() == "sk-secret"


def test_each_variable_gives_a_setting_that_exists() -> None:
    for place in ENVIRONMENT.values():
        model = Settings
        for step in place[:-1]:
            model = model.model_fields[step].annotation  # type: ignore[assignment]
        assert place[-1] in model.model_fields
