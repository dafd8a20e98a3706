"""Azure Functions Core Tools (`func`), Microsoft's own local host, for whoever has them installed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SETTINGS = {
    "FUNCTIONS_WORKER_RUNTIME": "python",
    "PYTHON_ENABLE_INIT_INDEXING": "1",  # HTTP streams need it up to Python 3.12
    "PYTHON_ISOLATE_WORKER_DEPENDENCIES": "1",
    "AzureWebJobsStorage": "",  # no trigger here needs a storage account
    "languageWorkers__python__defaultExecutablePath": sys.executable,
}


class CoreToolsMissing(Exception):
    """There is no `func` on the PATH."""


@dataclass(frozen=True, slots=True)
class CoreTools:
    """How to start `func` on a staged app: what goes to `subprocess.Popen`."""

    command: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]


def core_tools(app_dir: Path, port: int, environ: Mapping[str, str]) -> CoreTools:
    """The start of `func` for the app in `app_dir`. `environ` replaces what a local.settings.json would hold.

    Raises:
        CoreToolsMissing: there is no `func` on the PATH of `environ`.
    """
    func = shutil.which("func", path=environ.get("PATH"))
    if func is None:
        raise CoreToolsMissing(
            "Azure Functions Core Tools are not installed: there is no `func` on the PATH. "
            "Leave out --func to use Microsoft's worker library instead."
        )
    return CoreTools((func, "start", "--port", str(port)), app_dir, {**environ, **_SETTINGS})
