"""Listens to everything that is logged while tests run, on any logger, and keeps what must not stand in a log."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SECRETS = re.compile(
    r"canary-(?:prompt|answer)-[0-9A-Za-z_.-]+"
    r"|tfl_[0-9A-Za-z]{38}"
    r"|(?<![0-9A-Za-z])sk-[0-9A-Za-z][0-9A-Za-z_-]*"
    r"|canary-admin-key-[0-9A-Za-z-]+"
    r"|an-admin-key-of-more-than-32-characters"
)
"""What tests write into prompts, what upstreams of theirs answer, app keys, upstreams' keys, and admin keys."""

_SERVICE_LINE = re.compile(r"[a-z]+ +\| ")


@dataclass(slots=True)
class LogWatch:
    """What was heard. It does not depend on handlers, which tests and runtimes change."""

    lines: int = 0
    leaks: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator[LogWatch]:
        watch, factory = cls(), logging.getLogRecordFactory()
        formatter = logging.Formatter()

        def make(*given: object, **more: object) -> logging.LogRecord:
            record = factory(*given, **more)
            failure = formatter.formatException(record.exc_info) if record.exc_info else ""
            watch.hear(record.name, f"{record.getMessage()}\n{failure}")
            return record

        logging.setLogRecordFactory(make)
        try:
            yield watch
        finally:
            logging.setLogRecordFactory(factory)

    def check(self) -> None:
        """Nothing secret was logged. It is tried whether that would have been heard: a deaf watch must not pass."""
        before, logger = len(self.leaks), logging.Logger("log_watch")
        logger.addHandler(logging.NullHandler())
        logger.warning("canary-prompt-%s", "of-the-watch")
        assert self.leaks.pop().startswith("log_watch: canary-prompt-of-the-watch in: ")
        assert self.leaks[:before] == []

    def hear(self, source: str, text: str) -> None:
        self.lines += 1
        if found := SECRETS.search(text):
            self.leaks.append(f"{source}: {found[0]} in: {text[:500]}")


def service_lines(log: Path) -> list[str]:
    """What the services of `python -m local` have written, without what it shows itself: keys are meant to be there."""
    return [line for line in log.read_text("utf-8", "replace").splitlines() if _SERVICE_LINE.match(line)]


def leaks_in(lines: Iterable[str]) -> list[str]:
    """Those of a log's lines in which there is something secret."""
    return [line for line in lines if SECRETS.search(line)]
