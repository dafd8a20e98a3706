"""The operator's commands: what can be written after `python -m core`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from core.settings import DEFAULT_STORE

_NONE = "none"
_DURATION = re.compile(r"([0-9]{1,8})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command: its `noun`, its `verb` if it has one, and what it is given. A wrong one ends the process with 2."""
    return _parser().parse_args(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m core",
        description="Apps, their keys, limits and usage: of a running service, or in the embedded store.",
        epilog="The admin key of a service is read from TREFOIL_ADMIN_KEY; as an argument, others would see it.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", help="the service's URL, such as https://trefoil.example (default: TREFOIL_URL)")
    where.add_argument(
        "--store",
        metavar="FILE",
        help=f"the embedded store's file (default, without a URL: that of TREFOIL_STORE, or {DEFAULT_STORE})",
    )
    nouns = parser.add_subparsers(dest="noun", required=True)
    _add_app(nouns.add_parser("app", help="client apps and their limits"))
    _add_key(nouns.add_parser("key", help="an app's keys"))
    _add_usage(nouns.add_parser("usage", help="what apps have used"))
    _add_reservation(nouns.add_parser("reservation", help="what is reserved for requests at work"))
    replay = nouns.add_parser("settlement", help="what processes could not settle").add_subparsers(
        dest="verb", required=True
    )
    _verb(replay, "replay", "settle what the log lines on standard input say was left")
    return parser


def _add_app(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True)
    _with_limits(_named(_verb(verbs, "create", "make an app")))
    _verb(verbs, "list", "list apps")
    _named(_verb(verbs, "show", "show an app with all its limits"))
    change = _with_limits(_named(_verb(verbs, "set", "change an app's limits; 'none' takes one away")))
    change.add_argument("--if-version", type=int, metavar="N", help="only if the app still has this version")
    _named(_verb(verbs, "enable", "let an app's keys work again"))
    _named(_verb(verbs, "disable", "let none of an app's keys work"))
    _confirmed(_named(_verb(verbs, "delete", "delete an app with its keys and all that is kept of it")))


def _add_key(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True)
    new = _verb(verbs, "new", "make a key, and the app where it is new; prints the key")
    new.add_argument("--app", type=_app_name, required=True, help="the app's name, such as web-shop")
    new.add_argument("--label", default="", help="a note, such as who has it")
    _with_end(new, "how long the key works (default: without end)")
    _verb(verbs, "list", "list keys").add_argument("--app", type=_app_name, help="only this app's")
    rotate = _identified(_verb(verbs, "rotate", "make a new key for an old one, which ends a while later"))
    rotate.add_argument(
        "--overlap", type=_duration, default=_SECONDS["d"], help="how long both work, such as 12h (default: 1d)"
    )
    _with_end(rotate, "how long the new key works (default: as long as the old one did)")
    _identified(_verb(verbs, "disable", "let a key work no more", "revoke"))
    _identified(_verb(verbs, "enable", "let a key work again"))
    _confirmed(_identified(_verb(verbs, "delete", "delete a key")))


def _add_usage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", type=_app_name, help="only this app's, and what is left of its budgets")
    parser.add_argument("--from", dest="first", metavar="DAY", help="such as 2026-11-01 (default: this month's first)")
    parser.add_argument("--to", dest="last", metavar="DAY", help="the last day (default: today), UTC")
    parser.add_argument("--by", metavar="WHAT", help="app, day, endpoint, model, or several, as in day,model")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV")
    form.add_argument("--json", action="store_true", help="print JSON")


def _add_reservation(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True)
    _verb(verbs, "list", "list what is reserved").add_argument("--app", type=_app_name, help="only this app's")
    release = _confirmed(_identified(_verb(verbs, "release", "settle what a process that died has reserved")))
    payer = release.add_mutually_exclusive_group(required=True)
    payer.add_argument("--charge", action="store_true", help="the app pays all that is reserved")
    payer.add_argument("--refund", action="store_true", help="the app pays nothing")
    release.add_argument("--force", action="store_true", help="even if its request may still be at work")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, told: str, *aliases: str
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=told, description=told, aliases=aliases)
    parser.set_defaults(verb=name)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("name", type=_app_name, help="the app's name")
    return parser


def _identified(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("id", help="its id, as listed")
    parser.add_argument("--app", type=_app_name, help="whose it is; without it, all apps are searched")
    return parser


def _confirmed(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _with_end(parser: argparse.ArgumentParser, told: str) -> None:
    parser.add_argument("--days", type=int, metavar="N", help=told)


def _with_limits(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Options whose names are the API's. What is not given is not there."""
    limits = parser.add_argument_group("limits", "docs/operating.md says what each one means.")
    for name in ("requests-per-minute", "tokens-per-minute", "max-output-tokens", "shards"):
        limits.add_argument(f"--{name}", type=_number, metavar="N", default=argparse.SUPPRESS)
    for name in ("budget-day", "budget-month", "budget-total"):
        limits.add_argument(f"--{name}-usd", type=_text, metavar="USD", default=argparse.SUPPRESS)
    for name in ("models", "endpoints"):
        limits.add_argument(f"--{name}", nargs="+", metavar="PATTERN", default=argparse.SUPPRESS)
    parser.add_argument(
        "--origin",
        dest="origins",
        nargs="+",
        metavar="ORIGIN",
        default=argparse.SUPPRESS,
        help="the web pages that may call with the app's keys, such as https://shop.example",
    )
    return parser


def without_none(values: list[str]) -> list[str] | None:
    """A list as it was given, or None for the word `none`."""
    return None if values == [_NONE] else values


def _text(written: str) -> str | None:
    return None if written == _NONE else written


def _number(written: str) -> int | None:
    try:
        return None if written == _NONE else int(written)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{written}' is no number: write such as 60, or none") from None


def _app_name(written: str) -> str:
    if not written:
        raise argparse.ArgumentTypeError("an app has a name: write it, such as web-shop")
    return written


def _duration(written: str) -> int:
    """Seconds of such as `12h`."""
    match = _DURATION.fullmatch(written)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{written}' is no duration: write such as 30m, 12h or 7d")
    return int(match[1]) * _SECONDS[match[2]]
