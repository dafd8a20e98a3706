"""All that the store keeps of an app beside its record, so that it can be deleted.

A test compares it with the places that the rest of the core writes to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from core.books import Books
from core.kinds import Kind
from core.ports import AppKey, AppKeyEntry, Key, Store

PARTITIONS = (*(f"objects/{kind}" for kind in Kind), "background", "conversations", "idempotency", "turns")
"""What follows `apps/{id}/`. The keys and the ledger, which are deleted each in its own way, are not among them."""

_DELETED_AT_ONCE = 20
_RESERVED = "reserved"


async def delete(store: Store, app_id: str) -> None:
    """Delete an app's keys, then its ledger and all else. Broken off, it can be done again."""
    await _delete_keys(store, app_id)
    await Books(store).forget(app_id)
    for partition in PARTITIONS:
        await _delete_partition(store, f"apps/{app_id}/{partition}")


async def reserve_name(store: Store, app_id: str, *, until: int) -> None:
    """Let no app be made by this name until then, in seconds since the epoch, UTC."""
    await store.put(_name_key(app_id), {"until": until}, expires_at=until)


async def reserved_until(store: Store, app_id: str) -> int | None:
    value = await store.get(_name_key(app_id))
    return None if value is None else int(value["until"])


async def _delete_keys(store: Store, app_id: str) -> None:
    digests = [digest async for digest, _ in store.list(AppKeyEntry.partition(app_id))]
    for digest in digests:
        await store.delete(AppKey.key(digest))
        await store.delete(AppKeyEntry.key(app_id, digest))


async def _delete_partition(store: Store, partition: str) -> None:
    async for names in _batches(store, partition):
        await asyncio.gather(*(store.delete(Key(partition, name)) for name in names))


async def _batches(store: Store, partition: str) -> AsyncIterator[list[str]]:
    """The names in a partition, a few at a time: with their values they may be more than the memory holds."""
    names: list[str] = []
    async for name, _ in store.list(partition):
        names.append(name)
        if len(names) == _DELETED_AT_ONCE:
            yield names
            names = []
    yield names


def _name_key(app_id: str) -> Key:
    return Key(f"apps/{app_id}/name", _RESERVED)
