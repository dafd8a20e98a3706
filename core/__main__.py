"""`python -m core`: the operator's command line. It calls the admin API, of a running service or of a store's file."""

from __future__ import annotations

import io
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
_INTERRUPTED, _READER_LEFT = 130, 141
"""What a shell says of a process that SIGINT or SIGPIPE has ended."""


def main(arguments: list[str] | None = None) -> int:
    """0 where the command was done, 1 where not, with one line that says why; 130 and 141 where it was broken off."""
    options = command_line.parse(arguments)
    try:
        _accept_all_characters()
        _run(options)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _abandon_output()
        return _READER_LEFT
    except (Refused, ConfigurationError) as error:
        print(f"trefoil: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        _abandon_output()
        print(f"trefoil: Input or output failed: {error.strerror or error}.", file=sys.stderr)
        return 1
    return 0


def _run(options: Namespace) -> None:
    if sys.stdout is None:
        raise Refused("Standard output is closed: what the command says would be lost.")
    api = OperatorApi(_transport(options, os.environ))
    try:
        Commands(api).run(options)
    finally:
        api.close()
    sys.stdout.flush()


def _accept_all_characters() -> None:
    """Have none end a command: what an output cannot show is escaped, and bytes that are no text replaced."""
    for stream, errors in ((sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace"), (sys.stdin, "replace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _abandon_output() -> None:
    """Let go of what could not be written: the interpreter would try it again as it ends, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _transport(options: Namespace, environ: Mapping[str, str]) -> Transport:
    url = options.url or (None if options.store else environ.get("TREFOIL_URL"))
    if url:
        admin_key = environ.get("TREFOIL_ADMIN_KEY", "")
        if not (admin_key.isascii() and admin_key.isprintable() and admin_key.strip()):
            raise Refused(f"TREFOIL_ADMIN_KEY is not set, or holds no key: give it the admin key of {url}.")
        return HttpTransport(url, admin_key)
    store = options.store or environ.get("TREFOIL_STORE")
    if not store and environ.get("TREFOIL_ADMIN_KEY"):
        raise Refused(
            "TREFOIL_ADMIN_KEY is the key of a service, and none is named: set TREFOIL_URL to the URL of the service, "
            "or give --store FILE for an embedded store."
        )
    store = store or DEFAULT_STORE
    if not options.store and not store.startswith(_EMBEDDED):
        raise Refused(
            "TREFOIL_STORE names no embedded store: set TREFOIL_URL to the URL of the service that uses it, and "
            "TREFOIL_ADMIN_KEY to its admin key."
        )
    cache_seconds = Settings.load_apps(environ).cache_seconds
    return EmbeddedTransport(Path(store.removeprefix(_EMBEDDED)), cache_seconds=cache_seconds)


if __name__ == "__main__":
    sys.exit(main())
