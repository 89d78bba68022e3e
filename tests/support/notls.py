"""Upstreams that take a connection and speak no TLS, and what is said of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

__all__ = ["NO_TLS", "without_tls"]

NO_TLS = [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "TLS handshake failed: the upstream does not speak TLS"),
    (b"", "TLS handshake failed: ECONNRESET"),
    (None, "TLS handshake timed out"),
]
"""What such an upstream says, ``None`` where it waits for more, and what the log says then."""


@contextlib.asynccontextmanager
async def without_tls(said: bytes | None) -> AsyncIterator[int]:
    """Run one, and yield its port; connections have ended when the block has."""
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        await reader.read(65536)
        if said is None:
            await reader.read()
        else:
            writer.write(said)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*filter(None, serving))
