"""A service that can answer a call, as `[upstreams.NAME]` of `trefoil.toml` describes it; here, OpenAI itself."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator


class Section(BaseModel):
    """A part of the file: what it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _is_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("write a URL that begins with http:// or https://, such as https://api.openai.com/v1")
    parts = urlsplit(value)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("write the URL without a user, a password, a query or a fragment")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_is_url)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]
"""A variable's name, in capitals: so written, a key that someone puts here by mistake is refused, and not repeated."""


class UpstreamSettings(Section):
    """What all kinds have."""

    model_config = ConfigDict(defer_build=True)

    kind: str
    api_key_env: VariableName | None = None
    """The name of the variable that holds the key."""
    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 5
    reports_stream_usage: bool = True
    """Whether it understands `stream_options`, by which a chat's stream says at its end what it has used."""
    silence_timeout_seconds: Annotated[float, Field(gt=0)] = 600
    """The longest wait for upstream's next byte."""

    @property
    def key_variable(self) -> str | None:
        """The variable that has to hold a key, if any."""
        return self.api_key_env

    @property
    def key_url(self) -> str | None:
        """The API's root where a key, or nothing, is all that it asks for; None where a call takes more."""
        return None

    @property
    def needs_azure_identity(self) -> bool:
        return False

    @property
    def names_deployments(self) -> bool:
        """Whether the model's name stands in the URL."""
        return False


class WorkloadIdentity(Section):
    """A token of the platform's, for which OpenAI gives one of its own: no key at all."""

    model_config = ConfigDict(defer_build=True)

    platform: Literal["azure", "gcp", "kubernetes"]
    identity_provider_id: str
    service_account_id: str
    audience: str | None = None
    """Whom the platform's token is for: the id token's audience on GCP, the resource on Azure."""


class OpenAIUpstream(UpstreamSettings):
    kind: Literal["openai"] = "openai"
    base_url: Url = "https://api.openai.com/v1"
    organization: str | None = None
    project: str | None = None
    workload_identity: WorkloadIdentity | None = None

    @property
    def key_variable(self) -> str | None:
        return None if self.workload_identity else self.api_key_env or "OPENAI_API_KEY"

    @property
    def key_url(self) -> str | None:
        return None if self.workload_identity else self.base_url

    @property
    def needs_azure_identity(self) -> bool:
        return self.workload_identity is not None and self.workload_identity.platform == "azure"

    @model_validator(mode="after")
    def _has_one_credential(self) -> OpenAIUpstream:
        if self.api_key_env and self.workload_identity:
            raise ValueError("write api_key_env or workload_identity, not both")
        return self


KINDS = ("openai", "azure", "bedrock", "vertex", "compatible")


def model_of(kind: str) -> type[UpstreamSettings]:
    if kind == "openai":
        return OpenAIUpstream
    from core import cloud_upstreams  # noqa: PLC0415 - few need it, and all would pay for it at a cold start

    return cloud_upstreams.MODELS[kind]
