"""Whether a socket can be read or written, and waiting until it can, without reading or writing it."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["is_ready", "readable", "writable"]


def is_ready(connection: socket.socket, events: int) -> bool:
    """Tell whether a socket has any of these events of poll(2) now; that it has failed counts in any case."""
    poll = select.poll()
    poll.register(connection, events)
    return bool(poll.poll(0))


async def readable(connection: socket.socket) -> None:
    """Wait until a socket has ``SO_RCVLOWAT`` bytes to read, has ended, or has failed.

    Cancellation: safe; the connection stays the caller's.
    """
    loop = asyncio.get_running_loop()
    await _woken(connection, loop.add_reader, loop.remove_reader)


async def writable(connection: socket.socket) -> None:
    """Wait until a socket takes bytes, or its connect has ended, either way.

    Cancellation: safe; the connection stays the caller's.
    """
    loop = asyncio.get_running_loop()
    await _woken(connection, loop.add_writer, loop.remove_writer)


async def _woken(
    connection: socket.socket, watch: Callable[..., object], unwatch: Callable[[int], bool]
) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watch(connection.fileno(), _wake, done)
    try:
        await done
    finally:
        unwatch(connection.fileno())


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
