"""A proxy as the Python proxies are: every *message* is received, decoded and sent again.

Started by python_relay.py.

    python message_relay.py LISTEN_PORT UPSTREAM_PORT [HEARTBEAT_MS]

Built on ``websockets``, tuned as its documents advise for throughput and memory: no compression, no size
limit (the upstream's business), uvloop. Plain HTTP is answered only for the suite's readiness probe.
"""

from __future__ import annotations

import asyncio
import http
import signal
import sys
from typing import TYPE_CHECKING

import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection
    from websockets.http11 import Request, Response


async def copy(source: Connection, sink: Connection) -> None:
    """Messages one way, then the close."""
    try:
        async for message in source:
            await sink.send(message)
    except ConnectionClosed:
        pass
    await sink.close()


async def main(port: int, upstream: int, heartbeat: float | None) -> None:
    """Serve until terminated."""

    async def relay(browser: ServerConnection) -> None:
        request = browser.request
        assert request is not None
        uri = f"ws://127.0.0.1:{upstream}{request.path}"
        async with connect(uri, compression=None, max_size=None, ping_interval=None, open_timeout=30) as app:
            await asyncio.gather(copy(browser, app), copy(app, browser))

    def plain(connection: ServerConnection, request: Request) -> Response | None:
        if "upgrade" in request.headers.get("Connection", "").lower():
            return None
        return connection.respond(http.HTTPStatus.OK, "only WebSockets here\n")

    async with serve(
        relay,
        "127.0.0.1",
        port,
        backlog=4096,
        process_request=plain,
        compression=None,
        max_size=None,
        ping_interval=heartbeat,
        open_timeout=30,
    ):
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()


if __name__ == "__main__":
    milliseconds = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), milliseconds / 1000 or None))
