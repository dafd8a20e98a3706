"""What can be set, and what is said of a setting that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core import cloud_upstreams
from core.cloud_upstreams import AzureUpstream, BedrockUpstream
from core.errors import ConfigurationError
from core.settings import DEFAULT_FILE, ENVIRONMENT, Settings
from core.upstream_settings import OpenAIUpstream

_KEY = {"OPENAI_API_KEY": "sk-secret"}
_AZURE = '[upstreams.azure]\nbase_url = "https://r.openai.azure.com"\n'
_TWO = '[upstreams.openai]\n[upstreams.spare]\nkind = "compatible"\nbase_url = "http://spare.example/v1"\n'


def _load(tmp_path: Path, toml: str, **environ: str) -> Settings:
    file = tmp_path / "trefoil.toml"
    file.write_text(toml, "utf-8")
    return Settings.load({**_KEY, "TREFOIL_CONFIG": str(file), **environ})


def test_the_file_that_ships_holds_the_defaults(tmp_path: Path) -> None:
    assert Settings.load(_KEY) == _load(tmp_path, '[upstreams.openai]\napi_key_env = "OPENAI_API_KEY"\n')
    assert _load(tmp_path, "").keys == Settings.load(_KEY).keys


def test_the_examples_in_the_file_that_ships_are_valid(tmp_path: Path) -> None:
    examples = re.sub(r"^#: ?", "", DEFAULT_FILE.read_text("utf-8"), flags=re.MULTILINE)
    keys = dict.fromkeys(("AZURE_OPENAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK", "IN_HOUSE_API_KEY"), "secret")
    identity = {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/token", "IDENTITY_HEADER": "secret"}
    settings = _load(tmp_path, examples, **keys, **identity)
    assert {upstream.kind for upstream in settings.upstreams.values()} == {
        "openai",
        "azure",
        "bedrock",
        "vertex",
        "compatible",
    }
    assert set(settings.keys) == {"openai", "azure", "bedrock", "in-house"}
    assert {alias: list(model.priorities()) for alias, model in settings.models.items()} == {
        "fast": [0, 1],
        "gpt-4o": [0, 0, 2],
        "house": [1, 2],
    }


def test_the_environment_takes_precedence(tmp_path: Path) -> None:
    settings = _load(
        tmp_path,
        '[upstreams.openai]\nbase_url = "https://file.example/v1"\nconnect_timeout_seconds = 2\n',
        TREFOIL_UPSTREAM_URL="http://environment.example/v1/",
        TREFOIL_STORE="sqlite:elsewhere.sqlite3",
        TREFOIL_REQUEST_TIMEOUT_SECONDS="60",
    )
    assert settings.upstreams == {
        "openai": OpenAIUpstream(base_url="http://environment.example/v1", connect_timeout_seconds=2)
    }
    assert settings.store == "sqlite:elsewhere.sqlite3"
    assert settings.request_timeout_seconds == 60


def test_the_only_upstream_is_the_default_one(tmp_path: Path) -> None:
    settings = _load(
        tmp_path,
        _AZURE + 'api_key_env = "AZURE_KEY"\n',
        OPENAI_API_KEY="",
        AZURE_KEY="abc",
        TREFOIL_UPSTREAM_URL="http://x",
    )
    assert settings.route.default_upstream == "azure"
    assert settings.upstreams == {"azure": AzureUpstream(base_url="http://x", api_key_env="AZURE_KEY")}
    assert settings.keys["azure"].get_secret_value() == "abc"


@pytest.mark.parametrize(
    ("base_url", "api_version", "api_url"),
    [
        ("https://r.openai.azure.com/", None, "https://r.openai.azure.com/openai/v1"),
        ("https://r.openai.azure.com", "2024-10-21", "https://r.openai.azure.com/openai"),
        ("https://proxy.example/to/azure", None, "https://proxy.example/to/azure"),
    ],
)
def test_the_api_of_an_azure_resource(base_url: str, api_version: str | None, api_url: str) -> None:
    assert AzureUpstream(base_url=base_url, api_version=api_version, managed_identity=True).api_url == api_url


@pytest.mark.parametrize(
    ("toml", "environ", "said"),
    [
        ("", {"OPENAI_API_KEY": ""}, "OPENAI_API_KEY is not set: give it the key to call the upstream 'openai' with."),
        ("", {"OPENAI_API_KEY": "sk-a\n"}, "OPENAI_API_KEY: it holds a blank, a line break"),
        ("", {"TREFOIL_UPSTREAM_URL": "api.openai.com"}, "TREFOIL_UPSTREAM_URL: write a URL that begins with http"),
        (
            "",
            {"TREFOIL_REQUEST_TIMEOUT_SECONDS": "1m"},
            "TREFOIL_REQUEST_TIMEOUT_SECONDS: input should be a valid number",
        ),
        ("", {"TREFOIL_STORE": "trefoil"}, "TREFOIL_STORE: write SCHEME:PLACE, such as sqlite:.trefoil/store.sqlite3."),
        ("", {"TREFOIL_STORE": "dynamodb:"}, "TREFOIL_STORE: write SCHEME:PLACE"),
        ("", {"TREFOIL_CONFIG": "nowhere.toml"}, "TREFOIL_CONFIG: nowhere.toml cannot be read (No such file"),
        ("[upstreams", {}, "trefoil.toml is not valid TOML"),
        ("surprise = 1", {}, "trefoil.toml: 'surprise' is none of its sections, which are upstreams, models, route,"),
        ("openai_api_key = 'sk-in-a-file'", {}, "'openai_api_key' is none of its sections"),
        ("upstreams = 1", {}, "'upstreams' is none of its sections"),
        ("[upstreams]\nopenai = 1", {}, "trefoil.toml: upstreams.openai is no table: write [upstreams.NAME]"),
        ("[upstreams.openai]\nbase_ulr = ''", {}, "trefoil.toml: upstreams.openai.base_ulr: there is no such setting."),
        ("[upstreams.openai]\nbase_url = 'ftp://x'", {}, "trefoil.toml: upstreams.openai.base_url: write a URL that"),
        ("[upstreams.openai]\nbase_url = 'https://me:sk-x@x'", {}, "base_url: write the URL without a user"),
        ("[upstreams.openai]\nbase_url = 'https://x?key=sk-x'", {}, "base_url: write the URL without a user"),
        ("[upstreams.openai]\nbase_url = 'https:///v1'", {}, "base_url: write a host into the URL"),
        ("[upstreams.openai]\nbase_url = 'https://x:99999/v1'", {}, "base_url: port out of range 0-65535."),
        ("[upstreams.openai]\nbase_url = 'https://x/a/../v1'", {}, "base_url: write the URL without steps"),
        ("[upstreams.openai]\norganization = 'org 1'", {}, "openai.organization: string should match pattern"),
        ("[upstreams.openai]", {"OPENAI_ORG_ID": "org-1\n"}, "OPENAI_ORG_ID: it holds a blank, a line break"),
        ("[upstreams.openai]\napi_key = 'sk-in-a-file'", {}, "upstreams.openai.api_key: a secret must not stand in"),
        ("[upstreams.openai]\napi_key_env = 'sk-in-a-file'", {}, "api_key_env: string should match pattern"),
        ("[upstreams.openai]\napi_key_env = 'OTHER'", {}, "OTHER is not set: give it the key to call the upstream"),
        ("[upstreams.x]\nbase_url = 'http://x'", {}, "trefoil.toml: upstreams.x.kind: write one of openai, azure,"),
        ("[upstreams.x]\nkind = 'compatible'", {}, "trefoil.toml: upstreams.x.base_url: it is missing."),
        (_AZURE, {}, "trefoil.toml: upstreams.azure: write either api_key_env"),
        (_AZURE + "managed_identity = true", {}, "upstreams.azure: this process has no managed identity"),
        ("[upstreams.bedrock]\nregion = 'Paris'", {}, "upstreams.bedrock.region: string should match"),
        ("[upstreams.vertex]\nproject = 'p'", {}, "upstreams.vertex: write project and location, or base_url."),
        (
            _TWO + "[route]\ndefault_upstream = 'x'",
            {},
            "trefoil.toml: route.default_upstream: write one of openai, spa",
        ),
        (_TWO.replace("openai", "azure", 1) + "[models]", {}, "route.default_upstream: write one of azure, spare."),
        ("[models.a]\ntargets = []", {}, "trefoil.toml: models.a.targets: tuple should have at least 1 item"),
        ("[models.a]\ntargets = [{ upstream = 'x' }]", {}, "trefoil.toml: models.a.targets: 'x' is none of the upst"),
        (
            "[models.a]\ntargets = [{ upstream = 'openai' }, { upstream = 'openai' }]",
            {},
            "trefoil.toml: models.a: two targets are the same",
        ),
        (
            "[models.a]\ntargets = [{ upstream = 'openai', priority = 1 }, { upstream = 'openai', model = 'b' }]",
            {},
            "trefoil.toml: models.a: write a priority for each target or for none.",
        ),
        (
            "[retry]\nmax_retries = -1",
            {},
            "trefoil.toml: retry.max_retries: input should be greater than or equal to 0",
        ),
        ("[limits]\nbody_bytes = 0", {}, "trefoil.toml: limits.body_bytes: input should be greater than 0."),
        ("[apps]\ncache_seconds = 'x'", {}, "trefoil.toml: apps.cache_seconds: input should be a valid number"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, toml: str, environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, toml, **environ)
    assert said in str(caught.value)
    assert "sk-" not in str(caught.value)


def test_a_role_that_cannot_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BedrockUpstream(region="us-east-1").key_variable is None  # botocore is installed here
    monkeypatch.setattr("core.cloud_upstreams.find_spec", lambda module: None)
    with pytest.raises(ConfigurationError, match=r"upstreams\.bedrock: signing .* add openai\[bedrock\] to requirem"):
        _load(tmp_path, "[upstreams.bedrock]\nregion = 'us-east-1'\n")


def test_the_keys_are_not_in_what_settings_print() -> None:
    settings = Settings.load({**_KEY, "IDENTITY_ENDPOINT": "http://x", "IDENTITY_HEADER": "hidden"})
    assert not re.search("sk-secret|hidden", f"{settings!r} {settings}")
    assert settings.keys["openai"].get_secret_value() == "sk-secret"


def test_each_variable_gives_a_setting_that_exists() -> None:
    for place in ENVIRONMENT.values():
        model = OpenAIUpstream if place[0] == "upstreams" else Settings
        assert place[-1] in model.defaults()


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_upstreams, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="needs the package google-auth"):
        _load(tmp_path, "[upstreams.vertex]\nproject = 'p'\nlocation = 'global'\ncredentials = 'adc'")
