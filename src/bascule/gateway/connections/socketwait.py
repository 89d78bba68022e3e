"""Waiting until a socket can be read or written, without reading or writing it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

__all__ = ["readable", "writable"]


async def readable(connection: socket.socket) -> None:
    """Wait until a socket has ``SO_RCVLOWAT`` bytes to read, has ended, or has failed.

    Cancellation: safe; the connection stays the caller's.
    """
    loop, done = _begin()
    loop.add_reader(connection.fileno(), _wake, done)
    try:
        await done
    finally:
        loop.remove_reader(connection.fileno())


async def writable(connection: socket.socket) -> None:
    """Wait until a socket takes bytes, or its connect has ended, either way.

    Cancellation: safe; the connection stays the caller's.
    """
    loop, done = _begin()
    loop.add_writer(connection.fileno(), _wake, done)
    try:
        await done
    finally:
        loop.remove_writer(connection.fileno())


def _begin() -> tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]:
    loop = asyncio.get_running_loop()
    return loop, loop.create_future()


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
