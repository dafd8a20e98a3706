"""The models that the service has."""

from __future__ import annotations

from local.offline import catalog
from local.offline.call import Call, document
from local.offline.checks import check_model
from local.offline.script import Reply


def list_all(call: Call) -> Reply:
    """GET /v1/models."""
    return document({"object": "list", "data": [catalog.describe(name) for name in catalog.MODELS]})


def retrieve(call: Call) -> Reply:
    """GET /v1/models/{model}."""
    check_model(call.names["model"])
    return document(catalog.describe(call.names["model"]))
