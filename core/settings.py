"""The only reader of the environment and of `trefoil.toml`. A mistake in either stops the process at start."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic_core import ErrorDetails, ValidationError

from core.cors import is_origin
from core.errors import ConfigurationError
from core.model import checked, limited, unchecked
from core.price_settings import PriceSettings
from core.secret import Secret
from core.upstream_settings import KINDS, Section, UpstreamSettings, model_of

_Model = TypeVar("_Model", bound=Section)

_SHORTEST_ADMIN_KEY = 32

DEFAULT_FILE = Path(__file__).resolve().parent.parent / "trefoil.toml"
DEFAULT_STORE = "sqlite:.trefoil/store.sqlite3"

_STORE = re.compile(r"[a-z]+:\S(.*\S)?")


class TargetSettings(Section):
    upstream: str
    model: Annotated[str, limited(min_length=1)] | None = None
    """The model's name there; by default the alias itself."""
    weight: Annotated[float, limited(gt=0)] | None = None
    priority: int | None = None


class ModelSettings(Section):
    targets: Annotated[tuple[TargetSettings, ...], limited(min_length=1)]

    def _fits_together(self, _context: None) -> None:
        if len({target.priority is None for target in self.targets}) > 1:
            raise ValueError("write a priority for each target or for none")
        if len({(target.upstream, target.model) for target in self.targets}) < len(self.targets):
            raise ValueError("two targets are the same: write each once, with a weight")

    def priorities(self) -> Sequence[int]:
        """Each target's priority: as written, or its place in the list, which neighbours with a weight share."""
        places: list[int] = []
        for number, target in enumerate(self.targets):
            shares = number > 0 and target.weight is not None and self.targets[number - 1].weight is not None
            place = places[-1] if shares else number
            places.append(place if target.priority is None else target.priority)
        return places


class RouteSettings(Section):
    default_upstream: str = "openai"
    """Where calls go whose model has no entry, and those that name no model."""
    rest_seconds: Annotated[float, limited(ge=0)] = 30
    """How long a target that failed is left alone where there are others."""


class RetrySettings(Section):
    max_retries: Annotated[int, limited(ge=0)] = 2
    """For one request, at all targets together: the client's SDK tries again too, and the two multiply."""
    first_wait_seconds: Annotated[float, limited(ge=0)] = 0.5
    """The longest first wait; it doubles with each retry."""
    max_wait_seconds: Annotated[float, limited(ge=0)] = 5
    """The longest wait of all. What upstream asks for beyond it is left to the client."""


class LimitSettings(Section):
    body_bytes: Annotated[int, limited(gt=0)] = 25 * 1024 * 1024
    image_tokens: Annotated[int, limited(gt=0)] = 50_000
    """The most tokens that one image in a request counts for."""
    image_output_tokens: Annotated[int, limited(gt=0)] = 20_000
    """The most tokens that one image made by a model counts for, where that is not known better."""
    tool_calls: Annotated[int, limited(ge=0)] = 10
    """So often may a response call upstream's own tools, where the request does not say."""
    audio_bytes_per_second: Annotated[int, limited(gt=0)] = 750
    """The fewest bytes that a second of recorded speech takes in the files that clients send."""
    speech_tokens_per_character: Annotated[int, limited(gt=0)] = 20
    """The most tokens of spoken audio that one character of text becomes."""
    output_tokens_per_second: Annotated[int, limited(gt=0)] = 300
    """What no model puts out faster: by it is paid for the thinking of a call that was broken off before it showed."""


class AppSettings(Section):
    cache_seconds: Annotated[float, limited(ge=0)] = 30
    """How long what the store says of an app and its keys is trusted."""
    when_store_fails: Literal["closed", "open"] = "closed"
    """Whether apps without a budget are let through, uncounted, while the store does not answer."""


def _is_origin(value: str) -> str:
    if not is_origin(value):
        raise ValueError("write an origin, such as https://shop.example, or *")
    return value


def _has_scheme(value: str) -> str:
    if not _STORE.fullmatch(value):
        raise ValueError(f"write SCHEME:PLACE, such as {DEFAULT_STORE}")
    return value


def _is_admin_key(value: Secret) -> Secret:
    key = value.get_secret_value()
    if len(key) < _SHORTEST_ADMIN_KEY or not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(
            f"write at least {_SHORTEST_ADMIN_KEY} letters, digits and signs, without a blank: `openssl rand -hex 32` "
            "makes a good one"
        )
    return value


class CorsSettings(Section):
    origins: tuple[Annotated[str, checked(_is_origin)], ...] = ()
    """Whose pages may call from a browser; an app's record can narrow it for the app."""


