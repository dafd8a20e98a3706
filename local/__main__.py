"""`python -m local`: start everything, show that it works, say how to use it, and stay up until Ctrl-C."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    # Until the launcher listens to signals itself, Ctrl-C does what SIGTERM does: it ends a process that has started
    # nothing yet, without a traceback from the middle of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from local import options  # noqa: PLC0415

    chosen = options.parse()
    # After the options: half a second, for which --help need not wait.
    from local import launcher  # noqa: PLC0415

    try:
        return launcher.launch(chosen)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
