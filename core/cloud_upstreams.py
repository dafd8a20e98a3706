"""The upstreams other than OpenAI itself, as `[upstreams.NAME]` of `trefoil.toml` describes them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Literal
from urllib.parse import urlsplit

from core.model import limited
from core.upstream_settings import UpstreamSettings, Url


class AzureUpstream(UpstreamSettings):
    """Azure OpenAI: its v1 API, or, with `api_version`, the dated one, whose paths name the deployment."""

    kind: Literal["azure"] = "azure"
    base_url: Url
    """The resource's endpoint. Where it has no path, the API's own is added."""
    api_version: str | None = None
    managed_identity: bool = False
    managed_identity_client_id: str | None = None
    """Which of several user-assigned identities."""
    identity_resource: str = "https://cognitiveservices.azure.com"
    """Whom the identity's token is for."""

    @property
    def needs_azure_identity(self) -> bool:
        return self.managed_identity

    @property
    def key_url(self) -> str | None:
        return None if self.managed_identity or self.api_version else self.api_url

    @property
    def names_deployments(self) -> bool:
        return self.api_version is not None

    @property
    def api_url(self) -> str:
        if urlsplit(self.base_url).path:
            return self.base_url
        return self.base_url + ("/openai" if self.api_version else "/openai/v1")

    def _fits_together(self, _context: None) -> None:
        if (self.api_key_env is None) != self.managed_identity:
            raise ValueError('write either api_key_env = "NAME_OF_A_VARIABLE" or managed_identity = true')


class BedrockUpstream(UpstreamSettings):
    """Amazon Bedrock. Without a key, calls are signed with the function's own role."""

    kind: Literal["bedrock"] = "bedrock"
    region: Annotated[str, limited(pattern=r"^[a-z]{2,8}(-[a-z0-9]+)+-\d+$")]
    endpoint: Literal["mantle", "runtime"] = "mantle"
    base_url: Url | None = None

    def _fits_together(self, _context: None) -> None:
        if self.api_key_env is None and not _is_installed("botocore"):
            raise ValueError(
                "signing with the function's own role needs the package botocore, which is not installed: add "
                'openai[bedrock] to requirements.txt, or write api_key_env = "AWS_BEARER_TOKEN_BEDROCK"'
            )


class VertexUpstream(UpstreamSettings):
    """Google Vertex AI, with the function's own service account or what Google's library finds."""

    kind: Literal["vertex"] = "vertex"
    project: Annotated[str, limited(pattern=r"^[a-zA-Z0-9_-][a-zA-Z0-9_.:-]*$")] | None = None
    location: Annotated[str, limited(pattern=r"^[a-z0-9-]+$")] | None = None
    base_url: Url | None = None
    """The API's root; by default that of the project's OpenAI models."""
    credentials: Literal["metadata", "adc"] = "metadata"
    api_key_env: None = None

    def _fits_together(self, _context: None) -> None:
        if self.base_url is None and not (self.project and self.location):
            raise ValueError("write project and location, or base_url")
        if self.credentials == "adc" and not (_is_installed("google.auth") and _is_installed("requests")):
            raise ValueError(
                'credentials = "adc" needs the package google-auth, which is not installed: add openai[vertex] to '
                'requirements.txt, or write credentials = "metadata" for the function\'s own service account'
            )


class CompatibleUpstream(UpstreamSettings):
    """Any other server that speaks OpenAI's API."""

    kind: Literal["compatible"] = "compatible"
    base_url: Url

    @property
    def key_url(self) -> str | None:
        return self.base_url


MODELS: Mapping[str, type[UpstreamSettings]] = {
    "azure": AzureUpstream,
    "bedrock": BedrockUpstream,
    "vertex": VertexUpstream,
    "compatible": CompatibleUpstream,
}


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False
