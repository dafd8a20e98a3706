"""Other gateways, installed on demand into environments of their own, and started as their makers say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from local.bench.servers import Variant, base_environ, bearer
from local.bench.workshop import FOLDER, HANDLERS, Workshop
from local.failure import Failure

_LITELLM = "litellm[proxy]==1.106.2"
_PORTKEY = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    # With the newest that it allows, every stream ends in a 500, for it appends to headers that are immutable there.
    "overrides": {"@hono/node-server": "1.13.8"},
}
_AIOHTTP = ("aiohttp==3.14.5", "uvloop==0.23.0")
_MASTER_KEY = "sk-benchmark-master"
_LITELLM_CONFIG = """\
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{url}/v1", api_key: sk-benchmark}}
general_settings: {{master_key: {key}}}
litellm_settings: {{telemetry: false}}
"""


def variant(name: str, shop: Workshop, upstream_url: str) -> Variant:
    """The peer `name`, installed if need be.

    Raises:
        Failure: there is no such peer, or it cannot be installed.
    """
    if name not in _PEERS:
        raise Failure(f"there is no peer '{name}': there are {', '.join(_PEERS)}")
    return _PEERS[name](shop, upstream_url)


def _litellm(shop: Workshop, upstream_url: str) -> Variant:
    environment = _python("litellm", _LITELLM)
    config = FOLDER / "litellm.yaml"
    config.write_text(_LITELLM_CONFIG.format(url=upstream_url, key=_MASTER_KEY), "utf-8")
    command = (str(environment / "bin/litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", "{port}")
    environ = {**base_environ(shop, upstream_url), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Variant("LiteLLM", (*command, "--num_workers", "1"), FOLDER, environ, bearer(_MASTER_KEY))


def _portkey(shop: Workshop, upstream_url: str) -> Variant:
    folder = FOLDER / "portkey"
    program = folder / "node_modules/@portkey-ai/gateway/build/start-server.js"
    described, description = folder / "package.json", json.dumps(_PORTKEY)
    if not (program.is_file() and described.is_file() and described.read_text("utf-8") == description):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        described.write_text(description, "utf-8")
        options = ("--silent", "--no-package-lock", "--no-audit", "--no-fund")
        _run(["npm", "install", *options, "--prefix", folder])
    headers = {
        **bearer("sk-benchmark"),
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"{upstream_url}/v1",
    }
    environ = {**base_environ(shop, upstream_url), "NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
    command = (_node(), str(program), "--headless", "--port={port}")
    return Variant("Portkey", command, FOLDER, environ, headers)


def _aiohttp(shop: Workshop, upstream_url: str) -> Variant:
    environment = _python("aiohttp", *_AIOHTTP)
    command = (str(environment / "bin/python"), str(HANDLERS / "thin_aiohttp.py"), "{port}")
    return Variant("thin proxy, aiohttp", command, FOLDER, base_environ(shop, upstream_url))


_PEERS: Mapping[str, Callable[[Workshop, str], Variant]] = {
    "litellm": _litellm,
    "portkey": _portkey,
    "aiohttp": _aiohttp,
}


def _python(name: str, *requirements: str) -> Path:
    """A virtual environment with `requirements`, kept between runs."""
    environment, mark = FOLDER / name, FOLDER / name / "installed.txt"
    if mark.is_file() and mark.read_text("utf-8").split() == [*requirements]:
        return environment
    _run([sys.executable, "-m", "venv", "--clear", environment])
    pip = (environment / "bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run([*pip, "install", *requirements])
    mark.write_text(" ".join(requirements), "utf-8")
    return environment


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        raise Failure("Portkey's gateway needs Node.js, which is not installed: there is no `node` on the PATH")
    return node


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))} failed: {done.stderr[-2000:]}")