class Settings(Section):
    """Everything that can be set: the sections of `trefoil.toml`, and what comes from the environment alone."""

    upstreams: Mapping[str, Annotated[UpstreamSettings, unchecked]]
    models: Mapping[str, Annotated[ModelSettings, unchecked]] = {}
    prices: Mapping[str, Annotated[PriceSettings, unchecked]] = {}
    """By the model's name at its upstream."""
    route: RouteSettings = RouteSettings.model_construct()
    retry: RetrySettings = RetrySettings.model_construct()
    limits: LimitSettings = LimitSettings.model_construct()
    apps: AppSettings = AppSettings.model_construct()
    cors: CorsSettings = CorsSettings.model_construct()
    tasks: Annotated[Section, unchecked] | None = None
    """`core.task_settings.TasksSettings`; None where the file says nothing of tasks, so that a cold start does not pay
    for what it does not need.
    """
    store: Annotated[str, checked(_has_scheme)] = DEFAULT_STORE
    """`SCHEME:PLACE`. Which schemes there are, and what a place looks like, is for each cloud's adapter to say."""
    request_timeout_seconds: Annotated[float, limited(gt=0)] | None = None
    """How long the platform lets a request run; None where it tells with each request, or never ends one."""
    identity_endpoint: str | None = None
    """Where Azure gives this app the tokens of its managed identity."""
    identity_header: Secret | None = None
    """What proves to it that the caller is this app."""
    admin_key: Annotated[Secret, checked(_is_admin_key)] | None = None
    """What opens the admin API; None: it is not there."""
    keys: Mapping[str, Secret] = {}
    """The upstreams' keys, by the upstream's name."""
    has_proxies: bool = False
    """Whether a variable such as HTTPS_PROXY is set."""

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Settings:
        """Settings from the variables of `ENVIRONMENT`, and from the file that `TREFOIL_CONFIG` names: by default the
        `trefoil.toml` beside the code. The environment takes precedence. Keys come from the variables that the file
        names.

        Raises:
            ConfigurationError: names the setting and says what to write instead.
        """
        file = Path(environ.get("TREFOIL_CONFIG") or DEFAULT_FILE)
        return cls.read(_read(file), environ, file)

    @classmethod
    def load_apps(cls, environ: Mapping[str, str]) -> AppSettings:
        """The file's section `apps` alone: for commands that call no upstream, and need no key of one.

        Raises:
            ConfigurationError: as `load`.
        """
        file = Path(environ.get("TREFOIL_CONFIG") or DEFAULT_FILE)
        try:
            return _checked(AppSettings, _read(file).get("apps", {}), ("apps",))
        except _Mistake as mistake:
            raise ConfigurationError(_explain(mistake, file, {})) from None

    @classmethod
    def read(cls, values: dict[str, Any], environ: Mapping[str, str], file: Path = DEFAULT_FILE) -> Settings:
        """Settings from what stands in `file`; otherwise as `load`."""
        places = _places(_complete_upstreams(values, file))
        given = {place: name for name, place in places.items() if environ.get(name)}
        for place, name in given.items():
            _put(values, place, environ[name])
        try:
            for name, upstream in values["upstreams"].items():
                _complete_account(upstream, environ)
                values["upstreams"][name] = _checked(model_of(upstream["kind"]), upstream, ("upstreams", name))
            for alias, model in values.get("models", {}).items():
                values["models"][alias] = _checked(ModelSettings, model, ("models", alias))
            for name, price in values.get("prices", {}).items():
                values["prices"][name] = _checked(PriceSettings, price, ("prices", name))
            if "tasks" in values:
                values["tasks"] = _tasks(values["tasks"])
            settings = _checked(cls, values, ())
        except _Mistake as mistake:
            raise ConfigurationError(_explain(mistake, file, given)) from None
        has_proxies = any(environ[name] for name in environ if name.lower().endswith("_proxy"))
        return settings.model_copy(update={"keys": _keys(settings, environ), "has_proxies": has_proxies})

    def _fits_together(self, _context: None) -> None:
        for alias, model in self.models.items():
            for target in model.targets:
                if target.upstream not in self.upstreams:
                    known = ", ".join(self.upstreams)
                    raise ValueError(
                        f"models.{alias}.targets: '{target.upstream}' is none of the upstreams, which are {known}"
                    )
        for name, price in self.prices.items():
            if price.upstream is not None and price.upstream not in self.upstreams:
                known = ", ".join(self.upstreams)
                raise ValueError(
                    f"prices.{name}.upstream: '{price.upstream}' is none of the upstreams, which are {known}"
                )
            if price.same_as is not None and not _has_price(price.same_as):
                raise ValueError(
                    f"prices.{name}.same_as: no price of '{price.same_as}' is known: write another model's name, or "
                    "this model's own prices"
                )
        for name, settings in self.upstreams.items():
            if settings.needs_azure_identity and not (self.identity_endpoint and self.identity_header):
                raise ValueError(
                    f"upstreams.{name}: this process has no managed identity (Azure would set IDENTITY_ENDPOINT): "
                    "switch one on for the function app, or write api_key_env"
                )


_DEFAULT_UPSTREAM = "<default>"

ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "TREFOIL_ADMIN_KEY": ("admin_key",),
    "TREFOIL_REQUEST_TIMEOUT_SECONDS": ("request_timeout_seconds",),
    "TREFOIL_STORE": ("store",),
    "TREFOIL_UPSTREAM_URL": ("upstreams", _DEFAULT_UPSTREAM, "base_url"),
}
"""The variables that an operator can set, and the setting that each one gives."""

