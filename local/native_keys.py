"""The app key of local runs in a cloud's own store: `python -m local.native_keys CLOUD STATE`.

A process of its own, because it opens the store as the cloud's function does: by the same module, in the environment
that the function has.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from core.admin import Admin
from core.errors import ConfigurationError
from core.ports import StoreError
from local.failure import Failure
from local.keys import APP, read_keys
from local.processes import Child
from local.staging import REPOSITORY

_OPENERS = {"aws": "lambda_store", "azure": "function_app_store", "gcp": "run_function_store"}


async def put_app_key(cloud: str, environ: Mapping[str, str], state: Path) -> None:
    """Have the store of `cloud` know the key that the folder `state` holds.

    Args:
        environ: what the cloud's function is started with.

    Raises:
        Failure: the store does not take it.
    """
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / cloud)])
    child = await Child.start(
        cloud,
        (sys.executable, "-m", "local.native_keys", cloud, str(state)),
        directory=REPOSITORY,
        environ={**environ, "PYTHONPATH": path},
        on_line=lambda *_: None,
    )
    try:
        if await child.ended() != 0:
            reason = child.last_lines[-1] if child.last_lines else "no reason was given"
            raise Failure(f"the store of {cloud} did not take the app key: {reason}")
    finally:
        await child.stop()


def main() -> int:
    cloud, state = sys.argv[1:]
    open_store = importlib.import_module(_OPENERS[cloud]).open_store
    try:
        store = open_store(os.environ["TREFOIL_STORE"], os.environ)
        asyncio.run(Admin(store).add_key(APP, read_keys(Path(state)).app_key))
    except (ConfigurationError, Failure, StoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
