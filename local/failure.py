"""Why a local run cannot go on."""

from __future__ import annotations


class Failure(Exception):
    """Ends the run. The message is one line for whoever started it: what is wrong and, where known, what to do."""
