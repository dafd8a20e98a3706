"""Where AWS's services answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from core.errors import ConfigurationError
from core.http_client import target_of

_EVERYWHERE = "AWS_ENDPOINT_URL"
_FIPS = "AWS_USE_FIPS_ENDPOINT"
_REGION = re.compile(r"[a-z0-9-]{1,63}")

_DOMAIN = "amazonaws.com"
_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
}
"""By what the region's name begins with: the partitions that are apart from the rest, as botocore's data has them."""
_ALWAYS_FIPS = {("dynamodb", "us-gov-")}
"""Services and partitions in which they have no other endpoint."""


def endpoint(service: str, variable: str, region: str, environ: Mapping[str, str]) -> str:
    """The URL of a service in a region, or the one that the variable named `variable`, or AWS_ENDPOINT_URL for all
    services, has in its place: an emulator's, or that of an endpoint in a VPC.

    Args:
        service: as hosts are called: `dynamodb`.

    Raises:
        ConfigurationError: no region is called so, or the variable holds no URL.
    """
    for name in (variable, _EVERYWHERE):
        if url := environ.get(name):
            return _checked(url, name)
    if not _REGION.fullmatch(region):
        raise ConfigurationError(f"AWS_REGION: '{region}' is no region of AWS.")
    domain = next((domain for start, domain in _DOMAINS.items() if region.startswith(start)), _DOMAIN)
    fips = "-fips" if environ.get(_FIPS, "").lower() == "true" and (service, region[:7]) not in _ALWAYS_FIPS else ""
    return f"https://{service}{fips}.{region}.{domain}"


def _checked(url: str, name: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # which is looked at only when it is asked for
        target_of(parts.path)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"{name}: '{url}' is no URL of a server: write http://HOST:PORT or https://HOST.")
    return url
