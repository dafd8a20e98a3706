"""The SDK whose types are not loaded has all that the SDK has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from local.staging import REPOSITORY

_PLAIN = "import openai"
_DEFERRED = "from core.openai_sdk import openai"

_SHOWN = """
import importlib, json, pkgutil, re, sys, types

def shown(value):
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))
"""
_ALL_NAMES = f"""{_SHOWN}
walked = pkgutil.walk_packages(openai.types.__path__, "openai.types.")
packages = [openai.types, openai.lib, *(importlib.import_module(one.name) for one in walked if one.ispkg)]
names = {{
    package.__name__: {{
        name: shown(value)
        for name, value in vars(package).items()
        if not name.startswith("__") and not isinstance(value, types.ModuleType)
    }}
    for package in packages
}}
print(json.dumps(names))
"""
_SAME_NAMES = f"""{_SHOWN}
asked = json.load(sys.stdin)
names = {{name: {{one: shown(getattr(importlib.import_module(name), one)) for one in asked[name]}} for name in asked}}
print(json.dumps(names))
"""


def _run(program: str, *paths: Path, given: str = "") -> str:
    environment = {"PYTHONPATH": ":".join(map(str, (*paths, REPOSITORY)))}
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, env=environment, check=True, input=given, stdout=subprocess.PIPE, text=True).stdout


def test_every_name_of_every_package_is_the_one_that_the_plain_import_has() -> None:
    plain = _run(_PLAIN + _ALL_NAMES)
    assert sum(map(len, json.loads(plain).values())) > 1_000
    assert json.loads(_run(_DEFERRED + _SAME_NAMES, given=plain)) == json.loads(plain)


def test_the_types_are_not_loaded() -> None:
    count = "import sys; print(sum(name.startswith('openai.types') for name in sys.modules))"
    assert int(_run(f"{_PLAIN}\n{count}")) > 300
    assert int(_run(f"{_DEFERRED}\n{count}")) < 30


@pytest.mark.parametrize(
    "program",
    [
        "from openai.types import *; Embedding, CompletionUsage, chat",
        "assert 'ChatModel' in dir(openai.types)",
        "assert not hasattr(openai.types, 'no_such_name')",
        "from openai.types.chat import ChatCompletion; ChatCompletion.model_json_schema()\n"
        "from openai.types.responses import Response, response_create_params\n"
        "from openai.lib import ResponseFormatT, pydantic_function_tool\n"
        "openai.AsyncOpenAI(api_key='sk-any').with_raw_response.responses.create\n"
        "openai.AsyncAzureOpenAI(api_key='any', azure_endpoint='https://x', api_version='1').embeddings",
        "from openai.providers import bedrock, vertex\n"
        "from openai.auth import gcp_id_token_provider, k8s_service_account_token_provider",
    ],
)
def test_the_rest_of_the_sdk_works(program: str) -> None:
    _run(f"{_DEFERRED}\n{program}")


def test_nothing_of_the_importing_is_left_behind() -> None:
    _run(
        "import gc, sys\n"
        "finders = list(sys.meta_path)\n"
        f"{_DEFERRED}\n"
        "assert sys.meta_path == finders\n"
        "assert gc.isenabled()\n"
        "assert 'aiohttp' not in sys.modules\n"
    )


def _sdk(folder: Path, types: str) -> Path:
    """A package `openai` with `openai.types` as `types` has it, beside a module `openai.types.a`."""
    package = folder / "openai" / "types"
    package.mkdir(parents=True)
    (folder / "openai" / "__init__.py").write_text("from . import types\n")
    (package / "__init__.py").write_text(types)
    (package / "a.py").write_text("A = 'of a'\na = 'of a, too'\nB = 'of a'\n")
    return folder


@pytest.mark.parametrize(
    "types",
    [
        "from .a import A as A\n",
        "# Comment\nfrom __future__ import annotations\n\nfrom .a import (\n    A as A,  # why\n    B,\n)\n",
    ],
)
def test_a_package_that_only_repeats_names_waits_to_be_asked(tmp_path: Path, types: str) -> None:
    sdk = _sdk(tmp_path, types)
    asked = f"{_DEFERRED}\nimport sys\nassert 'openai.types.a' not in sys.modules\nassert openai.types.A == 'of a'"
    _run(asked, sdk)


@pytest.mark.parametrize(
    ("types", "asked"),
    [
        pytest.param("A = 1 + 1\nfrom .a import B as B\n", "openai.types.A == 2", id="code"),
        pytest.param("from .a import A as C\n", "openai.types.C == 'of a'", id="another name"),
        pytest.param("from .a import *\n", "openai.types.B == 'of a'", id="all names"),
        pytest.param("from .a import a as a\n", "openai.types.a == 'of a, too'", id="a module's own name"),
        pytest.param("import os\nfrom .a import A\n", "openai.types.os.sep", id="another import"),
        pytest.param("__all__ = ['A']\nfrom .a import A\n", "openai.types.__all__ == ['A']", id="a list of names"),
    ],
)
def test_a_package_that_is_written_otherwise_is_run(tmp_path: Path, types: str, asked: str) -> None:
    sdk = _sdk(tmp_path, types)
    _run(f"{_DEFERRED}\nimport sys\nassert 'openai.types.a' in sys.modules\nassert {asked}", sdk)
