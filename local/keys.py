"""The keys of local runs, the same each time, so that what was pasted into a shell or an .env file goes on working."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from core import app_keys
from core.admin import Admin
from core.ports import App, AppKey, Store, StoreError
from core.sqlite_store import SqliteStore
from local.failure import Failure
from local.private_file import PrivateFile

APP = "local"


@dataclass(frozen=True, slots=True)
class LocalKeys:
    app_key: str
    admin_key: str


async def ensure_keys(state: Path, store_file: Path) -> LocalKeys:
    """The keys that the folder `state` holds, made where there are none; the store in `store_file` knows the app key.

    Raises:
        Failure: the store cannot be used, or the operator has switched the key off.
    """
    keys = read_keys(state)
    store = SqliteStore(store_file)
    try:
        await _ensure_known(keys.app_key, store, store_file)
    except StoreError as error:
        raise Failure(f"{error}: move that file away, or choose another folder with --state DIR") from None
    finally:
        store.close()
    return keys


def read_keys(state: Path) -> LocalKeys:
    """The keys that the folder `state` holds, made where there are none.

    Raises:
        Failure: they cannot be kept there.
    """
    file = state / "keys.json"
    try:
        return LocalKeys(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        keys = LocalKeys(app_key=app_keys.generate(), admin_key=app_keys.generate())
    try:
        PrivateFile(file).write(json.dumps(asdict(keys)))
    except OSError as error:
        raise Failure(f"{file} cannot be written ({error.strerror})") from None
    return keys


async def _ensure_known(app_key: str, store: Store, store_file: Path) -> None:
    """Add the key where the store has none. What the operator has changed about it stays as it is."""
    digest = app_keys.digest(app_key)
    found = await store.get(AppKey.key(digest))
    if found is None:
        await Admin(store).add_key(APP, app_key)
        found = await store.get(AppKey.key(digest))
    record = AppKey.model_validate(found)
    app = App.model_validate(await store.get(App.key(record.app_id)))
    command = f"python -m core --store {store_file}"
    if not app.enabled:
        raise Failure(f"the app '{app.id}' of local runs is disabled: {command} app enable {app.id}")
    if not record.enabled:
        [key_id] = [key.id async for key in Admin(store).keys(app.id) if key.digest == digest]
        raise Failure(f"the app key of local runs is disabled: {command} key enable {key_id}")
    if record.expires_at is not None and record.expires_at <= time.time():
        raise Failure(
            f"the app key of local runs has expired: remove {store_file.with_name('keys.json')} for a new one"
        )
