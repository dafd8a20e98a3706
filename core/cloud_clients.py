"""The clients of other upstreams than OpenAI with a key, with each cloud's own credentials."""

from __future__ import annotations

from functools import partial

import openai
from openai import auth
from openai.providers import bedrock, vertex

from core import cloud_identity
from core.cloud_upstreams import AzureUpstream, BedrockUpstream, CompatibleUpstream, VertexUpstream
from core.openai_client import Common
from core.settings import Settings
from core.upstream_settings import OpenAIUpstream, UpstreamSettings, WorkloadIdentity


def make(upstream: UpstreamSettings, key: str | None, settings: Settings, common: Common) -> openai.AsyncOpenAI:
    """
    Raises:
        OpenAIError: the SDK refuses the settings.
    """
    if isinstance(upstream, OpenAIUpstream):
        return _keyless(upstream, settings, common)
    if isinstance(upstream, BedrockUpstream):
        return _bedrock(upstream, key, common)
    if isinstance(upstream, VertexUpstream):
        return _vertex(upstream, common)
    if isinstance(upstream, AzureUpstream):
        client = _azure(upstream, key, settings, common)
    else:
        assert isinstance(upstream, CompatibleUpstream)
        client = openai.AsyncOpenAI(api_key=key or "anonymous", base_url=upstream.base_url, **common)
    # The SDK reads these from variables that are meant for OpenAI alone.
    client.organization = client.project = None
    return client


def _keyless(upstream: OpenAIUpstream, settings: Settings, common: Common) -> openai.AsyncOpenAI:
    identity = upstream.workload_identity
    assert identity is not None
    return openai.AsyncOpenAI(
        workload_identity={
            "identity_provider_id": identity.identity_provider_id,
            "service_account_id": identity.service_account_id,
            "provider": _platform_token(identity, settings),
        },
        base_url=upstream.base_url,
        organization=upstream.organization,
        project=upstream.project,
        **common,
    )


def _platform_token(identity: WorkloadIdentity, settings: Settings) -> auth.SubjectTokenProvider:
    if identity.platform == "kubernetes":
        return auth.k8s_service_account_token_provider()
    if identity.platform == "gcp":
        return auth.gcp_id_token_provider(identity.audience or "https://api.openai.com/v1")
    # The SDK's own provider asks the address that virtual machines have; function apps have another.
    endpoint, header = _managed_identity(settings)
    resource = identity.audience or "https://management.azure.com/"
    token = partial(cloud_identity.azure_token, endpoint, header, resource=resource)
    return {"token_type": "jwt", "get_token": lambda: token()[0]}


def _managed_identity(settings: Settings) -> tuple[str, str]:
    assert settings.identity_endpoint is not None
    assert settings.identity_header is not None
    return settings.identity_endpoint, settings.identity_header.get_secret_value()


def _azure(upstream: AzureUpstream, key: str | None, settings: Settings, common: Common) -> openai.AsyncOpenAI:
    token = None
    if key is None:
        endpoint, header = _managed_identity(settings)
        resource, client_id = upstream.identity_resource, upstream.managed_identity_client_id
        token = cloud_identity.cached(
            partial(cloud_identity.azure_token, endpoint, header, resource=resource, client_id=client_id)
        )
    if upstream.api_version is None:
        return openai.AsyncOpenAI(api_key=key or token, base_url=upstream.api_url, **common)
    return openai.AsyncAzureOpenAI(
        api_key=key,
        azure_ad_token_provider=token,
        base_url=upstream.api_url,
        api_version=upstream.api_version,
        **common,
    )


def _bedrock(upstream: BedrockUpstream, key: str | None, common: Common) -> openai.AsyncOpenAI:
    # No key here means the role's signature, not a key from a variable that the file does not name.
    provider = bedrock(endpoint=upstream.endpoint, region=upstream.region, base_url=upstream.base_url, api_key=key)
    return openai.AsyncOpenAI(provider=provider, **common)


def _vertex(upstream: VertexUpstream, common: Common) -> openai.AsyncOpenAI:
    token = None
    if upstream.credentials == "metadata":
        token = cloud_identity.cached(cloud_identity.google_token)
    provider = vertex(
        project=upstream.project, location=upstream.location, base_url=upstream.base_url, token_provider=token
    )
    return openai.AsyncOpenAI(provider=provider, **common)
