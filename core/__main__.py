"""`python -m core`: the operator's command line for the embedded store that local runs use."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

from core.admin import Admin, AdminError
from core.ports import StoreError
from core.settings import Settings
from core.sqlite_store import SqliteStore

_SECONDS_PER_DAY = 86_400


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    store = SqliteStore(options.store)
    try:
        asyncio.run(_run(Admin(store), options))
    except (AdminError, StoreError) as error:
        print(f"trefoil: {error}", file=sys.stderr)
        return 1
    finally:
        store.close()
    return 0


async def _run(admin: Admin, options: argparse.Namespace) -> None:
    match options.noun, options.verb:
        case "key", "new":
            lifetime = None if options.days is None else options.days * _SECONDS_PER_DAY
            print(await admin.new_key(options.app, lifetime_seconds=lifetime))
            print(f"This is the only time that this key of '{options.app}' is shown.", file=sys.stderr)
        case "key", "list":
            await _list_keys(admin, options.app)
        case "key", "delete":
            await admin.delete_key(options.id)
        case "key", verb:
            await admin.set_key_enabled(options.id, enabled=verb == "enable")
        case "app", "list":
            async for app in admin.apps():
                state = "enabled" if app.enabled else "disabled"
                print(f"{app.id:<24} {_date(app.created_at)}  {state}  {' '.join(app.origins)}".rstrip())
        case "app", "origins":
            await admin.set_app_origins(options.name, options.origin)
        case "app", verb:
            await admin.set_app_enabled(options.name, enabled=verb == "enable")


async def _list_keys(admin: Admin, only_app: str | None) -> None:
    async for app in admin.apps():
        if only_app not in (None, app.id):
            continue
        async for key in admin.keys(app.id):
            state = "enabled" if key.record.enabled else "disabled"
            expiry = "no expiry" if key.record.expires_at is None else f"until {_date(key.record.expires_at)}"
            print(f"{key.id}  {app.id:<24} tfl_...{key.record.hint}  {_date(key.record.created_at)}  {state}, {expiry}")


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core", description="Apps and their keys in the embedded store.")
    parser.add_argument(
        "--store",
        type=Path,
        default=os.environ.get("TREFOIL_SQLITE_PATH") or Settings.model_fields["sqlite_path"].default,
        help="the store's file (default: $TREFOIL_SQLITE_PATH, or %(default)s)",
    )
    nouns = parser.add_subparsers(dest="noun", required=True)

    key = nouns.add_parser("key", help="an app's keys").add_subparsers(dest="verb", required=True)
    new = key.add_parser("new", help="make a key, and the app where it is new; prints the key")
    new.add_argument("--app", required=True, help="the app's name, such as web-shop")
    new.add_argument("--days", type=int, help="how long the key works (default: without end)")
    key.add_parser("list", help="list keys").add_argument("--app", help="only this app's")
    for verb in ("disable", "enable", "delete"):
        key.add_parser(verb, help=f"{verb} a key").add_argument("id", help="the key's id, as listed")

    app = nouns.add_parser("app", help="client apps").add_subparsers(dest="verb", required=True)
    app.add_parser("list", help="list apps")
    for verb in ("disable", "enable"):
        app.add_parser(verb, help=f"{verb} an app with all its keys").add_argument("name")
    origins = app.add_parser("origins", help="the web pages that may call with the app's keys")
    origins.add_argument("name")
    origins.add_argument("origin", nargs="*", help="such as https://shop.example; none: those of trefoil.toml")
    return parser


if __name__ == "__main__":
    sys.exit(main())
