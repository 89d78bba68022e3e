"""What a connection is asked and told besides bytes, by its descriptor.

Rules of this file: nothing is closed; whoever has the descriptor keeps it.
"""

from __future__ import annotations

import socket

__all__ = ["failure", "shut"]


def _connection(descriptor: int) -> socket.SocketType:
    """Return a socket of a descriptor, to be detached: the plain type, since each session makes four."""
    return socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=descriptor)


def failure(descriptor: int) -> int:
    """Take the error with which a connection has failed, if nobody has yet, and return it; 0 for none."""
    connection = _connection(descriptor)
    try:
        return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    finally:
        connection.detach()


def shut(descriptor: int, how: int) -> None:
    """Shut a TCP connection down; it may be gone already."""
    connection = _connection(descriptor)
    try:
        connection.shutdown(how)
    except OSError:
        pass
    finally:
        connection.detach()
