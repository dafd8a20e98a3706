"""`python -m core`: the operator's command line. It calls the admin API, of a running service or of a store's file."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from core import command_line
from core.errors import ConfigurationError
from core.operator_api import EmbeddedTransport, HttpTransport, OperatorApi, Refused, Transport
from core.operator_commands import Commands
from core.settings import DEFAULT_STORE, Settings

_EMBEDDED = "sqlite:"


def main(arguments: list[str] | None = None) -> int:
    """0 where the command was done, 1 where not, with one line that says why."""
    options = command_line.parse(arguments)
    try:
        api = OperatorApi(_transport(options, os.environ))
        try:
            Commands(api).run(options)
        finally:
            api.close()
    except (Refused, ConfigurationError) as error:
        print(f"trefoil: {error}", file=sys.stderr)
        return 1
    return 0


def _transport(options: Namespace, environ: Mapping[str, str]) -> Transport:
    url = options.url or (None if options.store else environ.get("TREFOIL_URL"))
    if url:
        admin_key = environ.get("TREFOIL_ADMIN_KEY", "")
        if not (admin_key.isascii() and admin_key.isprintable() and admin_key.strip()):
            raise Refused(f"TREFOIL_ADMIN_KEY is not set, or holds no key: give it the admin key of {url}.")
        return HttpTransport(url, admin_key)
    store = options.store or environ.get("TREFOIL_STORE") or DEFAULT_STORE
    if not options.store and not store.startswith(_EMBEDDED):
        raise Refused(
            "TREFOIL_STORE names no embedded store: set TREFOIL_URL to the URL of the service that uses it, and "
            "TREFOIL_ADMIN_KEY to its admin key."
        )
    cache_seconds = Settings.load_apps(environ).cache_seconds
    return EmbeddedTransport(Path(store.removeprefix(_EMBEDDED)), cache_seconds=cache_seconds)


if __name__ == "__main__":
    sys.exit(main())
