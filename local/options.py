"""The options of `python -m local`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from local.services import CLOUDS
from local.staging import REPOSITORY

_DEFAULT_PORT_BASE = 8700
_DEFAULT_MODEL = "gpt-4o-mini"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local", description="The three clouds on this machine, and the offline upstream behind them."
    )
    parser.add_argument("--cloud", action="append", choices=CLOUDS, help="start this one only; may be repeated")
    parser.add_argument(
        "--port-base",
        type=_port_base,
        default=_DEFAULT_PORT_BASE,
        metavar="N",
        help="upstream on port N, AWS on N+1, Azure on N+2, Google Cloud on N+3, their own stores on N+4 to N+6 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--stores",
        choices=("sqlite", "native"),
        default="sqlite",
        help="where apps and keys are kept: in one file, or in the emulator of each cloud's own store, which `make "
        "stores` installs and which forgets everything when it stops (default: %(default)s)",
    )
    parser.add_argument(
        "--upstream",
        metavar="URL",
        help="an OpenAI-compatible base URL, called with OPENAI_API_KEY where that is set, else with a placeholder "
        "(default: OpenAI's where OPENAI_API_KEY is set, else the offline upstream)",
    )
    parser.add_argument("--model", default=_DEFAULT_MODEL, help="the sample calls' model (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="stop after the sample calls; exit 0 if all succeeded")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write base URLs and keys to FILE when all are up")
    parser.add_argument("--func", action="store_true", help="host the Azure app by Azure Functions Core Tools")
    parser.add_argument(
        "--state",
        type=Path,
        default=REPOSITORY / ".trefoil",
        metavar="DIR",
        help="where keys, the store and staged code lie (default: .trefoil in the checkout)",
    )
    return parser.parse_args(arguments)


def _port_base(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65_529:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 65529")
    return number
