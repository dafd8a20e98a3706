"""`func` is started in the staged folder, with what HTTP streams need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.azure_core_tools import CoreToolsMissing, core_tools

_FAKE = f"""#!{sys.executable}
import json, os, sys
print(json.dumps({{"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}))
"""


def test_func_gets_its_port_folder_and_settings(tmp_path: Path) -> None:
    func = tmp_path / "bin" / "func"
    func.parent.mkdir()
    func.write_text(_FAKE)
    func.chmod(0o755)
    app_dir = tmp_path / "app"
    app_dir.mkdir()

    start = core_tools(app_dir, 8702, {"PATH": f"{func.parent}{os.pathsep}{os.defpath}", "OPENAI_API_KEY": "sk-x"})
    seen = json.loads(
        subprocess.run(start.command, cwd=start.cwd, env=start.env, check=True, capture_output=True).stdout
    )

    assert seen["argv"] == ["start", "--port", "8702"]
    assert Path(seen["cwd"]).samefile(app_dir)
    expected = {
        "OPENAI_API_KEY": "sk-x",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "PYTHON_ENABLE_INIT_INDEXING": "1",
        "PYTHON_ISOLATE_WORKER_DEPENDENCIES": "1",
        "AzureWebJobsStorage": "",
        "languageWorkers__python__defaultExecutablePath": sys.executable,
    }
    assert expected.items() <= seen["env"].items()


def test_without_func_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CoreToolsMissing, match="Leave out --func"):
        core_tools(tmp_path, 8702, {"PATH": str(tmp_path)})
