"""A cloud's project folder as its zip has it: the cloud's own files at the root, beside `core/` and `trefoil.toml`."""

from __future__ import annotations

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

_SHARED = ("core", "trefoil.toml")


def stage(cloud: str, into: Path) -> Path:
    """Make `into` that folder, anew, from links to this checkout: what is edited here is what runs there."""
    if into.exists():
        shutil.rmtree(into)
    into.mkdir(parents=True)
    for source in [*(REPOSITORY / cloud).iterdir(), *(REPOSITORY / name for name in _SHARED)]:
        if source.name != "__pycache__":
            (into / source.name).symlink_to(source)
    return into
