"""What an app may call, whatever it costs. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from core import errors
from core.endpoints import USAGE, Endpoint
from core.ports import App


def check(app: App, endpoint: Endpoint, model: str | None) -> None:
    """Let a call pass that the app may make.

    Args:
        model: as the client names it, in the body or in the path; None where it names none.

    Raises:
        NotAllowed: the endpoint or the model is not the app's to use.
        InvalidRequest: it names no model, and the app may not use any.
    """
    limits = app.limits
    if endpoint is not USAGE and not may_use(app, endpoint.name):
        raise errors.NotAllowed(
            f"The app '{app.id}' may not use {endpoint.method} {endpoint.path}: this service's operator can allow it.",
            code="endpoint_not_allowed",
        )
    if not limits.models or not _needs_model(endpoint):
        return
    if model is None:
        raise errors.InvalidRequest(
            f"The app '{app.id}' may use some models only, so the request has to name one.",
            param="model",
            code="missing_required_parameter",
        )
    if not is_allowed(app, model):
        raise errors.NotAllowed(
            f"The app '{app.id}' may not use the model '{model}': this service's operator can allow it.",
            param="model",
            code="model_not_allowed",
        )


def may_use(app: App, endpoint: str) -> bool:
    """Whether an endpoint of this name is the app's to use, whatever its model."""
    return not app.limits.endpoints or _matches(endpoint, app.limits.endpoints)


def is_allowed(app: App, model: str) -> bool:
    return not app.limits.models or _matches(model, app.limits.models)


def only_allowed(app: App, listed: bytes) -> bytes:
    """A list of models less those that the app may not use."""
    answer: dict[str, Any] = json.loads(listed)
    models = answer.get("data")
    if not app.limits.models or not isinstance(models, list):
        return listed
    mine = [model for model in models if isinstance(model, dict) and is_allowed(app, str(model.get("id")))]
    return json.dumps({**answer, "data": mine}, ensure_ascii=False).encode()


def _needs_model(endpoint: Endpoint) -> bool:
    """Whether a model works for the call, or is what it is about."""
    return endpoint.infers or endpoint.name == "models.retrieve"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
