"""Where a run writes what it has to say, for as long as there is somebody to read it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from typing import TextIO


class Screen:
    """Standard output, which may close at any time: the terminal dies, or `head` has seen enough.

    Writing never fails. After the first time that it could not be done, `closed` is set and nothing more is written.
    """

    def __init__(self, stream: TextIO) -> None:
        self.closed = asyncio.Event()
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode: better a question mark than no run

    def say(self, text: str, *, end: str = "\n") -> None:
        if self.closed.is_set():
            return
        try:
            print(text, end=end, file=self._stream, flush=True)
        except OSError:
            self.closed.set()
            self._give_up()

    def _give_up(self) -> None:
        """Point the stream elsewhere: what is left in its buffer would fail once more when Python ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError):
            os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
