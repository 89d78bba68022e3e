"""Whether the peer of a connection takes what was written to it."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from bascule.handover.descriptors import queued

if TYPE_CHECKING:
    import asyncio

__all__ = ["taken"]

_BYTES_ACKED: Final = struct.Struct("=120xQ")
"""``tcpi_bytes_acked`` of ``struct tcp_info`` (<linux/tcp.h>, since Linux 4.1)."""


def taken(transport: asyncio.WriteTransport) -> int | None:
    """Return a number that changes whenever the peer takes bytes; ``None`` if the connection has ended.

    On TCP it is how many bytes the peer has acknowledged: how many wait here would not do, since under TLS we
    do not see all of them. On a Unix socket it is how many wait here, so nothing may be written between two
    calls; a slow peer that speaks TLS there may seem to take nothing.
    """
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:
        return None
    try:
        if connection.family is socket.AF_UNIX:
            return transport.get_write_buffer_size() + queued(connection.fileno())
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        acknowledged: int = _BYTES_ACKED.unpack(info)[0]
    except OSError:
        return None
    return acknowledged
