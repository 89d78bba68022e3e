"""A port that takes no connection and refuses none."""

import contextlib
import socket
from collections.abc import Iterator

__all__ = ["deaf_port"]

_FILLERS = 8
"""A backlog of 0 holds one connection or two; the SYNs of all others are dropped."""


@contextlib.contextmanager
def deaf_port(host: str = "127.0.0.1") -> Iterator[int]:
    """Fill the backlog of a listener that never accepts, for the length of a block."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, 0), backlog=0))
        port: int = listener.getsockname()[1]
        for _ in range(_FILLERS):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield port
