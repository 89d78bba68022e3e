"""Connecting a socket, without a turn of the loop if the connect succeeds at once."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Final, cast

from bascule.gateway.connections.socketwait import writable

__all__ = [
    "NONBLOCKING_STREAM",
    "SocketAddress",
    "bare_socket",
    "begin_connect",
    "connect",
    "full_socket",
    "lacks_room",
    "why_not_found",
]

SocketAddress = tuple[object, ...] | str
"""What ``connect`` takes; a text is the path of a Unix socket."""

NONBLOCKING_STREAM: Final = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

_NO_ROOM: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENOSPC)
)
"""No descriptor, no memory; for `EADDRNOTAVAIL`, no port or address of our side; for `ENOSPC`, no watch of
epoll's (``fs.epoll.max_user_watches``) is left."""

_ASK_AGAIN: Final = 0.02
"""Seconds until a Unix socket whose backlog is full is asked again; TCP repeats its SYN by itself."""


def bare_socket(family: int, kind: int, descriptor: int | None = None) -> socket.socket:
    """Return a socket without what `socket.socket` adds, to be sent to, read from, handed over and closed.

    To make and to close one takes two fifths. It has no ``with``, and nothing else that Python's class adds.

    Args:
        family: Of addresses.
        kind: ``SOCK_STREAM``, with flags.
        descriptor: Of a connection; ``None`` for a new one.
    """
    return cast("socket.socket", socket.SocketType(family, kind, 0, descriptor))


def full_socket(connection: socket.socket) -> socket.socket:
    """Return what stands for a bare socket from now on, for code that is not ours; both do not block."""
    kind = connection.type | socket.SOCK_NONBLOCK
    return socket.socket(connection.family, kind, 0, connection.detach())


def lacks_room(error: OSError) -> bool:
    """Tell whether a look-up or a connect failed because this host has run out of something."""
    return error.errno in _NO_ROOM and not isinstance(error, ssl.SSLError)  # OpenSSL has numbers of its own


def why_not_found() -> OSError | None:
    """Return what a look-up that has just failed lacked on this host; ``None`` if the name has no address.

    A look-up opens files and sockets, and without a descriptor for them the C library may say that there is
    no such name.
    """
    try:
        socket.socket().close()
    except OSError as error:
        return error
    return None


def begin_connect(connection: socket.socket, where: SocketAddress) -> bool:
    """Begin a non-blocking connect, or check on one; tell whether it is done.

    Even on the same machine the first system call says *in progress*, and the second one *done*.

    Raises:
        BlockingIOError: The backlog of a Unix socket is full.
        OSError: The connect failed. The caller still owns the connection, which is open.
    """
    code = connection.connect_ex(where)
    if code == errno.EINPROGRESS:
        code = connection.connect_ex(where)
    if code in (0, errno.EISCONN):
        return True
    if code in (errno.EALREADY, errno.EINPROGRESS):
        return False
    raise OSError(code, "connect")


async def connect(connection: socket.socket, where: SocketAddress) -> None:
    """Connect, however long it takes; a connect that `begin_connect` began goes on.

    Raises:
        OSError: The connect failed. The caller still owns the connection, which is open.
    """
    while True:
        try:
            if not begin_connect(connection, where):
                await writable(connection)
                if code := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(code, "connect")
        except BlockingIOError:
            # No event tells: epoll calls such a socket writable, and it never connects by itself.
            await asyncio.sleep(_ASK_AGAIN)
        else:
            return
