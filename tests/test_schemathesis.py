"""schemathesis against each local cloud, by what /openapi.json says: no server error, no answer that is not described
there, no hang.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from core.endpoints import ENDPOINTS
from local.services import CLOUDS
from local_deployment import LocalDeployment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("schemathesis") is None,
        reason="needs schemathesis, which is one of the development dependencies",
    ),
]

_CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)
_MODEL = "gpt-4o-mini"
_HANGING_SECONDS = "20"
_FULL_VARIABLE = "TREFOIL_FUZZ_SECONDS"
"""Set to how long to fuzz each cloud, it also makes each cloud cover everything; see `_covered`."""
_FUZZING = ("--seed", "1", "--max-examples", "2")
_COUNTS = re.compile(r"Selected: (\d+)/.*?Tested: (\d+)", re.DOTALL)


@pytest.fixture(scope="module")
def objects(deployment: LocalDeployment) -> Mapping[str, str]:
    """The app's own objects, by the names that they have in paths: without them, most calls end at a 404."""
    with openai.OpenAI(base_url=deployment.base_urls["gcp"], api_key=deployment.app_key) as client:
        message = "Say hello."
        return {
            "model": _MODEL,
            "response_id": client.responses.create(model=_MODEL, input=message).id,
            "conversation_id": client.conversations.create().id,
            "completion_id": client.chat.completions.create(
                model=_MODEL, messages=[{"role": "user", "content": message}], store=True
            ).id,
            "file_id": client.files.create(file=("a.txt", b"text"), purpose="assistants").id,
            "upload_id": client.uploads.create(
                bytes=4, filename="a.txt", mime_type="text/plain", purpose="assistants"
            ).id,
            "vector_store_id": client.vector_stores.create(name="store").id,
            "container_id": client.containers.create(name="container").id,
        }


def test_every_described_call_is_answered_as_described(
    deployment: LocalDeployment, objects: Mapping[str, str], tmp_path: Path
) -> None:
    """The boundaries of the description with objects that exist, then at random with any."""
    config = tmp_path / "objects.toml"  # not the name that is read unasked: random calls have random objects
    config.write_text(_config(objects), "utf-8")

    fuzzing = ["--max-time", os.environ[_FULL_VARIABLE]] if _FULL_VARIABLE in os.environ else _FUZZING

    def explore(cloud: str) -> list[str]:
        covered = _run(deployment, cloud, tmp_path, "--phases", "coverage", *_covered(cloud), config=config)
        return [*covered, *_run(deployment, cloud, tmp_path, "--phases", "fuzzing", *fuzzing)]

    with ThreadPoolExecutor(len(CLOUDS)) as pool:
        found = dict(zip(CLOUDS, pool.map(explore, CLOUDS), strict=True))
    assert found == {cloud: [] for cloud in CLOUDS}


def _covered(cloud: str) -> list[str]:
    """The options that choose a third of the operations, another one for each cloud: one core is behind them all."""
    if _FULL_VARIABLE in os.environ:
        return []
    mine = [row.name for row in ENDPOINTS][CLOUDS.index(cloud) :: len(CLOUDS)]
    return [f"--include-operation-id={name}" for name in mine]


def _config(objects: Mapping[str, str]) -> str:
    """One object of each kind, for all calls but those that would end it before the others have used it."""
    parameters = ", ".join(f'"path.{name}" = {json.dumps(value)}' for name, value in objects.items())
    return f'[[operations]]\nexclude-method = "DELETE"\nparameters = {{ {parameters} }}\n'


def _run(deployment: LocalDeployment, cloud: str, folder: Path, *options: str, config: Path | None = None) -> list[str]:
    """What it found: its own report, or nothing."""
    url = deployment.base_urls[cloud].removesuffix("/v1")
    own = folder / cloud
    own.mkdir(exist_ok=True)  # it keeps what it learned in its working folder
    result = subprocess.run(  # noqa: PLW1510 - its report says more than its exit code
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *(("--config-file", str(config)) if config else ()),
            *("run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {deployment.app_key}"),
            *("--checks", _CHECKS, "--workers", "1", "--request-timeout", _HANGING_SECONDS),
            *("--continue-on-failure", "--no-color", "--warnings", "off", *options),
        ],
        cwd=own,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    output = result.stdout + result.stderr
    (own / f"{options[1]}.txt").write_text(output, "utf-8")
    counts = _COUNTS.search(output)
    # It passes, too, where it has found no time to try anything.
    is_whole = counts is not None and counts[1] == counts[2]
    return [] if result.returncode == 0 and is_whole else [output[-6000:]]
