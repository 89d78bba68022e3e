"""Applications behind an admin listener, and whoever asks them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from bascule.configuration.config import Config, Limits
from bascule.gateway.listening.admin import AdminListener
from tests.gateway.plain_support import Peer

__all__ = ["REQUEST", "now", "patient", "served"]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


REQUEST = b"GET /now HTTP/1.1\r\nHost: admin\r\n\r\n"


async def now(_: web.Request) -> web.Response:
    return web.Response(text="now")


def patient(seconds: float) -> Config:
    """Return a configuration that gives a first head so long."""
    return Config(limits=Limits(handshake_timeout=seconds))


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[Peer]:
    """Serve an application, and connect to it."""
    listener = AdminListener(app, patient(60.0))
    listening = socket.create_server(("127.0.0.1", 0))
    await listener.start(listening)
    peer = Peer(*await asyncio.open_connection(*listening.getsockname()))
    yield peer
    await peer.close()
    await listener.close()