_PLATFORM: Mapping[str, tuple[str, ...]] = {
    "IDENTITY_ENDPOINT": ("identity_endpoint",),
    "IDENTITY_HEADER": ("identity_header",),
}
"""The variables that Azure sets where a managed identity is switched on."""

_SECTIONS = ("upstreams", "models", "route", "retry", "limits", "apps", "cors", "prices", "tasks")
_TABLES_OF_SECTIONS = ("upstreams", "models", "prices")
_SECRETS = ("api_key", "key", "token", "secret", "password")


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
        for key, table in section.items() if name in _TABLES_OF_SECTIONS else ():
            if not isinstance(table, dict):
                raise ConfigurationError(f"{file}: {name}.{key} is no table: write [{name}.NAME] above its settings.")
    return values


def _complete_upstreams(values: dict[str, Any], file: Path) -> str:
    """Put in what the file leaves out of its upstreams: the only one, their kinds, which one is the default."""
    upstreams: dict[str, dict[str, Any]] = values.setdefault("upstreams", {}) or {"openai": {}}
    values["upstreams"] = upstreams
    for name, upstream in upstreams.items():
        _refuse_secrets(f"{file}: upstreams.{name}", upstream)
        if name in KINDS:
            upstream.setdefault("kind", name)
        if upstream.get("kind") not in KINDS:
            raise ConfigurationError(f"{file}: upstreams.{name}.kind: write one of {', '.join(KINDS)}.")
    route = values.setdefault("route", {})
    if len(upstreams) == 1:
        route.setdefault("default_upstream", next(iter(upstreams)))
    default = route.get("default_upstream", "openai")
    if not isinstance(default, str) or default not in upstreams:
        raise ConfigurationError(f"{file}: route.default_upstream: write one of {', '.join(upstreams)}.")
    return default


def _complete_account(upstream: dict[str, Any], environ: Mapping[str, str]) -> None:
    """OpenAI's organisation and project from the variables that its SDK reads, where the file does not name them."""
    if upstream["kind"] == "openai":
        for setting, variable in (("organization", "OPENAI_ORG_ID"), ("project", "OPENAI_PROJECT_ID")):
            if environ.get(variable):
                upstream.setdefault(setting, _word(variable, environ))


def _tasks(values: Mapping[str, Any]) -> Section:
    from core import task_settings  # noqa: PLC0415 - where nothing is said of tasks, nothing of them is loaded

    return task_settings.read(values, _checked)


def _refuse_secrets(place: str, upstream: Mapping[str, Any]) -> None:
    for name in upstream:
        if name in _SECRETS:
            raise ConfigurationError(
                f'{place}.{name}: a secret must not stand in this file: write api_key_env = "NAME_OF_A_VARIABLE", '
                "and give the secret to that variable."
            )


def _has_price(model: str) -> bool:
    from core.prices import Prices  # noqa: PLC0415 - few need the table of prices here, and all would pay for it

    return Prices({}).has(model)


def _keys(settings: Settings, environ: Mapping[str, str]) -> Mapping[str, Secret]:
    variables = {name: upstream.key_variable for name, upstream in settings.upstreams.items()}
    return {name: _key(name, variable, environ) for name, variable in variables.items() if variable}


def _key(upstream: str, variable: str, environ: Mapping[str, str]) -> Secret:
    if not environ.get(variable):
        raise ConfigurationError(f"{variable} is not set: give it the key to call the upstream '{upstream}' with.")
    key = _word(variable, environ)
    return Secret(key)


def _word(variable: str, environ: Mapping[str, str]) -> str:
    word = environ[variable]
    if not (word.isascii() and word.isprintable() and " " not in word):
        raise ConfigurationError(
            f"{variable}: it holds a blank, a line break or a character that no key has: write the key alone."
        )
    return word


def _places(default_upstream: str) -> Mapping[str, tuple[str, ...]]:
    return {
        name: tuple(default_upstream if step == _DEFAULT_UPSTREAM else step for step in place)
        for name, place in {**ENVIRONMENT, **_PLATFORM}.items()
    }


def _put(values: dict[str, Any], place: tuple[str, ...], value: str) -> None:
    *sections, name = place
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = value


@dataclass
class _Mistake(Exception):
    place: tuple[str, ...]
    problem: ErrorDetails


def _checked(model: type[_Model], values: Mapping[str, Any], place: tuple[str, ...]) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise _Mistake((*place, *map(str, problem["loc"])), problem) from None


def _explain(mistake: _Mistake, file: Path, given: Mapping[tuple[str, ...], str]) -> str:
    """The mistake in words, with the name of the variable, or of the place in `file`, that holds it."""
    place, kind = mistake.place, mistake.problem["type"]
    setting = given.get(place) or ": ".join([str(file), *([".".join(place)] if place else [])])
    if kind == "extra_forbidden":
        return f"{setting}: there is no such setting."
    if kind == "missing":
        return f"{setting}: it is missing."
    reason = mistake.problem["msg"].removeprefix("Value error, ")
    return f"{setting}: {reason[:1].lower()}{reason[1:]}."
