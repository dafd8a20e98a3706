"""Child processes that tell what they say, stop when told to, and never outlive the program that started them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Loaded here and not in the child: between fork and exec there is no room for an import.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

_LINES_KEPT = 50
_LONGEST_LINE_BYTES = 1024 * 1024
_STOP_SECONDS = 3.0


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """For `preexec_fn`: have the kernel send this process `signal_number` when its parent dies. Linux only."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal_number)


class Child:
    """A running child process, which leads a process group of its own so that its children stop with it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, on_line: Callable[[str, str], None]) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._process = process
        self._on_line = on_line
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        environ: Mapping[str, str],
        on_line: Callable[[str, str], None],
    ) -> Child:
        """
        Args:
            on_line: told the child's name and each line that it writes, to its standard output or error. If it raises,
                it is told no more; `ended` and `stop` then raise the same.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=directory,
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LONGEST_LINE_BYTES,
            start_new_session=True,
            # SIGTERM, so that a child can stop its own children too.
            preexec_fn=functools.partial(die_with_parent, signal.SIGTERM),
        )
        return cls(name, process, on_line)

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def ended(self) -> int:
        """Wait until it has ended and all that it wrote is read. Its exit code, or minus the signal's number."""
        code = await self._process.wait()
        with contextlib.suppress(TimeoutError):
            # What it started may still hold the pipe open.
            await asyncio.wait_for(asyncio.shield(self._reading), 0.2)
        return code

    async def stop(self) -> None:
        """End it with all that it started: politely, then by force."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        self._signal(signal.SIGKILL)
        await self._process.wait()
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _read(self) -> None:
        """Read to the end, come what may: a child whose pipe is full hangs in its next log line."""
        assert self._process.stdout is not None
        failure: Exception | None = None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # longer than the limit: the rest comes as the next one
                continue
            if not line:
                break
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                self.last_lines.append(text)
            if text and failure is None:
                try:
                    self._on_line(self.name, text)
                except Exception as error:  # not lost: raised at the end
                    failure = error
        if failure is not None:
            raise failure
