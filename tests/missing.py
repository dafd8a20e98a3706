"""What a test needs from outside and did not find."""

from __future__ import annotations


class Missing(Exception):
    """The message says what is missing, and how to get it: it is shown as the reason for skipping."""
