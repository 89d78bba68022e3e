"""Whose a connection is, where a load balancer says so in front of it.

Rules of this file: of what is behind the header nothing is taken.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, NamedTuple

from bascule.protocol.proxyheader import LONGEST, parse_proxy_header

if TYPE_CHECKING:
    from bascule.protocol.proxyheader import ProxyHeader

__all__ = ["Peer", "read_header"]


class Peer(NamedTuple):
    """Who is at the other end of a connection.

    Attributes:
        address: As `bascule.policy.clientaddress.peer_address` writes it.
        secure: Whether it came over TLS that ended before us.
    """

    address: str
    secure: bool = False


async def read_header(
    loop: asyncio.AbstractEventLoop, connection: socket.socket, within: float
) -> ProxyHeader:
    """Take the header from the beginning of a connection.

    Args:
        loop: The running one.
        connection: Of which nothing has been read yet; it does not block.
        within: Seconds.

    Raises:
        BadProxyHeader: It begins with something else.
        TimeoutError: There is no whole header in time.
        OSError: It has ended before, or failed.

    Cancellation: safe; the connection stays the caller's.
    """
    async with asyncio.timeout(within):
        while (header := _header(connection)) is None:
            await _more(loop, connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    connection.recv(header.length)
    return header


def _header(connection: socket.socket) -> ProxyHeader | None:
    """Look at what has come; ``None`` where it is no whole header yet, and more of it wakes who waits."""
    try:
        seen = connection.recv(LONGEST, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    if not seen:
        raise ConnectionResetError
    if (header := parse_proxy_header(seen)) is None:
        # What was only looked at is still there, and would be news for ever.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(seen) + 1)
    return header


async def _more(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Wait until there is more to read than was looked at, or the end."""
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection.fileno(), _wake, done)
    try:
        await done
    finally:
        loop.remove_reader(connection.fileno())


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
