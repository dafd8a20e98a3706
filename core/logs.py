"""What this service says about itself: JSON lines on the logger `trefoil`, without content and without credentials."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

from core import json_text
from core.http import Request
from core.ports import App

_logger = logging.getLogger("trefoil")
_logger.setLevel(logging.INFO)

_LONGEST_PATH = 100
_CREDENTIALS = re.compile(r"(?<![0-9A-Za-z])(?:tfl_[0-9A-Za-z]{30,}|sk-[0-9A-Za-z_-]{16,})")
"""An app key, or one of OpenAI's and those like it, that a client wrote where a path or a model's name belongs."""
_WATCHED = ("health", "health.head")


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes what is a finished line already, at once and in one piece: so it takes neither a formatter nor a lock."""

    def handle(self, record: logging.LogRecord) -> bool:
        try:
            self.stream.write(f"{record.msg}\n")
            self.stream.flush()
        except Exception:
            self.handleError(record)
        return True


def to_stdout() -> None:
    """Send the lines to standard output: for hosts that collect it and give the root logger no handler for them."""
    _logger.handlers = [_LineHandler(sys.stdout)]
    _logger.propagate = False
    # Which nobody reads, and each line would be asked for.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def write(level: int, event: str, **fields: object) -> None:
    """One line, whose fields the clouds' log queries can filter by; `severity` is Google's name for the level."""
    if not _logger.isEnabledFor(level):
        return
    line = _in_ascii({"severity": logging.getLevelName(level), "event": event, **fields})
    if "tfl_" in line or "sk-" in line:
        line = _CREDENTIALS.sub("[a key]", line)
    # Not by `log`, which would look for the place in the code that it is called from: the event tells that.
    _logger.handle(_logger.makeRecord(_logger.name, level, __file__, 0, line, (), None))


def _in_ascii(fields: Mapping[str, object]) -> str:
    """As JSON. Readers of lines also end one at U+2028 and the like, which a client can write."""
    text = json_text.write(fields).decode()
    return text if text.isascii() else json.dumps(fields, separators=(",", ":"))


def write_crash(request: Request, error: Exception) -> None:
    """Say where a bug struck. The exception's own text stays out: it may quote a prompt or a key."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    write(logging.ERROR, "crash", request_id=request.id, error=type(error).__qualname__, where=where)


@dataclass(slots=True)
class RequestLine:
    """What is known of one request: filled in as it goes through the stages, written once at its end."""

    request: Request
    endpoint: str | None = None
    app: App | None = None
    model: str | None = None
    status: int = 0
    upstream_request_id: str | None = None
    """What the client is told as `x-request-id` where upstream has answered, and what OpenAI's support asks for."""
    target: str | None = None
    attempts: str | None = None
    _started: float = field(default_factory=time.monotonic)

    def write(self, outcome: str) -> None:
        """`outcome` is `ok`, `replayed`, `client_left`, or the code of the error that the client was told."""
        write(
            # Whoever watches over a service asks for its health every few seconds.
            logging.DEBUG if self.endpoint in _WATCHED else logging.INFO,
            "request",
            request_id=self.request.id,
            upstream_request_id=self.upstream_request_id,
            app=self.app and self.app.id,
            method=self.request.method,
            # A path that leads nowhere may be anything that a client wrote.
            path=self.request.path[:_LONGEST_PATH] if self.endpoint is None else None,
            endpoint=self.endpoint,
            model=self.model,
            target=self.target,
            attempts=self.attempts,
            status=self.status,
            outcome=outcome,
            duration_ms=round((time.monotonic() - self._started) * 1000),
        )
