"""What a cold start loads: so many modules, in so many times the time that pydantic alone takes, and no more.

Who goes over a budget has added something that the first request may not need. What it is, `python -X importtime` says.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from local.staging import stage

_RUNS = 5
_MEASURE = "\nimport sys, time; print(len(sys.modules), time.process_time())"
_ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-any",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "IDENTITY_ENDPOINT": "http://localhost:1",
    "IDENTITY_HEADER": "any",
}
_EMBEDDED = "sqlite:/nowhere/store"
_NEVER = {
    "aiohttp",
    "boto3",
    "botocore",
    "core.cloud_clients",
    "core.cloud_upstreams",
    "core.manage",
    "core.openapi",
    "openai.resources.chat",
    "openai.types.chat.chat_completion",
    "pydantic",
}


@dataclass(frozen=True)
class Budget:
    """What one cloud's entry may load beyond what its platform's runtime has loaded."""

    cloud: str
    entry: str
    runtime: str
    """What the platform imports before the entry."""
    modules: int
    pydantics: float
    """In units of the CPU time that `import pydantic` takes."""
    store: str


_AZURE = Budget(
    "azure",
    "function_app",
    "import azure.functions, azurefunctions.extensions.base",
    modules=165,
    pydantics=4,
    store="cosmos:https://any.documents.azure.com/trefoil/items",
)
_GCP = Budget("gcp", "main", "import functions_framework.aio", modules=110, pydantics=4, store="firestore:any-project")
_BUDGETS = [
    Budget("aws", "lambda_function", "import json", modules=230, pydantics=4, store="dynamodb:trefoil"),
    _AZURE,
    replace(_AZURE, store=_EMBEDDED),
    _GCP,
    replace(_GCP, store=_EMBEDDED),
]
"""Of the time, about a half is used: a busy machine makes more of a difference than a small module."""


def _loaded(program: str, folder: Path, store: str) -> tuple[int, float]:
    """How many modules a program has loaded in the end, and how many seconds of CPU it has taken."""
    environment = {**_ENVIRONMENT, "TREFOIL_STORE": store, "PATH": os.environ["PATH"], "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", program + _MEASURE]
    run = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    modules, seconds = run.stdout.split()
    return int(modules), float(seconds)


@pytest.mark.parametrize("budget", _BUDGETS, ids=lambda budget: f"{budget.cloud}-{budget.store.partition(':')[0]}")
def test_a_cold_start_loads_no_more_than_it_may(budget: Budget, tmp_path: Path) -> None:
    folder = stage(budget.cloud, tmp_path / budget.cloud)
    compileall.compile_dir(folder, quiet=1)
    entry = f"{budget.runtime}\nimport {budget.entry}\nimport sys\nassert not {_NEVER} & set(sys.modules)"
    bare: list[float] = []
    runtime: list[float] = []
    pydantic: list[float] = []
    whole: list[float] = []
    for _ in range(_RUNS):  # in turns, so that what else the machine does hits all of them; the least is the truest
        bare.append(_loaded("", folder, budget.store)[1])
        pydantic.append(_loaded("import pydantic", folder, budget.store)[1])
        before, seconds = _loaded(budget.runtime, folder, budget.store)
        runtime.append(seconds)
        after, seconds = _loaded(entry, folder, budget.store)
        whole.append(seconds)
    assert after - before <= budget.modules
    assert (min(whole) - min(runtime)) / (min(pydantic) - min(bare)) <= budget.pydantics
