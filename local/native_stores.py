"""How the emulator of each cloud's own store is started, and what a function finds it by."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from local import cosmos_emulator
from local.runtime_api import REGION

TABLE = "trefoil"
PROJECT = "trefoil-local"

MODULES: Mapping[str, str] = {
    "aws": "local.dynamodb_emulator",
    "azure": "local.cosmos_emulator",
    "gcp": "local.firestore_emulator",
}
OPTIONS: Mapping[str, tuple[str, ...]] = {"aws": ("--table", TABLE, "--region", REGION), "azure": (), "gcp": ()}
PROBES: Mapping[str, str] = {
    "aws": "/healthz",
    "azure": f"/dbs/{cosmos_emulator.DATABASE}/colls/{cosmos_emulator.CONTAINER}",
    "gcp": "/healthz",
}
"""What is there as soon as the store can be used."""


def variables(cloud: str, url: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables by which a function of `cloud` finds its store, whose emulator answers at `url`.

    Args:
        environ: the caller's, which may hold an account for the upstream.
    """
    if cloud == "aws":
        has_account = "AWS_ACCESS_KEY_ID" in environ or "AWS_PROFILE" in environ
        placeholders = {} if has_account else {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
        return {
            "TREFOIL_STORE": f"dynamodb:{TABLE}",
            "AWS_ENDPOINT_URL_DYNAMODB": url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            **placeholders,
        }
    if cloud == "azure":
        container = f"{cosmos_emulator.DATABASE}/{cosmos_emulator.CONTAINER}"
        return {"TREFOIL_STORE": f"cosmos:{url}/{container}", "TREFOIL_COSMOS_KEY": cosmos_emulator.KEY}
    return {"TREFOIL_STORE": f"firestore:{PROJECT}", "FIRESTORE_EMULATOR_HOST": urlsplit(url).netloc}
