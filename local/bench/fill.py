"""The benchmark's apps and keys in a cloud's own store: `python -m local.bench.fill OPENER LIMITED_KEY FREE_KEY`.

A process of its own, because it opens the store as the cloud's function does, in the environment that the function has.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys

from local.bench.workshop import fill


def main() -> None:
    opener, limited_key, free_key = sys.argv[1:]
    store = importlib.import_module(opener).open_store(os.environ["TREFOIL_STORE"], os.environ)
    asyncio.run(fill(store, limited_key, free_key))


if __name__ == "__main__":
    main()
