"""The folder that a run keeps its keys, its store and its staged code in, and has for itself."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from local.failure import Failure


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make `folder` where there is none, and hold it for as long as the block runs; the kernel lets go in any case.

    Raises:
        Failure: it cannot be written to, or another run holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / "run.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f"{folder} is in use by another run: give this one its own with --state DIR") from None
        except OSError as error:
            raise Failure(f"{folder} cannot be used ({error.strerror}): choose another with --state DIR") from None
        yield
