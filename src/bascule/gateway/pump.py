"""Copies bytes between a TLS stream and one end of a socket pair, for the session's life.

Each direction copies opaque bytes with back-pressure: it reads again only when its
destination has taken what it read before. The end of the stream half-closes the pair; the
end of the pair closes the stream, since TLS has no half-close that peers agree on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

from bascule.gateway.farewell import close_soon
from bascule.gateway.giveway import give_way
from bascule.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["pump"]

_CHUNK: Final = 64 * 1024


def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: socket.socket) -> None:
    """Start pumping; the pump owns the stream and the end from now on."""
    # Otherwise half a megabyte waits behind a slow peer, and what TLS has buffered once it keeps room for.
    writer.transport.set_write_buffer_limits(high=_CHUNK)
    spawn(_run(reader, writer, end), "pump", serves=True)


async def _run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_either(_from_stream(loop, reader, end), writer, end), name="pump in")
            group.create_task(_either(_to_stream(loop, end, writer), writer, end), name="pump out")
    finally:
        _cut(writer, end)
        end.close()
        if (error := reader.exception()) is not None:
            # The reader keeps it; its frames would keep the reader, and all that TLS has buffered, until the
            # cycle collector looks, which may take hours.
            error.__traceback__ = None


async def _either(
    direction: Coroutine[Any, Any, None], writer: asyncio.StreamWriter, end: socket.socket
) -> None:
    """Copy in one direction; if that fails, cut both, which ends the other.

    The error goes no further: a group that fails makes such a cycle as well.
    """
    try:
        await direction
    except OSError:
        _cut(writer, end)


def _cut(writer: asyncio.StreamWriter, end: socket.socket) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


async def _from_stream(
    loop: asyncio.AbstractEventLoop, reader: asyncio.StreamReader, end: socket.socket
) -> None:
    """Copy what the peer sends. If the forwarder takes no more, read on and discard.

    The peer may still be taking bytes that were sent to it before.
    """
    is_heard = True
    while data := await reader.read(_CHUNK):
        if is_heard:
            try:
                await loop.sock_sendall(end, data)
            except OSError:
                is_heard = False
        give_way(len(data))
    end.shutdown(socket.SHUT_WR)


async def _to_stream(
    loop: asyncio.AbstractEventLoop, end: socket.socket, writer: asyncio.StreamWriter
) -> None:
    while data := await _said(loop, end):
        writer.write(data)
        await writer.drain()
        give_way(len(data))
    # TLS has no half-close that peers agree on. All our bytes are written, so close.
    close_soon(writer.transport)
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _said(loop: asyncio.AbstractEventLoop, end: socket.socket) -> bytes:
    """Return the next bytes from the forwarder; none at the end."""
    try:
        return await loop.sock_recv(end, _CHUNK)
    except ConnectionResetError:  # the forwarder closed with bytes of ours unread; we have had all of its own
        return b""
