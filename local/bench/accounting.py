"""What a process and those that it started have used, as Linux tells in /proc."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_GONE = (FileNotFoundError, ProcessLookupError)


class Used(NamedTuple):
    """Of a process with all its descendants that are alive."""

    cpu_ms: float
    """Exact to the nanosecond, but without threads and processes that have ended."""
    rss_mb: float
    """Of the largest process."""
    peak_mb: float
    """The most that one of them has had."""
    all_mb: float
    """Of all processes together; what they share counts once for each."""


def used(pid: int) -> Used:
    family = list(_family(pid))
    status = [_status(one) for one in family]
    sizes = [_kilobytes(one, "VmRSS") / 1024 for one in status]
    return Used(
        cpu_ms=sum(map(_cpu_ms, family)),
        rss_mb=max(sizes, default=0.0),
        peak_mb=max((_kilobytes(one, "VmHWM") / 1024 for one in status), default=0.0),
        all_mb=sum(sizes),
    )


def forget_peak(pid: int) -> None:
    """Let the peak begin anew at what is held now (man 5 proc, `clear_refs`)."""
    for one in _family(pid):
        with contextlib.suppress(*_GONE):
            (_PROC / str(one) / "clear_refs").write_text("5")


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(*_GONE):
        for task in (_PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


def _cpu_ms(pid: int) -> float:
    nanoseconds = 0
    with contextlib.suppress(*_GONE):
        for task in (_PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(*_GONE):
                nanoseconds += int((task / "schedstat").read_text().split()[0])
    return nanoseconds / 1e6


def _status(pid: int) -> dict[str, str]:
    with contextlib.suppress(*_GONE):
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)
    return {}


def _kilobytes(status: dict[str, str], name: str) -> int:
    return int(status.get(name, "0 kB").split()[0])
