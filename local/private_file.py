"""A file that only its owner may read."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class PrivateFile:
    """Written whole: whoever waits for it to appear finds all of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(f".{path.name}.{os.getpid()}")

    def check(self) -> None:
        """Find out whether it can be written, and leave no trace.

        Raises:
            OSError: it cannot.
        """
        if self._path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if self._is_special():
            if not os.access(self._path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(self._open())
        self._unfinished.unlink()

    def write(self, text: str) -> None:
        if self._is_special():
            self._path.write_text(text, "utf-8")
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._open(), "w", encoding="utf-8") as opened:
            opened.write(text)
        self._unfinished.replace(self._path)

    def _is_special(self) -> bool:
        """Whether it is a pipe or a terminal, which is written to as it is."""
        return self._path.exists() and not self._path.is_file()

    def _open(self) -> int:
        return os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
