"""The handshake with which TLS begins on a connection, and which makes it a `TlsTransport`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

from bascule.gateway.tls.records import RECORD, TlsRecords
from bascule.gateway.tls.transport import TlsTransport

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

__all__ = ["accept_tls", "connect_tls"]


async def _at_once() -> None:
    """Wait for nothing."""


async def accept_tls(
    connection: socket.socket,
    context: ssl.SSLContext,
    protocol: Callable[[], asyncio.BaseProtocol],
    turn: Callable[[], Awaitable[None]] = _at_once,
) -> TlsTransport:
    """Let a client begin TLS and give the connection to a protocol.

    Args:
        connection: See `connect_tls`, as for all else.
        context: The same.
        protocol: The same.
        turn: Waits until it may go on, where many may come at once: a signature takes up to a millisecond.
    """
    return await _begin(connection, context, None, protocol, turn)


async def connect_tls(
    connection: socket.socket,
    context: ssl.SSLContext,
    server: str,
    protocol: Callable[[], asyncio.BaseProtocol],
) -> TlsTransport:
    """Begin TLS as a client and give the connection to a protocol.

    Args:
        connection: Connected and non-blocking. Until there is a transport it is the caller's.
        context: What is shown, and what is checked.
        server: Whom we want to reach: sent to it, and looked for in its certificate. The dot at the end of a
            whole name is for look-ups only (RFC 6066 §3).
        protocol: Called after the handshake. A `asyncio.BufferedProtocol` must have `ROOM`, and use it up at
            once.

    Raises:
        OSError: The handshake failed: `ssl.SSLError`, or `ConnectionResetError` without a number if the peer
            has just left.

    Cancellation: safe; the connection is still the caller's.
    """
    return await _begin(connection, context, server.removesuffix("."), protocol)


async def _begin(
    connection: socket.socket,
    context: ssl.SSLContext,
    server: str | None,
    protocol: Callable[[], asyncio.BaseProtocol],
    turn: Callable[[], Awaitable[None]] = _at_once,
) -> TlsTransport:
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=server is None, server_hostname=server)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except OSError:
            with contextlib.suppress(OSError):
                connection.send(outgoing.read())  # the alert, which says why
            raise
        else:
            break
        if said := outgoing.read():
            await loop.sock_sendall(connection, said)
        heard = await loop.sock_recv(connection, RECORD)
        if not heard:
            raise ConnectionResetError
        incoming.write(heard)
        await turn()
    return TlsTransport(loop, connection, context, TlsRecords(tls, incoming, outgoing), protocol())
