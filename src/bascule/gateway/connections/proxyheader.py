"""Reads the PROXY header, in which a load balancer says whose connection it passes on.

Rules of this file: no byte after the header is read.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

from bascule.gateway.connections.patience import Patience
from bascule.gateway.connections.socketwait import readable
from bascule.protocol.proxyheader import LONGEST, parse_proxy_header

if TYPE_CHECKING:
    from bascule.protocol.proxyheader import ProxyHeader

__all__ = ["Peer", "read_header"]


class Peer(NamedTuple):
    """The client of a connection, as far as its bytes tell and before any header field is read.

    Attributes:
        address: As `bascule.policy.clientaddress.peer_address` writes it.
        secure: Whether the client used TLS, which may have ended at a balancer.
    """

    address: str
    secure: bool = False


async def read_header(connection: socket.socket, within: float) -> ProxyHeader:
    """Take the header from the beginning of a connection.

    Args:
        connection: A non-blocking socket from which nothing has been read yet.
        within: Seconds for the whole header.

    Raises:
        BadProxyHeader: The connection does not begin with a valid header.
        TimeoutError: The header was not whole in time.
        OSError: The connection ended before, or failed.

    The caller owns the connection also after an error.

    Cancellation: safe.
    """
    async with Patience(within):
        while (header := _header(connection)) is None:
            await readable(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    connection.recv(header.length)
    return header


def _header(connection: socket.socket) -> ProxyHeader | None:
    """Peek at the bytes so far and parse them; ``None`` if the header is not whole yet.

    Raises:
        BadProxyHeader: See `read_header`.
        OSError: The connection ended, or failed.
    """
    try:
        seen = connection.recv(LONGEST, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    if not seen:
        raise ConnectionResetError
    if (header := parse_proxy_header(seen)) is None:
        # The bytes that we peeked at are still there, and would wake us at once, again and again.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(seen) + 1)
    return header
