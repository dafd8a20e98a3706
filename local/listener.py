"""A listening socket for a server on this machine."""

from __future__ import annotations

import socket

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Listen on `host` and `port`, 0 for any that is free.

    The protocol is named, which `socket.create_server` does not do, because asyncio turns Nagle's algorithm off only
    where it is: otherwise each answer on a kept connection waits 40 ms for an acknowledgement.

    Raises:
        OSError: the port is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener
