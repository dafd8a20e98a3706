"""Where AWS's services are: as its SDK finds them, in every region that it knows."""

from __future__ import annotations

import importlib.util
import re

import pytest

from aws_endpoint import endpoint
from core.errors import ConfigurationError

_SERVICES = {"dynamodb": "AWS_ENDPOINT_URL_DYNAMODB", "secretsmanager": "AWS_ENDPOINT_URL_SECRETS_MANAGER"}
_SERVICE = next(iter(_SERVICES.items()))


@pytest.mark.skipif(importlib.util.find_spec("botocore") is None, reason="needs the package 'botocore'")
@pytest.mark.parametrize(("service", "variable"), _SERVICES.items())
@pytest.mark.parametrize("fips", [False, True])
def test_amazons_sdk_finds_the_same(service: str, variable: str, fips: bool) -> None:
    import botocore.session  # type: ignore[import-untyped]  # noqa: PLC0415 - where it is installed
    from botocore.endpoint_provider import EndpointProvider  # type: ignore[import-untyped]  # noqa: PLC0415

    loader = botocore.session.Session().get_component("data_loader")
    partitions = loader.load_data("partitions")
    rules = EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), partitions)
    regions = [region for partition in partitions["partitions"] for region in partition["regions"]]
    regions = [region for region in regions if not region.endswith("-global")]
    assert len(regions) > 30
    environ = {"AWS_USE_FIPS_ENDPOINT": str(fips).lower()}
    for region in regions:
        known = rules.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=False).url
        assert endpoint(service, variable, region, environ) == known


def test_a_variable_of_the_service_goes_before_that_of_all() -> None:
    environ = {"AWS_ENDPOINT_URL": "http://all:1"}
    assert endpoint(*_SERVICE, "us-east-1", environ) == "http://all:1"
    environ["AWS_ENDPOINT_URL_DYNAMODB"] = "https://one.example"
    assert endpoint(*_SERVICE, "us-east-1", environ) == "https://one.example"
    environ["AWS_ENDPOINT_URL_DYNAMODB"] = ""  # as good as not set
    assert endpoint(*_SERVICE, "us-east-1", environ) == "http://all:1"


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://h:x", "ftp://h", "http://h/?a=b"])
def test_a_variable_that_holds_no_url_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"AWS_ENDPOINT_URL: '{url}' is no URL of a server")):
        endpoint(*_SERVICE, "us-east-1", {"AWS_ENDPOINT_URL": url})


@pytest.mark.parametrize("region", ["", "evil.example/", "us east", "EU-WEST-1"])
def test_what_cannot_be_a_region_is_refused(region: str) -> None:
    with pytest.raises(ConfigurationError, match=f"AWS_REGION: '{region}' is no region"):
        endpoint(*_SERVICE, region, {})
