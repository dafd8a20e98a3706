"""The only reader of the environment and of `trefoil.toml`. A mistake in either stops the process at start."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from core.errors import ConfigurationError

DEFAULT_FILE = Path(__file__).resolve().parent.parent / "trefoil.toml"


def _is_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("write a URL that begins with http:// or https://, such as https://api.openai.com/v1")
    return value.rstrip("/")


def _is_header_value(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("it holds a blank, a line break or a character that no key has: write the key alone")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UpstreamSettings(_Section):
    base_url: Annotated[str, AfterValidator(_is_url)] = "https://api.openai.com/v1"
    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 5
    silence_timeout_seconds: Annotated[float, Field(gt=0)] = 600
    """The longest wait for upstream's next byte."""


class LimitSettings(_Section):
    body_bytes: Annotated[int, Field(gt=0)] = 25 * 1024 * 1024


class AppSettings(_Section):
    cache_seconds: Annotated[float, Field(ge=0)] = 30


class Settings(_Section):
    """Everything that can be set: the sections of `trefoil.toml`, and what comes from the environment alone."""

    upstream: UpstreamSettings = UpstreamSettings()
    limits: LimitSettings = LimitSettings()
    apps: AppSettings = AppSettings()
    openai_api_key: Annotated[SecretStr, AfterValidator(_is_header_value)]
    sqlite_path: Path = Path(".trefoil/store.sqlite3")
    """Where the embedded store lies."""
    request_timeout_seconds: Annotated[float, Field(gt=0)] | None = None
    """How long the platform lets a request run; None where it tells with each request, or never ends one."""

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Settings:
        """Settings from the variables of `ENVIRONMENT`, and from the file that `TREFOIL_CONFIG` names: by default the
        `trefoil.toml` beside the code. The environment takes precedence.

        Raises:
            ConfigurationError: names the setting and says what to write instead.
        """
        file = Path(environ.get("TREFOIL_CONFIG") or DEFAULT_FILE)
        values = _read(file)
        for name, place in ENVIRONMENT.items():
            if environ.get(name):
                _put(values, place, environ[name])
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigurationError(_explain(error, file, environ)) from None


ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "OPENAI_API_KEY": ("openai_api_key",),
    "TREFOIL_REQUEST_TIMEOUT_SECONDS": ("request_timeout_seconds",),
    "TREFOIL_SQLITE_PATH": ("sqlite_path",),
    "TREFOIL_UPSTREAM_URL": ("upstream", "base_url"),
}
"""The variables that are read, and the setting that each one gives."""

_SECTIONS = ("upstream", "limits", "apps")


def _read(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"TREFOIL_CONFIG: {file} cannot be read ({error.strerror}): write the path of a trefoil.toml."
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{file} is not valid TOML: {error}.") from None
    for name, section in values.items():
        if name not in _SECTIONS or not isinstance(section, dict):
            raise ConfigurationError(f"{file}: '{name}' is none of its sections, which are {', '.join(_SECTIONS)}.")
    return values


def _put(values: dict[str, Any], place: tuple[str, ...], value: str) -> None:
    *sections, name = place
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = value


def _explain(error: ValidationError, file: Path, environ: Mapping[str, str]) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = tuple(str(step) for step in problem["loc"])
    variables = [name for name, target in ENVIRONMENT.items() if target == place[: len(target)]]
    if problem["type"] == "missing":
        return f"{variables[0]} is not set: give it the OpenAI key that this service is to call with."
    setting = next((name for name in variables if environ.get(name)), f"{file}: {'.'.join(place)}")
    if problem["type"] == "extra_forbidden":
        return f"{setting}: there is no such setting."
    reason = problem["msg"].removeprefix("Value error, ")
    return f"{setting}: {reason[:1].lower()}{reason[1:]}."
