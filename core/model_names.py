"""The models that are offered under names of our own: the aliases of `trefoil.toml`, before upstream's list. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any


def describe(alias: str) -> bytes:
    """An alias as OpenAI describes a model."""
    return json.dumps(_model(alias), ensure_ascii=False).encode()


def with_aliases(listed: bytes, aliases: Collection[str]) -> bytes:
    """Upstream's list of models with the aliases before it; as it came where there are none, or it is no such list."""
    answer = json.loads(listed)
    models = answer.get("data")
    if not aliases or not isinstance(models, list):
        return listed
    others = [model for model in models if not (isinstance(model, dict) and model.get("id") in aliases)]
    return json.dumps({**answer, "data": [*map(_model, aliases), *others]}, ensure_ascii=False).encode()


def _model(alias: str) -> dict[str, Any]:
    return {"id": alias, "object": "model", "created": 0, "owned_by": "trefoil"}
