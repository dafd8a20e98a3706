"""How a request tells the offline upstream to behave: directives in the model's name, or in an `x-offline` header.

The name passes through the wrapper like any other model's, so a test of the wrapper needs no second channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from local.offline.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What to do with an answer on its way out; the default is to behave well. Positions count chunks sent before."""

    first_ms: int = 0  # before the first byte
    pace_ms: int = 0  # between chunks
    times: int | None = None  # only the first so many requests that carry these directives are treated so
    tag: str = ""  # does nothing: makes a name unique
    status: int | None = None
    code: str | None = None
    retry_after: str | None = None
    html: bool = False
    garbage: bool = False
    empty: bool = False
    drop: bool = False  # close the connection without a byte
    cut: int | None = None  # close the connection
    midevent: bool = False  # cut inside the event, not between two
    end: int | None = None  # end properly, but without [DONE]
    error: int | None = None  # send an error event and end
    hang: int | None = None  # send nothing more until the client leaves
    gate: str | None = None  # wait before each chunk after the first until somebody opens this gate
    crlf: bool = False
    comments: bool = False
    split: bool = False
    big_kb: int = 0
    gzip: str | None = None  # "accepted" or "force"
    nousage: bool = False


@dataclass(frozen=True, slots=True)
class _Directive:
    field: str
    read: Callable[[str], object]
    bare: object = None  # the value of the directive without "="; None: it needs one


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError("a whole number")
    return int(text)


def _status(text: str) -> int:
    if not 400 <= _count(text) <= 599:
        raise ValueError("an error status, 400 to 599")
    return int(text)


def _header_text(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise ValueError("printable ASCII")
    return text


def _flag(text: str) -> bool:
    raise ValueError("no value")


def _force(text: str) -> str:
    if text != "force":
        raise ValueError("no value, or 'force'")
    return text


DIRECTIVES: Final[dict[str, _Directive]] = {
    "first": _Directive("first_ms", _count),
    "pace": _Directive("pace_ms", _count),
    "times": _Directive("times", _count),
    "tag": _Directive("tag", str),
    "status": _Directive("status", _status),
    "code": _Directive("code", str),
    "retry-after": _Directive("retry_after", _header_text),
    "html": _Directive("html", _flag, bare=True),
    "garbage": _Directive("garbage", _flag, bare=True),
    "empty": _Directive("empty", _flag, bare=True),
    "drop": _Directive("drop", _flag, bare=True),
    "cut": _Directive("cut", _count, bare=1),
    "midevent": _Directive("midevent", _flag, bare=True),
    "end": _Directive("end", _count, bare=1),
    "error": _Directive("error", _count, bare=1),
    "hang": _Directive("hang", _count, bare=0),
    "gate": _Directive("gate", str),
    "crlf": _Directive("crlf", _flag, bare=True),
    "comments": _Directive("comments", _flag, bare=True),
    "split": _Directive("split", _flag, bare=True),
    "big": _Directive("big_kb", _count),
    "gzip": _Directive("gzip", _force, bare="accepted"),
    "nousage": _Directive("nousage", _flag, bare=True),
}


def parse_directives(text: str, default: Behaviour) -> Behaviour:
    """`first=500;cut=3` on top of the default; of two equal names the last counts. Refusal 400 names an unknown one."""
    fields: dict[str, Any] = {}
    for item in filter(None, (item.strip() for item in text.split(";"))):
        name, equals, value = item.partition("=")
        directive = DIRECTIVES.get(name)
        if directive is None:
            raise _refused(f"There is no directive '{name}'; there are {', '.join(DIRECTIVES)}.")
        fields[directive.field] = _value(name, directive, value if equals else None)
    return replace(default, **fields)


def _value(name: str, directive: _Directive, text: str | None) -> object:
    if text is None and directive.bare is not None:
        return directive.bare
    try:
        return directive.read(text or "")
    except ValueError as error:
        raise _refused(f"The directive '{name}' takes {error}, not '{text or ''}'.") from None


def _refused(message: str) -> Refusal:
    return Refusal(400, message, param="model", code="invalid_directive")
