"""A service that can answer a call, as `[upstreams.NAME]` of `trefoil.toml` describes it; here, OpenAI itself."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from core.http_client import InvalidTarget, target_of
from core.model import Model, checked, limited


class Section(Model):
    """A part of the file: what it does not know is a mistake."""

    EXTRA = "forbid"


def _is_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("write a URL that begins with http:// or https://, such as https://api.openai.com/v1")
    parts = urlsplit(value)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("write the URL without a user, a password, a query or a fragment")
    if not parts.hostname or parts.port == 0:  # and of a port that is none, urllib says so
        raise ValueError("write a host into the URL, and a port between 1 and 65535 or none")
    try:
        target_of(parts.path)
    except InvalidTarget:
        raise ValueError("write the URL without steps (. or ..) in its path") from None
    return value.rstrip("/")


Word = Annotated[str, limited(pattern=r"^[!-~]+$")]
"""What can be sent in a header."""
Url = Annotated[str, checked(_is_url)]
VariableName = Annotated[str, limited(pattern=r"^[A-Z][A-Z0-9_]*$")]
"""A variable's name, in capitals: so written, a key that someone puts here by mistake is refused, and not repeated."""


class UpstreamSettings(Section):
    """What all kinds have."""

    kind: str
    api_key_env: VariableName | None = None
    """The name of the variable that holds the key."""
    connect_timeout_seconds: Annotated[float, limited(gt=0)] = 5
    reports_stream_usage: bool = True
    """Whether it understands `stream_options`, by which a chat's stream says at its end what it has used."""
    silence_timeout_seconds: Annotated[float, limited(gt=0)] = 600
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

    platform: Literal["azure", "gcp", "kubernetes"]
    identity_provider_id: str
    service_account_id: str
    audience: str | None = None
    """Whom the platform's token is for: the id token's audience on GCP, the resource on Azure."""


class OpenAIUpstream(UpstreamSettings):
    kind: Literal["openai"] = "openai"
    base_url: Url = "https://api.openai.com/v1"
    organization: Word | None = None
    project: Word | None = None
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

    def _fits_together(self, _context: None) -> None:
        if self.api_key_env and self.workload_identity:
            raise ValueError("write api_key_env or workload_identity, not both")


KINDS = ("openai", "azure", "bedrock", "vertex", "compatible")


def model_of(kind: str) -> type[UpstreamSettings]:
    if kind == "openai":
        return OpenAIUpstream
    from core import cloud_upstreams  # noqa: PLC0415 - few need it, and all would pay for it at a cold start

    return cloud_upstreams.MODELS[kind]
