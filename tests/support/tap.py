"""A TCP relay that counts the connections through it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

__all__ = ["Tap", "run_tap"]


@dataclass
class Tap:
    """A running relay.

    Attributes:
        url: ``http://host:port`` to connect to.
        connections: How many were accepted so far.
    """

    url: str
    connections: int = 0


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def run_tap(behind: str) -> AsyncIterator[Tap]:
    """Relay every connection to ``behind`` (``http://host:port``)."""
    host, _, port = behind.removeprefix("http://").rpartition(":")

    writers: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tap.connections += 1
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writers.extend((writer, far_writer))
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    tap = Tap(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield tap
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
