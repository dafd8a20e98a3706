"""Which store the function keeps its apps and keys in, as TREFOIL_STORE says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from core.errors import ConfigurationError
from core.ports import Store

_WAYS = "write firestore:PROJECT or firestore:PROJECT/DATABASE, or sqlite:PATH for the embedded store"
_PLACE = re.compile(r"([a-z][a-z0-9.:-]*[a-z0-9])(?:/(\(default\)|[a-z][a-z0-9-]*))?")
_EMULATOR = re.compile(r"[^/\s@?#]+:[0-9]{1,5}")


def open_store(setting: str, environ: Mapping[str, str]) -> Store:
    """The store of `setting`, which is `SCHEME:PLACE`.

    It opens nothing, so that the framework may fork afterwards, and then stays with the event loop that uses it first.

    Raises:
        ConfigurationError: there is no such store on Google Cloud, or its place is not what it has to be.
    """
    scheme, _, place = setting.partition(":")
    if scheme == "firestore":
        return _firestore(place, environ.get("FIRESTORE_EMULATOR_HOST", ""))
    if scheme == "sqlite":
        from core.sqlite_store import SqliteStore  # noqa: PLC0415 - not loaded by a function that has another store

        return SqliteStore(place)
    raise ConfigurationError(f"TREFOIL_STORE: Google Cloud has no store '{scheme}': {_WAYS}.")


def _firestore(place: str, emulator: str) -> Store:
    found = _PLACE.fullmatch(place)
    if not found:
        raise ConfigurationError(f"TREFOIL_STORE: '{place}' names no Firestore database: {_WAYS}.")
    project, database = found.group(1), found.group(2) or "(default)"
    from core import cloud_identity  # noqa: PLC0415 - not loaded by a function that has another store
    from firestore_store import FirestoreStore  # noqa: PLC0415 - as above

    if not emulator:
        return FirestoreStore(project, database, token=cloud_identity.cached(cloud_identity.google_token))
    misplaced = ConfigurationError("FIRESTORE_EMULATOR_HOST: write HOST:PORT, without http://.")
    if not _EMULATOR.fullmatch(emulator):
        raise misplaced
    try:
        return FirestoreStore(project, database, base_url=f"http://{emulator}", token=None)
    except ValueError:  # there is no such port
        raise misplaced from None
