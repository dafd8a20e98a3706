"""The keys of local runs, the same each time, so that what was pasted into a shell or an .env file goes on working."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from core import app_keys
from core.admin import Admin
from core.sqlite_store import SqliteStore

_APP = "local"


@dataclass(frozen=True, slots=True)
class LocalKeys:
    app_key: str
    admin_key: str


async def ensure_keys(state: Path) -> LocalKeys:
    """The keys that the folder `state` holds, made where there are none; its store knows the app key."""
    file = state / "keys.json"
    try:
        keys = LocalKeys(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        keys = LocalKeys(app_key=app_keys.generate(), admin_key=app_keys.generate())
        write_private(file, json.dumps(asdict(keys)))
    store = SqliteStore(state / "store.sqlite3")
    try:
        await Admin(store).add_key(_APP, keys.app_key)
    finally:
        store.close()
    return keys


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read. Whoever waits for it to appear finds it whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and not file.is_file():  # a pipe or a terminal
        file.write_text(text, "utf-8")
        return
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
    unfinished.replace(file)
